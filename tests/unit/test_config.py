"""What a config says about values that it does not take: sentences for people, without the library's own words."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator, model_validator

import soaptune as st
from soaptune.config import Config, OtherName
from soaptune.errors import ConfigError


class Inner(Config):
    size: int = 1

    @field_validator("size")
    @classmethod
    def _positive(cls, value):
        if value < 1:
            raise ValueError("a size is at least 1")
        return value


class Outer(Config):
    inner: Inner = Inner()
    even: int = 0
    left: int = 0
    right: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value):
        if value % 2:
            raise AssertionError("it must be even")
        return value

    @model_validator(mode="after")
    def _ordered(self):
        if self.left > self.right:
            raise ValueError("left is right of right")
        return self


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"even": 1}, "Outer: even: it must be even"),
        ({"left": 2, "right": 1}, "Outer: left is right of right"),
        ({"inner": {"size": 0}, "even": 3}, "Outer: inner.size: a size is at least 1; even: it must be even"),
    ],
)
def test_an_error_says_our_sentence_and_nothing_before_it(values, said):
    with pytest.raises(ConfigError) as caught:
        Outer(**values)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "read",
    [lambda: Outer.model_validate({"inner": {"size": 0}}), lambda: Outer.model_validate_json('{"inner": {"size": 0}}')],
)
def test_what_is_read_from_json_is_told_in_the_same_words(read):
    with pytest.raises(ConfigError) as caught:
        read()
    assert str(caught.value) == "Outer: inner.size: a size is at least 1"


def test_text_that_is_no_json_is_our_error_too():
    with pytest.raises(ConfigError, match=r"Outer: .*Invalid JSON"):
        Outer.model_validate_json("{...}")


def test_values_are_given_by_name():
    with pytest.raises(ConfigError, match=r"^Outer takes its values by name: Outer\(inner=\.\.\.\)$"):
        Outer(Inner())  # pyright: ignore[reportCallIssue]


def test_a_group_that_is_replaced_in_part_keeps_its_other_values():
    class Group(Config):
        a: int = 0
        b: int = 0
        deeper: Inner = Inner()

    class Holder(Config):
        group: Group = Group()

    holder = Holder(group=Group(a=1, deeper=Inner(size=5)))
    assert holder.replace(group={"b": 2}) == Holder(group=Group(a=1, b=2, deeper=Inner(size=5)))
    assert holder.replace(group={"deeper": {"size": 6}}).group == Group(a=1, deeper=Inner(size=6))
    assert holder.replace(group=Group(b=2)).group == Group(b=2)  # a whole group is taken as it is
    assert holder.replace(group={"b": 2}).group.model_fields_set == {"a", "b", "deeper"}
    with pytest.raises(ConfigError, match=r"^Holder: group\.deeper\.size: a size is at least 1$"):
        holder.replace(group={"deeper": {"size": 0}})


def test_of_a_union_only_the_same_member_is_merged():
    class Round(Config):
        kind: Literal["round"] = "round"
        width: int = 1
        radius: int = 1

    class Square(Config):
        kind: Literal["square"] = "square"
        width: int = 1

    class Drawing(Config):
        shape: Annotated[Round | Square, Field(discriminator="kind")] = Round()

    drawing = Drawing(shape=Round(width=3, radius=2))
    assert drawing.replace(shape={"radius": 5}).shape == Round(width=3, radius=5)
    assert drawing.replace(shape={"kind": "square"}).shape == Square()


def test_a_name_of_others_is_answered_with_ours():
    class Optimizer(Config):
        other_names = {"lr": OtherName("rate"), "decay": OtherName("rate", "It never decays.")}
        rate: float = 1.0
        name: str = ""

    class Scheduler(Config):
        name: str = ""

    class Spec(Config):
        optimizer: Optimizer | None = None
        scheduler: Scheduler = Scheduler()

    def answer(cls, name):
        with pytest.raises(ConfigError) as caught:
            cls(**{name: 1})
        return str(caught.value).removeprefix(f"{cls.__name__}: ").split("; its fields")[0]

    assert answer(Optimizer, "lr") == "Optimizer has no field 'lr' (did you mean 'rate'?)"
    hint = "(did you mean 'optimizer.rate'? Write optimizer={'rate': ...}.)"
    assert answer(Spec, "lr") == f"Spec has no field 'lr' {hint}"
    assert answer(Spec, "rte") == f"Spec has no field 'rte' {hint}"
    assert answer(Spec, "decay") == f"Spec has no field 'decay' {hint[:-1]} It never decays.)"
    assert answer(Spec, "name") == "Spec has no field 'name' (did you mean 'optimizer.name' or 'scheduler.name'?)"
    assert answer(Spec, "nothing_near") == "Spec has no field 'nothing_near'"


def test_a_mode_that_is_not_there_is_answered_with_those_that_are():
    import soaptune as st

    with pytest.raises(ConfigError, match=r"^DataGenerator: mode: there is no mode 'dictate'; the modes"):
        st.DataGenerator(task=st.tasks.SOAP, mode="dictate")


def test_a_name_with_an_answer_needs_no_list_of_all_names():
    with pytest.raises(ConfigError) as caught:
        Inner(sise=1)
    assert str(caught.value) == "Inner has no field 'sise' (did you mean 'size'?)"
    with pytest.raises(ConfigError) as caught:
        Inner(sise=1, colour=2)
    assert str(caught.value).endswith("'sise' (did you mean 'size'?), 'colour'; its fields are size")


def test_the_kind_of_a_group_and_of_a_union_is_answered_with_what_to_write():
    class Circle(Config):
        kind: Literal["circle"] = "circle"

    class Square(Config):
        kind: Literal["square"] = "square"

    class Shapes(Config):
        inner: Inner = Inner()
        shape: Annotated[Circle | Square, Field(discriminator="kind")] = Circle()

    def answer(**values):
        with pytest.raises(ConfigError) as caught:
            Shapes(**values)
        return str(caught.value)

    assert answer(inner="big") == "Shapes: inner: an Inner is expected; write Inner(...)"
    assert answer(inner=Inner) == "Shapes: inner: an Inner is expected; write Inner(...)"
    assert answer(shape={"kind": "cirle"}) == (
        "Shapes: shape: there is no kind 'cirle' (did you mean 'circle'?); there are 'circle', 'square'"
    )
    assert answer(shape=Circle) == "Shapes: shape: an object that says its kind is expected, and this says none"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: st.Trainer(spec=st.TrainSpec(model="m"), train_dataset=1),
            r"'train_dataset' .*run\(data, on=backend\)",
        ),
        (lambda: st.JobSpec(name="a", command=["ls"]), r"'command' \(did you mean 'entrypoint'\?\)"),
        (lambda: st.JobSpec(name="a", entrypoint="ls -l"), r"entrypoint: a list is expected, such as \["),
        (lambda: st.Evaluator(engine="vlm"), r"there is no kind 'vlm' \(did you mean 'vllm'\?\)"),
        (lambda: st.Evaluator(judge="facts"), r"judge: a Facts is expected; write Facts\(\.\.\.\)"),
    ],
)
def test_what_newcomers_write_is_answered_with_what_is_meant(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
