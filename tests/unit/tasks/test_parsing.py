"""Every fault of an answer has its code, with the class and without it, and no message quotes the answer."""

from __future__ import annotations

import datetime
import json
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, field_validator

from soaptune.errors import AnswerError
from soaptune.tasks import CODES, SOAP, SOAPNote, Task, parsing

GOOD = '{"S": "s", "O": "o", "A": "a", "P": "p"}'
DEEP = '{"S": ' + "[" * 100_000


def code_of(task: Task[Any], text: str) -> tuple[str, str | None]:
    try:
        task.parse(text)
    except AnswerError as error:
        caught = error
    else:
        return "", None
    assert caught.code in CODES
    assert caught.__cause__ is None
    assert caught.__context__ is None
    return caught.code, caught.field


CASES = [
    ("", "empty"),
    (" \n\t", "empty"),
    ("\u00a0", "empty"),
    (f"```json\n{GOOD}\n```", "fenced"),
    (f"```\n{GOOD}", "fenced"),
    (f"~~~\n{GOOD}\n~~~", "fenced"),
    (f"Here is the note: {GOOD}", "surrounding-text"),
    (f"{GOOD} I hope this helps.", "surrounding-text"),
    (f"A note {{S, O}}: {GOOD}.", "surrounding-text"),
    (f"{GOOD}\n{GOOD}", "surrounding-text"),
    (f"<think>\n\n</think>\n\n{GOOD}", "surrounding-text"),
    (f"Note:\n```json\n{GOOD}\n```", "surrounding-text"),
    ("The patient is well.", "not-json"),
    (GOOD[:-1], "not-json"),
    ('{"S": {"x": 1}, "O": "cut', "not-json"),
    ("[" + GOOD, "not-json"),
    ('{"S": NaN}', "not-json"),
    ('{"S": -Infinity}', "not-json"),
    ('{"S": 1e999}', "not-json"),
    ('{"S": "\\ud800"}', "not-json"),
    ('{"S": "\ud800"}', "not-json"),
    ('{"S": "a\nb"}', "not-json"),
    ("{'S': 's'}", "not-json"),
    ("\ufeff", "not-json"),
    ("{" * 5000, "not-json"),
    ("x" + "{" * 5000, "not-json"),
    (DEEP, "not-json"),
    ("[" * 100_000 + "]" * 100_000, "not-json"),
    ('{"S": ' + "[" * 40 + "]" * 40 + "}", "not-json"),
    ("9" * 5000, "not-json"),
    ("[]", "not-object"),
    (f"[{GOOD}]", "not-object"),
    ("null", "not-object"),
    ('"text"', "not-object"),
    ("5", "not-object"),
    ('{"S": "s", "S": "s", "O": "o", "A": "a", "P": "p"}', "duplicate-field"),
    ('{"S": {"x": 1, "x": 2}, "O": "o", "A": "a", "P": "p"}', "duplicate-field"),
    ('{"S": "s", "O": "o", "A": "a"}', "missing-field"),
    ('{"S": 1, "O": "o", "A": "a", "X": 1}', "missing-field"),
    ("{}", "missing-field"),
    ('{"S": 1, "O": "o", "A": "a", "P": "p", "Jane Doe": "p"}', "extra-field"),
    ('{"S": 1, "O": "o", "A": "a", "P": "p"}', "wrong-type"),
    ('{"S": null, "O": "o", "A": "a", "P": "p"}', "wrong-type"),
    ('{"S": ["s"], "O": "o", "A": "a", "P": "p"}', "wrong-type"),
    (GOOD, ""),
    (f"\n {GOOD}\r\n", ""),
]


@pytest.mark.parametrize(("text", "code"), CASES, ids=[f"{code or 'good'}-{n}" for n, (_, code) in enumerate(CASES)])
def test_each_fault_has_its_code_with_the_class_and_without(text: str, code: str) -> None:
    assert code_of(SOAP, text)[0] == code
    assert code_of(Task.from_spec(SOAP.spec()), text)[0] == code


def test_every_code_is_documented_and_shown_here() -> None:
    shown = {code for _, code in CASES if code} | {"invalid-value"}
    assert shown == set(CODES)
    assert all(f'"{code}"' in str(Task.parse.__doc__) for code in CODES)


def test_an_error_names_the_field() -> None:
    assert code_of(SOAP, '{"S": "s", "O": "o"}') == ("missing-field", "A")
    assert code_of(SOAP, '{"S": "s", "O": "o", "A": 5, "P": 5}') == ("wrong-type", "A")
    with pytest.raises(AnswerError, match=r"The answer lacks a field \(field 'A'\)\."):
        SOAP.parse('{"S": "s", "O": "o"}')


@pytest.mark.parametrize("text", [text.replace("s", "secret") for text, code in CASES if code])
def test_no_message_quotes_the_answer(text: str) -> None:
    with pytest.raises(AnswerError) as caught:
        SOAP.parse(text)
    assert "secret" not in f"{caught.value!r} {caught.value.field}"
    assert "Jane" not in f"{caught.value!r} {caught.value.field}"


ODD: list[Any] = [
    None,
    True,
    0,
    -7,
    1.5,
    10**30,
    [],
    ["x"],
    [[]],
    {},
    {"S": "x"},
    {"x": {"S": 1}},
    "\ud800",
    "```",
    "{}",
]
VALUES = st.sampled_from(ODD)
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOTES = st.dictionaries(st.sampled_from(["S", "O", "A", "P", "X", "s"]), st.text(max_size=9) | VALUES, max_size=6)
ANSWERS = st.one_of(
    st.text(),
    st.builds(SOAPNote, S=st.text(), O=st.text(), A=st.text(), P=st.text()).map(SOAP.answer),
    NOTES.map(json.dumps),
    st.builds(lambda note, cut: json.dumps(note)[:cut], NOTES, st.integers(0, 40)),
    st.builds(lambda before, note, after: before + json.dumps(note) + after, st.text(), NOTES, st.text()),
    st.builds(
        lambda pairs: "{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in pairs) + "}",
        st.lists(st.tuples(st.sampled_from("SOAP"), st.text() | VALUES), max_size=6),
    ),
)


@RELAXED
@given(ANSWERS)
def test_the_class_and_the_schema_agree(text: str) -> None:
    assert code_of(SOAP, text) == code_of(Task.from_spec(SOAP.spec()), text)


class Closed(SOAPNote, extra="forbid"):
    """What Pydantic alone makes of the same answers."""


@RELAXED
@given(NOTES.map(json.dumps))
def test_pydantic_alone_takes_the_same_notes(text: str) -> None:
    try:
        Closed.model_validate_json(text, strict=True)
        taken = True
    except ValidationError:
        taken = False
    assert taken == (code_of(SOAP, text)[0] == "")


class Item(BaseModel):
    name: str
    count: int


class Order(BaseModel):
    items: list[Item]
    size: Literal["small", "large"]
    share: float = Field(ge=0, le=1)
    day: datetime.date | None = None
    extra: dict[str, int] = {}
    either: Item | str = ""

    @field_validator("items")
    @classmethod
    def _some(cls, items: list[Item]) -> list[Item]:
        if not items:
            raise ValueError("no items, only secret")
        return items


ORDER: Task[Order] = Task(
    name="order",
    system_prompt="",
    user_template="{text}",
    output=Order,
    rubric=dict.fromkeys(Order.model_fields, "right"),
)
GOOD_ORDER: dict[str, Any] = {"items": [{"name": "tea", "count": 2}], "size": "small", "share": 1}


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({}, "", None),
        ({"day": "2024-01-31", "extra": {"a": 1}, "either": {"name": "x", "count": 1}}, "", None),
        ({"day": None}, "", None),
        ({"items": [{"name": "tea"}]}, "missing-field", "items[0].count"),
        ({"items": [{"name": "tea", "count": 2, "price": 3}]}, "extra-field", "items[0]"),
        ({"items": [{"name": "tea", "count": "2"}]}, "wrong-type", "items[0].count"),
        ({"items": [{"name": "tea", "count": 2.0}]}, "wrong-type", "items[0].count"),
        ({"items": [{"name": "tea", "count": True}]}, "wrong-type", "items[0].count"),
        ({"items": {}}, "wrong-type", "items"),
        ({"size": "middle"}, "invalid-value", "size"),
        ({"share": 1.5}, "invalid-value", "share"),
        ({"share": "1"}, "wrong-type", "share"),
        ({"day": 5}, "wrong-type", "day"),
        ({"day": "2024-02-31"}, "invalid-value", "day"),
        ({"day": "0000-01-01"}, "invalid-value", "day"),
        ({"day": "1493979010"}, "invalid-value", "day"),
        ({"extra": {"Jane": "x"}}, "wrong-type", "extra.*"),
        ({"either": 5}, "wrong-type", "either"),
        ({"either": {"name": "x"}}, "missing-field", "either.count"),
    ],
)
def test_faults_inside_of_fields_are_found(change: dict[str, Any], code: str, field: str | None) -> None:
    text = json.dumps({**GOOD_ORDER, **change})
    assert code_of(ORDER, text) == (code, field)
    assert code_of(Task.from_spec(ORDER.spec()), text) == (code, field)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "Larg"}, "(field 'size'): allowed are 'small', 'large' (did you mean 'large'?)."),
        ({"share": 2}, "(field 'share'): it must be at most 1"),
        ({"day": "31.01.2024"}, "(field 'day'): a date that exists, as YYYY-MM-DD is needed"),
        ({"items": [{"name": "tea", "count": "secret"}]}, "'items[0].count'): an integer is needed, and this is text"),
        ({"items": [{"name": "a", "count": 1, "Name": "b"}]}, "there are 'name', 'count' (did you mean 'name'?)"),
    ],
)
def test_a_message_says_where_what_is_allowed_and_what_is_near(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AnswerError) as caught:
        ORDER.parse(json.dumps({**GOOD_ORDER, **change}))
    assert message in str(caught.value)


def test_what_a_schema_cannot_say_is_checked_by_the_class_alone() -> None:
    text = json.dumps({**GOOD_ORDER, "items": []})
    assert code_of(ORDER, text) == ("invalid-value", "items")
    assert code_of(Task.from_spec(ORDER.spec()), text) == ("", None)
    with pytest.raises(AnswerError) as caught:
        ORDER.parse(json.dumps({**GOOD_ORDER, "items": []}))
    assert "secret" not in str(caught.value)


def test_a_recursive_output_does_not_crash_the_parser() -> None:
    class Tree(BaseModel):
        children: list[Tree]

    task = Task(name="tree", system_prompt="", user_template="{text}", output=Tree, rubric={"children": "right"})
    assert task.parse(task.answer(Tree(children=[Tree(children=[])]))) == Tree(children=[Tree(children=[])])
    deep: dict[str, Any] = {"children": []}
    for _ in range(15):
        deep = {"children": [deep]}
    assert code_of(task, json.dumps(deep)) == ("", None)
    assert code_of(task, json.dumps({"children": [deep]})) == ("not-json", None)


def test_a_schema_never_reaches_for_the_network() -> None:
    schema = {**SOAP.schema(), "properties": {name: {"$ref": "http://192.0.2.1/x"} for name in "SOAP"}}
    spec = SOAP.spec().replace(output_schema=schema)
    with pytest.raises(Exception, match=r"192\.0\.2\.1"):
        parsing.parse(spec, GOOD)
