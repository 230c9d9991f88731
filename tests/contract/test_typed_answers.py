"""Whatever class a task has: what `check` lets through works from the row to the constrained answer, and back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import seed as seed_of
from hypothesis import strategies as st
from pydantic import (
    UUID4,
    AwareDatetime,
    BaseModel,
    Field,
    HttpUrl,
    Json,
    NaiveDatetime,
    StringConstraints,
    create_model,
)

from soaptune.handles.readers.rows import RawRows, wanted_columns, well_formed
from soaptune.runtime.engines.grammar import logits_processor, shortest_answer
from soaptune.tasks import Task

EXAMPLES = int(os.environ.get("SOAPTUNE_TYPED_EXAMPLES", "2"))
"""How many classes are drawn for each leaf; a soak sets more."""


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Level(Enum):
    LOW = 1
    HIGH = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(default=9, ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Tree(BaseModel):
    word: Annotated[str, Field(pattern=r"^[a-z]{2,4}$")]
    children: list[Tree] = []


LEAVES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "date": date,
    "datetime": datetime,
    "aware datetime": AwareDatetime,
    "naive datetime": NaiveDatetime,
    "time": time,
    "timedelta": timedelta,
    "uuid": UUID,
    "uuid4": UUID4,
    "bytes": bytes,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
    "url": HttpUrl,
    "decimal": Decimal,
    "positive decimal": Annotated[Decimal, Field(gt=0, max_digits=6, decimal_places=2)],
    "decimal of digits": Annotated[Decimal, Field(ge=0, max_digits=4)],
    "enum": Color,
    "enum of numbers": Level,
    "literal": Literal["low", "high"],
    "literal of digits": Literal["1", "2", "true", "null"],
    "mixed literal": Literal["a", 1, None],
    "more than": Annotated[float, Field(gt=0)],
    "between": Annotated[float, Field(gt=0, lt=1)],
    "at least": Annotated[int, Field(ge=10, le=99)],
    "multiple": Annotated[int, Field(multiple_of=5, gt=0)],
    "pattern": Annotated[str, Field(pattern=r"\d+")],
    "whole pattern": Annotated[str, Field(pattern=r"^[A-Z]{3}-\d{4}$")],
    "email-like pattern": Annotated[str, Field(pattern=r"^[^@\s]+@[a-z]+\.[a-z]{2,}$")],
    "length": Annotated[str, Field(min_length=3, max_length=8)],
    "long text": Annotated[str, Field(min_length=40)],
    "stripped": Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)],
    "discriminated union": Annotated[Cat | Dog, Field(discriminator="kind")],
    "nested": Dog,
    "recursive": Tree,
    "any": Any,
}
REFUSED: dict[str, Any] = {
    "set": set[str],
    "bound of a date": Annotated[date, Field(ge=date(2024, 1, 1))],
    "bound of a decimal": Annotated[Decimal, Field(lt=10)],
    "keys of numbers": dict[int, str],
    "edge of a word": Annotated[str, Field(pattern=r"\bfoo\b")],
    "json": Json[Any],
    "nothing between": Annotated[int, Field(gt=1, lt=2)],
    "share of a float": Annotated[float, Field(multiple_of=0.1)],
    "complex": complex,
}
WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "optional": lambda inner: Optional[inner],  # noqa: UP045
    "list": lambda inner: list[inner],
    "bounded list": lambda inner: Annotated[list[inner], Field(min_length=1, max_length=3)],
    "dict": lambda inner: dict[str, inner],
    "dict of few keys": lambda inner: dict[Literal["a", "b"], inner],
    "dict of size": lambda inner: Annotated[dict[str, inner], Field(min_length=2)],
    "model": lambda inner: create_model("Inner", x=(inner, ...), y=(int, 3)),
    "tuple": lambda _: None,
    "union": lambda _: None,
}
HOW = ["required", "default", "default factory"]


class Drawn:
    """One class, and what it is made of."""

    def __init__(self, model: type[BaseModel], constructs: list[str]) -> None:
        self.model = model
        self.constructs = constructs

    def __repr__(self) -> str:
        return f"{self.model.__name__}({self.model.model_fields})"


@st.composite
def types(draw: st.DrawFn, leaf: str, depth: int = 2) -> tuple[Any, list[str]]:
    """A type around a leaf, with the names of what it is made of."""
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return LEAVES[leaf], [leaf]
    wrapper = draw(st.sampled_from(list(WRAPPERS)))
    inner, names = draw(types(leaf, depth=depth - 1))
    if wrapper in ("union", "tuple"):
        other, more = draw(types(draw(st.sampled_from(list(LEAVES))), depth=depth - 1))
        made = Union[inner, other] if wrapper == "union" else tuple[inner, other]  # noqa: UP007
        return made, [wrapper, *names, *more]
    return WRAPPERS[wrapper](inner), [wrapper, *names]


@st.composite
def classes(draw: st.DrawFn, first: str) -> Drawn:
    """A class of a few fields, each about another leaf, the first about a given one."""
    fields: dict[str, Any] = {}
    constructs: list[str] = []
    others = draw(st.lists(st.sampled_from(list(LEAVES)), max_size=4, unique=True))
    for place, leaf in enumerate([first, *others]):
        kind, names = draw(types(leaf))
        how = draw(st.sampled_from(HOW))
        if how == "default":
            fields[f"f{place}"] = (Optional[kind], None)  # noqa: UP045
        elif how == "default factory":
            fields[f"f{place}"] = (list[kind], Field(default_factory=list))
        else:
            fields[f"f{place}"] = (kind, ...)
        constructs += [how, *names]
    return Drawn(create_model("Drawn", **fields), constructs)


def answered(tokenizer: Any, schema: dict[str, Any], *, limit: int, seed: int) -> str:
    """What a model of pure noise answers within a limit."""
    generator = torch.Generator().manual_seed(seed)
    processor = logits_processor(tokenizer, schema, 1, limit=limit)
    answer: list[int] = []
    while len(answer) < limit and tokenizer.eos_token_id not in answer:
        noise = torch.randn(1, len(tokenizer), generator=generator)
        answer.append(int(processor(torch.tensor([[5, *answer]]), noise).argmax()))
    assert answer[-1] == tokenizer.eos_token_id, "the answer was not led to its end"
    return tokenizer.decode(answer[:-1])


def loaded(task: Task[Any], outputs: dict[str, Any]) -> str:
    """The text that training would take from a row with types."""
    rows = RawRows("rows")
    rows.add({"text": "t", **outputs}, line=1)
    wanted = wanted_columns(task.spec(), {}, allow_empty=task.output_fields, make_ids=True)
    table, _ = well_formed(rows, wanted, task=task, split="train", bad_rows="error")
    return task.answer(task.outputs(table.to_pylist()[0]))


@pytest.mark.timeout(0 if EXAMPLES > 10 else 300)
def test_what_check_lets_through_works_to_the_end(random_tokenizer: Any) -> None:
    drawn: Counter[str] = Counter()
    answers: Counter[str] = Counter()

    chosen = settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # Shrinking a class takes minutes; the example as drawn says enough.
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )

    def each(made: Drawn, seed: int, more: int) -> None:
        drawn.update(set(made.constructs))
        task: Task[Any] = Task(
            name="drawn", system_prompt="s", user_template="{text}", output=made.model,
            rubric=dict.fromkeys(made.model.model_fields, "right"),
        )  # fmt: skip
        assert task.check() == []
        inside = Task.from_spec(task.spec())
        schema = task.schema()
        least = shortest_answer(random_tokenizer, schema)
        for limit in (least, least + more, least + 120):
            text = answered(random_tokenizer, schema, limit=limit, seed=seed)
            note(text)
            value = task.parse(text)
            raw = inside.parse(text)
            target = task.answer(value)
            assert task.answer(raw) == target
            if "stripped" not in made.constructs:  # only the class strips what another branch of a union lets through
                assert inside.answer(raw) == target
            assert task.parse(target) == value
            assert [turn["content"] for turn in task.messages({"text": text})] == ["s", text]
            answers["read"] += 1
            if "\\u0000" not in text:
                assert loaded(task, raw) == target
                answers["loaded"] += 1

    for number, leaf in enumerate(LEAVES):
        fixed = seed_of(number)  # the same classes each time, and others for each leaf
        fixed(chosen(given(classes(leaf), st.integers(0, 2**31), st.integers(1, 60))(each)))()
    print(f"\n{answers['read']} answers read, {answers['loaded']} loaded; classes drawn with:")
    for name in (*LEAVES, *WRAPPERS, *HOW):
        print(f"  {name}: {drawn[name]}")
    assert not [name for name in (*LEAVES, *WRAPPERS, *HOW) if not drawn[name]]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_named_before_training(name: str) -> None:
    inner = create_model("Inner", good=(str, ...), bad=(REFUSED[name], ...))
    outer = create_model("Outer", fine=(int, 1), rows=(list[inner], ...))
    task = Task(name="t", system_prompt="", user_template="{text}", output=outer, rubric={"fine": "x", "rows": "x"})
    found = task.check()
    assert {violation.code for violation in found} == {"hard-to-serve"}
    assert {violation.path.split(".*")[0] for violation in found} == {"output.rows[].bad"}
