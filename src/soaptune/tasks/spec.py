"""A task as pure data: what handles, jobs and manifests carry, without the user's Python classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

from pydantic import BaseModel, Field, field_validator, model_validator
from typing_extensions import Self

from soaptune.common.fingerprint import fingerprint
from soaptune.common.json_text import parse_json
from soaptune.config import Config
from soaptune.errors import ConfigError, DataError
from soaptune.tasks.canonical import canonical, canonical_fields, jsonable
from soaptune.tasks.hooks import given_hooks
from soaptune.tasks.schema import resolved

__all__ = ["RESERVED_COLUMNS", "HasSpec", "TaskSpec", "as_spec", "json_types", "not_a_task"]

RESERVED_COLUMNS = ("id", "facts", "group")
"""Columns of a dataset that are not the task's; no field of a task may have one of these names."""


_TYPES: Mapping[type[Any], str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


class TaskSpec(Config):
    """What a model must learn, as templates and JSON Schema."""

    name: str
    """The task's name, as shown in manifests and reports."""
    system_prompt: str
    """The system message."""
    user_template: str
    """The user message, with a `{field}` placeholder for each input field."""
    output_schema: dict[str, Any]
    """The JSON Schema of an answer: an object with one property for each output field."""
    output_fields: tuple[str, ...]
    """The answer's fields, in the order in which the model writes them."""
    input_fields: tuple[str, ...]
    """The fields that the user template is filled with."""
    rubric: dict[str, str] = Field(default_factory=dict)
    """What a good value of each output field is, for judges."""
    hooks: dict[str, str] = Field(default_factory=dict)
    """What the task brings along as code: the import path of each of its `soaptune.tasks.hooks.Hooks`, by name."""

    @model_validator(mode="before")
    @classmethod
    def _hooks_of_the_first_release(cls, data: Any) -> Any:
        """The first release wrote each hook as a field beside the others."""
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        beside = {name: given[name] for name in ("generator", "lexicon") if name in given}
        if not beside or "hooks" in given:
            return given
        return {**{name: value for name, value in given.items() if name not in beside}, "hooks": beside}

    @field_validator("hooks", mode="before")
    @classmethod
    def _known_hooks(cls, value: Any) -> Any:
        return given_hooks(value)

    @field_validator("name")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a task needs a name")
        return value

    @model_validator(mode="after")
    def _fields_are_distinct(self) -> Self:
        if not self.input_fields or not self.output_fields:
            raise ValueError("a task needs at least one input field and one output field")
        seen: set[str] = set()
        for field in (*self.input_fields, *self.output_fields):
            if field in RESERVED_COLUMNS:
                raise ValueError(f"the field name {field!r} is reserved; datasets use it for a column of their own")
            if field in seen:
                raise ValueError(f"the field {field!r} stands twice among the input and output fields")
            seen.add(field)
        unknown = [field for field in self.rubric if field not in self.output_fields]
        if unknown:
            raise ValueError(f"the rubric speaks of {unknown[0]!r}, which is not an output field")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The input fields and then the output fields: the columns that each example needs."""
        return (*self.input_fields, *self.output_fields)

    @property
    def fingerprint(self) -> str:
        """``"sha256:<hex>"`` over all of this spec but its `hooks`, which no prompt and no answer is made of."""
        return fingerprint(self.model_dump(mode="json", exclude={"hooks"}))

    def field_schema(self, field: str) -> dict[str, Any]:
        """The JSON Schema of one output field, with the definitions it may refer to."""
        properties: Mapping[str, Any] = self.output_schema.get("properties", {})
        schema = dict(properties.get(field, {}))
        if "$defs" in self.output_schema:
            schema["$defs"] = self.output_schema["$defs"]
        return schema

    def is_text(self, field: str) -> bool:
        """Whether a value of this output field is always a string, and thus stored as it is.

        Other fields (numbers, lists, objects, optional strings) are stored as JSON text.
        """
        return self.types(field) == {"string"}

    def may_be_text(self, field: str) -> bool:
        """Whether a value of this output field can be a string, among other types."""
        return bool(self.types(field) & {"string", "any"})

    def types(self, field: str) -> set[str]:
        """The JSON types that a value of an output field may have; ``"any"`` where the schema leaves it open."""
        return json_types(self.field_schema(field), self.output_schema)

    def encode(self, field: str, value: Any) -> str:
        """How a value of an output field is stored in a dataset: a string as it is, anything else as JSON text.

        Args:
            field: The field.
            value: Its value: what JSON has, or what Python has for it (a date, an enum, a model).

        Raises:
            DataError: The field is a text field and the value is not a string, or JSON has nothing for the value.
        """
        schema = self.field_schema(field)
        made = canonical(schema, jsonable(value))
        if self.is_text(field):
            if not isinstance(made, str):
                raise DataError(f"The output field {field!r} is a string, not {type(value).__name__}.")
            return made
        try:
            return json.dumps(made, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"The value of the output field {field!r} cannot be written as JSON text.") from error

    def decode(self, field: str, stored: str | None) -> Any:
        """The value of an output field from the string that a dataset stores for it; the inverse of `encode`.

        Nothing stored is None.

        Raises:
            DataError: The stored text of a field that is not a string is not JSON.
        """
        if stored is None or self.is_text(field):
            return stored
        return parse_json(stored, where=f"The stored value of the output field {field!r}")

    def outputs(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The decoded output fields of one row of a dataset, in the order of the task."""
        return {field: self.decode(field, row[field]) for field in self.output_fields}

    def stored(self, outputs: Mapping[str, Any]) -> dict[str, str]:
        """The output fields of one row as a dataset stores them; absent ones with their defaults.

        Args:
            outputs: The output's JSON values by field.

        Returns:
            The stored string by field; a field that is absent and has no default is left out.
        """
        made = canonical_fields(self.output_schema, outputs)
        return {field: self.encode(field, made[field]) for field in self.output_fields if field in made}

    def has_default(self, field: str) -> bool:
        """Whether an output field may be absent, because the schema has a default for it."""
        return "default" in self.field_schema(field)

    def default(self, field: str) -> Any:
        """The default of an output field that `has_default`."""
        return self.field_schema(field)["default"]


@runtime_checkable
class HasSpec(Protocol):
    """Anything that is a task: it has a form as pure data, a `TaskSpec`."""

    def spec(self) -> TaskSpec:
        """The task as pure data."""
        ...


def as_spec(task: TaskSpec | HasSpec) -> TaskSpec:
    """The pure-data form of a task, from a `soaptune.tasks.Task` or from a `TaskSpec`.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(task, TaskSpec):
        return task
    if isinstance(task, type) or not callable(getattr(task, "spec", None)):
        raise ConfigError(f"task= is no task: {not_a_task(task)}")
    return task.spec()


def json_types(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> set[str]:
    """The JSON types that a schema's keywords allow; ``"any"`` where they leave it open."""
    if depth > 16:  # a definition that refers to itself
        return {"any"}
    schema = resolved(schema, root)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return {t for option in schema[keyword] for t in json_types(option, root, depth + 1)}
    if len(schema.get("allOf", ())) == 1:
        return json_types(schema["allOf"][0], root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return set(cast("list[str]", kind))
    values: list[Any] = [schema["const"]] if "const" in schema else list(schema.get("enum", ()))
    return {_TYPES[type(value)] for value in values} or {"any"}


def not_a_task(value: object) -> str:
    """What to say of something that is given for a task.

    Args:
        value: What was given.
    """
    kind = cast("type[Any]", value) if isinstance(value, type) else type(None)
    if callable(getattr(kind, "spec", None)):
        return (
            f"this is the class {kind.__name__}; a task is made by Task(name=..., system_prompt=..., output=..., ...)"
        )
    if issubclass(kind, BaseModel):
        return f"{kind.__name__} is the class of an answer; a task is Task(output={kind.__name__}, name=..., ...)"
    what = "class" if kind is value else type(value).__name__
    return f"a Task is expected, such as st.tasks.SOAP or Task(name=..., ...), and this is a {what}"
