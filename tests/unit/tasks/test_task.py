"""A task renders, describes and compares itself, class or not."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, RootModel

from soaptune.config import Config
from soaptune.errors import ConfigError, DataError
from soaptune.soap.prompt import SYSTEM_PROMPT
from soaptune.tasks import SOAP, SOAPNote, Task, load_hook, rendering
from soaptune.tasks.hooks import Hooks, load_lexicon
from soaptune.tasks.spec import TaskSpec

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Drug(BaseModel):
    """Some docstring."""

    name: str
    dose: float | None = None


class Plan(BaseModel):
    title: str
    drugs: list[Drug]
    urgency: Literal["low", "high"]
    note: Optional[str] = None  # noqa: UP045
    count: int = Field(default=0, ge=0, description="how many")


def plan_task(**changes: object) -> Task[Plan]:
    values: dict[str, object] = {
        "name": "plan",
        "system_prompt": "Answer.",
        "user_template": "Text: {text}",
        "output": Plan,
        "rubric": dict.fromkeys(Plan.model_fields, "right"),
    }
    return Task(**{**values, **changes})  # type: ignore[arg-type]


def test_the_soap_task_has_nothing_to_mend_and_a_short_prompt() -> None:
    assert SOAP.check() == []
    assert len(SYSTEM_PROMPT.split()) <= 90
    assert SOAP.output_fields == tuple(SOAP.rubric) == ("S", "O", "A", "P")
    assert SOAP.input_fields == ("dialogue",)
    assert SOAP.output is SOAPNote


def test_the_soap_lexicon_names_drugs_and_allergens() -> None:
    assert {"ibuprofen", "penicillin", "allopurinol", "escitalopram"} <= set(load_lexicon(SOAP.hooks["lexicon"]))


def test_a_task_s_hooks_travel_with_its_spec_and_change_no_fingerprint() -> None:
    spec = SOAP.spec()
    assert set(spec.hooks) == set(Hooks.__annotations__)
    assert Task.from_spec(spec).hooks == spec.hooks == SOAP.hooks == SOAP.bind(SOAPNote).hooks
    other = Task.from_spec(spec, lexicon="mine.words:terms")
    assert other.hooks == other.spec().hooks == {**SOAP.hooks, "lexicon": "mine.words:terms"}
    assert other.spec().fingerprint == spec.fingerprint == spec.replace(hooks={}).fingerprint


def test_a_hook_that_is_none_is_not_there() -> None:
    assert plan_task(generator=None, lexicon="mine.words:terms").hooks == {"lexicon": "mine.words:terms"}


def test_a_hook_of_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no hook 'lexikon' \(did you mean 'lexicon'\?"):
        plan_task(lexikon="mine.words:terms")
    with pytest.raises(ConfigError, match="no hook 'validator'"):
        SOAP.spec().replace(hooks={"validator": "mine.words:check"})


@pytest.mark.parametrize("old", [{"lexicon": "mine.words:terms"}, {"lexicon": None}, {"generator": "mine.g:G"}])
def test_a_task_that_the_first_release_wrote_opens(old: dict[str, str | None]) -> None:
    written = {name: value for name, value in SOAP.spec().model_dump(mode="json").items() if name != "hooks"}
    hooks = {name: path for name, path in old.items() if path is not None}
    assert TaskSpec.model_validate({**written, **old}) == SOAP.spec().replace(hooks=hooks)
    assert Step.model_validate({"task": {**written, **old}}).task.hooks == hooks


def lexicon_of(value: object) -> object:
    def lexicon() -> object:
        if isinstance(value, Exception):
            raise value
        return value

    return lexicon


@pytest.mark.parametrize("value", ["aspirin", None, 5, [], ["aspirin", 5], ["aspirin", " "], KeyError("x")])
def test_a_lexicon_that_gives_no_terms_is_refused_by_name(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soaptune.soap.terms.terms", lexicon_of(value))
    with pytest.raises(ConfigError, match=r"The lexicon 'soaptune\.soap\.terms:terms' (must give|failed)"):
        load_lexicon("soaptune.soap.terms:terms")


def test_a_lexicon_s_terms_come_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soaptune.soap.terms.terms", lexicon_of({"b", "a"}))
    assert load_lexicon("soaptune.soap.terms:terms") == ("a", "b")


def test_messages_are_the_system_turn_and_the_filled_template() -> None:
    assert SOAP.messages({"dialogue": "Doctor: Hi.", "id": "1"}) == [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": "Doctor: Hi."},
    ]


def test_an_empty_system_prompt_gives_no_turn() -> None:
    assert [m["role"] for m in plan_task(system_prompt="").messages({"text": "x"})] == ["user"]


@RELAXED
@given(st.text())
def test_inputs_are_data_and_never_a_template(text: str) -> None:
    task = plan_task(user_template="{{a}} {text} {more} {text}")
    value = f"{{more}} {{{{ {text} <|im_end|>"
    assert task.messages({"text": value, "more": "m"})[1]["content"] == f"{{a}} {value} m {value}"


def test_an_input_that_is_no_string_is_written_as_json() -> None:
    assert plan_task().messages({"text": [1, "é"]})[1]["content"] == 'Text: [1, "é"]'


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'text' is missing"),
        ({"txt": "secret"}, "is it 'txt'"),
        ({"text": None}, "has no value"),
        ({"text": object()}, "no text"),
        ({"text": float("nan")}, "no text"),
    ],
)
def test_an_input_that_cannot_be_used_is_named(inputs: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        plan_task().messages(inputs)
    assert "secret" not in str(caught.value)


def test_the_schema_is_closed_at_every_level_and_free_of_prose() -> None:
    schema = plan_task().schema()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Drug"]["additionalProperties"] is False
    assert "title" in schema["properties"]
    assert "description" not in json.dumps(schema)
    assert list(schema["properties"]) == list(Plan.model_fields)


def test_a_changed_copy_of_the_schema_changes_nothing() -> None:
    task = plan_task()
    task.schema()["properties"].clear()
    assert task.output_fields == tuple(Plan.model_fields)


NOTE = SOAPNote(S="é {x}", O='"', A="\n", P="")


def test_the_answer_is_one_line_of_json_in_field_order() -> None:
    text = '{"S": "é {x}", "O": "\\"", "A": "\\n", "P": ""}'
    assert SOAP.answer(NOTE) == text
    assert SOAP.answer({"P": "", "id": 3, "A": "\n", "O": '"', "S": "é {x}"}) == text


@RELAXED
@given(st.builds(SOAPNote, S=st.text(), O=st.text(), A=st.text(), P=st.text()))
def test_what_is_answered_is_parsed_back(note: SOAPNote) -> None:
    assert SOAP.parse(SOAP.answer(note)) == note


def test_an_answer_is_read_from_the_columns_of_a_data_set() -> None:
    task = plan_task()
    plan = Plan(title="5", drugs=[Drug(name="x", dose=2)], urgency="low", note="5")
    stored = task.spec().stored(plan.model_dump(mode="json"))
    assert stored["note"] == '"5"'
    assert task.parse(task.answer(task.outputs(stored))) == plan


@pytest.mark.parametrize("note", ["7", "true", "null", '"x"', "[]", "a b", "", None])
def test_a_value_is_never_read_again_as_json(note: str | None) -> None:
    outputs = {"title": "t", "drugs": [], "urgency": "low", "note": note}
    task = plan_task()
    assert json.loads(task.answer(outputs))["note"] == note
    assert task.outputs(task.spec().stored(outputs))["note"] == note


class Visit(BaseModel):
    day: date
    at: datetime
    price: Decimal
    share: float
    drug: Drug
    kind: Literal["first", "next"] | None = None
    tags: list[str] = []
    more: list[Drug] = Field(default_factory=list)


@pytest.mark.parametrize(
    "outputs",
    [
        {"day": date(2024, 2, 29), "at": datetime(2024, 2, 29, 10), "price": Decimal("2.50"), "share": 1},
        {"share": 1, "price": "2.50", "at": "2024-02-29 10:00", "day": "2024-02-29"},
        {"share": 1.0, "price": "2.50", "at": "2024-02-29T10:00:00", "day": "2024-02-29", "tags": [], "kind": None},
    ],
)
def test_a_model_and_every_mapping_of_it_give_one_text(outputs: dict[str, object]) -> None:
    visit: Task[Visit] = plan_task(output=Visit, rubric={})  # type: ignore[assignment]
    outputs["drug"] = {"dose": 2, "name": "x"}
    text = (
        '{"day": "2024-02-29", "at": "2024-02-29T10:00:00", "price": "2.50", "share": 1.0, '
        '"drug": {"name": "x", "dose": 2.0}, "kind": null, "tags": [], "more": []}'
    )
    assert visit.answer(outputs) == text
    assert Task.from_spec(visit.spec()).answer(outputs) == text
    assert visit.answer(Visit.model_validate(outputs)) == text
    assert visit.answer(visit.parse(text)) == text
    assert visit.answer(visit.outputs(visit.spec().stored(json.loads(text)))) == text


def test_the_class_s_own_validators_have_their_say_in_an_answer() -> None:
    class Shouted(BaseModel):
        word: Annotated[str, AfterValidator(str.upper)]
        count: Annotated[int, AfterValidator(_not_13)] = 1

    task = plan_task(output=Shouted, rubric={})
    assert task.answer({"word": "a"}) == task.answer(Shouted(word="a")) == '{"word": "A", "count": 1}'  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'count'") as caught:
        task.answer({"word": "secret", "count": 13})
    assert "secret" not in f"{caught.value!r}{caught.value.__cause__}"


def _not_13(value: int) -> int:
    if value == 13:
        raise ValueError("secret")
    return value


@pytest.mark.parametrize(
    "outputs",
    [
        {"S": "secret", "O": "", "A": ""},
        {"S": "secret", "O": "", "A": "", "P": 5},
        {"S": "secret", "O": "", "A": "", "P": None},
        {"S": "secret", "O": "", "A": "", "P": float("nan")},
        {"S": "secret", "O": "", "A": "", "P": {1, 2}},
        {"S": "secret\ud800", "O": "", "A": "", "P": ""},
    ],
)
def test_outputs_that_no_parser_would_take_are_refused(outputs: dict[str, object]) -> None:
    with pytest.raises(DataError) as caught:
        SOAP.answer(outputs)
    assert "secret" not in str(caught.value)


def test_stored_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(DataError, match="drugs"):
        plan_task().outputs({"title": "t", "drugs": "[", "urgency": "low", "note": "null", "count": "0"})
    with pytest.raises(DataError, match="'drugs'"):
        plan_task().answer({"title": "t", "drugs": "[]", "urgency": "low"})


def test_a_task_from_its_spec_is_the_same_task() -> None:
    again = Task.from_spec(TaskSpec.model_validate_json(SOAP.spec().model_dump_json()))
    assert again == SOAP
    assert hash(again) == hash(SOAP)
    assert again.spec().fingerprint == SOAP.spec().fingerprint
    assert again.messages({"dialogue": "x"}) == SOAP.messages({"dialogue": "x"})
    assert again.answer(NOTE.model_dump()) == SOAP.answer(NOTE)
    assert again.parse(SOAP.answer(NOTE)) == NOTE.model_dump()
    assert again.check() == []
    assert again.output is dict


def test_rendering_and_parsing_need_the_spec_alone() -> None:
    spec = SOAP.spec()
    assert rendering.messages(spec, {"dialogue": "x"}) == SOAP.messages({"dialogue": "x"})
    assert rendering.answer(spec, NOTE.model_dump()) == SOAP.answer(NOTE)


def test_tasks_differ_when_anything_that_a_model_sees_differs() -> None:
    class Reversed(BaseModel):
        count: int = Field(default=0, ge=0)
        note: Optional[str] = None  # noqa: UP045
        urgency: Literal["low", "high"]
        drugs: list[Drug]
        title: str

    assert plan_task() == plan_task()
    for change in ({"name": "x"}, {"system_prompt": "x"}, {"user_template": "x {text}"}, {"output": Reversed}):
        assert plan_task(**change) != plan_task()
    assert plan_task() != "plan"


def test_a_task_is_frozen() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        SOAP.name = "other"
    with pytest.raises(AttributeError, match="frozen"):
        del SOAP.name


def test_a_task_can_be_copied_and_pickled() -> None:
    assert copy.deepcopy(SOAP) == SOAP
    assert pickle.loads(pickle.dumps(SOAP)).parse(SOAP.answer(NOTE)) == NOTE
    assert repr(SOAP) == "Task[SOAPNote](name='soap', dialogue -> S, O, A, P)"


class Step(Config):
    task: Task[SOAPNote]


def test_a_config_saves_a_task_with_its_hooks_and_the_class_is_bound_again() -> None:
    step = Step(task=SOAP)
    assert step.task is SOAP
    again = Step.model_validate_json(step.model_dump_json())
    assert again == step
    assert again.task.hooks == SOAP.hooks
    assert again.task.bind(SOAPNote).parse(SOAP.answer(NOTE)) == NOTE
    assert Step(task=SOAP.spec()).task == SOAP  # type: ignore[arg-type]
    assert Step.model_json_schema()["properties"]["task"]["type"] == "object"


@pytest.mark.parametrize("value", [3, {"name": "x"}, {**SOAP.spec().model_dump(), "hooks": {"generator": 3}}])
def test_a_config_refuses_what_is_no_task(value: object) -> None:
    with pytest.raises(ConfigError):
        Step(task=value)  # type: ignore[arg-type]


def test_another_class_cannot_be_bound() -> None:
    with pytest.raises(ConfigError, match="Plan"):
        SOAP.bind(Plan)


def codes(task: Task[Plan]) -> dict[str, str]:
    return {v.code: v.level for v in task.check()}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": " "}, "no-name"),
        ({"user_template": "{text} }"}, "bad-template"),
        ({"user_template": "{text} {0}"}, "bad-template"),
        ({"user_template": "{text} {}"}, "bad-template"),
        ({"user_template": "{text} {a.b}"}, "bad-template"),
        ({"user_template": "{text} {a!r}"}, "bad-template"),
        ({"user_template": "{text} {a:>3}"}, "bad-template"),
        ({"user_template": "text"}, "no-input"),
        ({"user_template": "{id} {text}"}, "reserved-field"),
        ({"user_template": "{title} {text}"}, "field-clash"),
        ({"rubric": {**dict.fromkeys(Plan.model_fields, "right"), "titel": "x"}}, "unknown-rubric-field"),
        ({"generator": "nonsense"}, "bad-hook"),
        ({"lexicon": "a..b:c"}, "bad-hook"),
        ({"generator": "__main__:Generator"}, "hook-in-main"),
    ],
)
def test_each_fault_is_found(change: dict[str, object], code: str) -> None:
    assert codes(plan_task(**change)) == {code: "error"}


def test_all_faults_are_found_at_once_and_the_spec_is_refused() -> None:
    class Nothing(BaseModel):
        pass

    task = plan_task(name="", user_template="{", output=Nothing, rubric={"x": "y"})
    assert set(codes(task)) == {"no-name", "bad-template", "no-input", "no-output", "unknown-rubric-field"}
    with pytest.raises(ConfigError):
        task.spec()


def test_faults_of_the_class_are_found() -> None:
    class Bad(BaseModel, extra="allow"):
        name: str = Field(alias="Name")

    assert set(codes(plan_task(output=Bad, rubric={"Name": "x"}))) == {"aliased-field", "open-output"}
    assert "no-output" in codes(plan_task(output=RootModel[list[int]], rubric={}))


def test_a_default_that_is_another_each_time_is_found() -> None:
    class Stamped(BaseModel):
        at: datetime = Field(default_factory=datetime.now)
        drug: Drug = Field(default_factory=lambda: Drug(name="x"))

    task = plan_task(output=Stamped, rubric={"at": "x", "drug": "x"})
    assert [(v.path, v.code) for v in task.check()] == [("output.at", "unstated-default")]
    assert json.loads(task.answer({"at": datetime(2024, 1, 1)}))["drug"] == {"name": "x", "dose": None}


def test_a_field_without_a_rubric_is_a_warning() -> None:
    assert codes(plan_task(rubric={"title": "x", "drugs": " "})) == {"no-rubric": "warning"}


def test_an_input_field_in_the_system_prompt_is_a_warning_since_only_the_users_turn_is_filled() -> None:
    assert codes(plan_task(system_prompt="Answer about {text} as {json}.")) == {"unfilled-placeholder": "warning"}
    assert codes(plan_task(system_prompt='Write {"title": "..."} about {{text}} or the {note}.')) == {}


def test_a_misspelt_rubric_field_is_answered_with_the_right_one() -> None:
    assert any("'title'" in v.hint for v in plan_task(rubric={"titel": "x"}).check())


def test_a_faulty_schema_of_a_spec_is_found() -> None:
    spec = SOAP.spec()
    schema = {**spec.output_schema, "required": "S"}
    assert [v.code for v in Task.from_spec(spec.replace(output_schema=schema)).check()] == ["bad-schema"]


@pytest.mark.parametrize("output", [dict, str, 3, "Plan"])
def test_an_output_that_is_no_model_is_refused(output: object) -> None:
    with pytest.raises(ConfigError, match="Pydantic model"):
        plan_task(output=output)


def test_a_model_that_cannot_be_described_is_refused() -> None:
    class Lost(BaseModel):
        value: Missing  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigError, match="Lost"):
        plan_task(output=Lost)


@pytest.mark.parametrize("path", ["nonsense", "__main__:X", "soaptune.nowhere:X", "soaptune.tasks:Nowhere"])
def test_a_hook_that_cannot_be_imported_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        load_hook(path, allow_code=("soaptune",))


def test_importing_tasks_is_light() -> None:
    code = "import soaptune.tasks, sys; print([m for m in sys.modules if m.split('.')[0] in %r])"
    heavy = ("jsonschema", "numpy", "pyarrow", "pandas", "datasets", "torch", "transformers", "rich", "httpx")
    done = subprocess.run([sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
