from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel

from soaptune.errors import ConfigError, DataError
from soaptune.tasks.spec import HasSpec, TaskSpec, as_spec


class Note(BaseModel):
    summary: str
    tone: Literal["calm", "angry"]
    next_step: str | None
    tags: list[str]
    count: int


def spec_of(model: type[BaseModel] = Note, **changes: Any) -> TaskSpec:
    values: dict[str, Any] = {
        "name": "notes",
        "system_prompt": "s",
        "user_template": "{text}",
        "output_schema": model.model_json_schema(),
        "output_fields": tuple(model.model_fields),
        "input_fields": ("text",),
    }
    return TaskSpec(**{**values, **changes})


def test_text_fields_are_told_from_the_schema() -> None:
    spec = spec_of()
    assert [field for field in spec.output_fields if spec.is_text(field)] == ["summary", "tone"]
    assert spec.may_be_text("next_step")
    assert not spec.may_be_text("tags")


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("summary", "a", "a"),
        ("next_step", "ä", '"ä"'),
        ("next_step", None, "null"),
        ("tags", ["x"], '["x"]'),
        ("count", 3, "3"),
    ],
)
def test_a_stored_value_decodes_to_what_it_was(field: str, value: Any, stored: str) -> None:
    assert spec_of().encode(field, value) == stored
    assert spec_of().decode(field, stored) == value


def test_wrong_values_are_refused_without_quoting_them() -> None:
    with pytest.raises(DataError, match="is a string, not int"):
        spec_of().encode("summary", 77)
    with pytest.raises(DataError, match="not valid JSON") as caught:
        spec_of().decode("count", "secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "needs a name"),
        ({"input_fields": ()}, "at least one input field"),
        ({"input_fields": ("id",)}, "reserved"),
        ({"input_fields": ("summary",)}, "stands twice"),
        ({"rubric": {"sumary": "x"}}, "'sumary'"),
        ({"inputs": ("a",)}, "did you mean 'input_fields'"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spec_of(**changes)


def test_a_spec_round_trips_through_json_with_its_fingerprint() -> None:
    spec = spec_of(rubric={"summary": "short"})
    again = TaskSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.fingerprint == spec.fingerprint
    assert spec.replace(system_prompt="other").fingerprint != spec.fingerprint


def test_anything_with_a_spec_is_a_task() -> None:
    class Tasklike:
        def spec(self) -> TaskSpec:
            return spec_of()

    assert isinstance(Tasklike(), HasSpec)
    assert as_spec(Tasklike()) == as_spec(spec_of()) == spec_of()
