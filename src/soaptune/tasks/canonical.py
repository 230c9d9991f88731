"""The one form of an output: what is written for it, whoever gives it and in whichever way.

An object's fields stand in the order of the schema, absent ones are there with their defaults, numbers are written as
their type has it (``1.0`` for a float), and dates, durations, decimals and the like as Pydantic writes them. So a
mapping, a row of a file and an instance of the task's class give the same text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from soaptune.errors import DataError
from soaptune.tasks import formats
from soaptune.tasks.schema import resolved
from soaptune.tasks.validation import is_valid

__all__ = ["canonical", "canonical_fields", "jsonable"]

_DEPTH = 64


def jsonable(value: Any) -> Any:
    """A Python value (a model, a date, an enum) as JSON has it.

    Raises:
        DataError: JSON has nothing for it.
    """
    try:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json", by_alias=True)
        return to_jsonable_python(value, inf_nan_mode="constants")
    except (PydanticSerializationError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError("The value cannot be written as JSON text.") from error


def canonical_fields(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an output in their one form.

    Args:
        schema: The JSON Schema of the output.
        values: JSON values by field; keys that are no fields are left out.
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    return cast("dict[str, Any]", canonical(schema, {key: values[key] for key in properties if key in values}))


def canonical(
    schema: Mapping[str, Any], value: Any, *, root: Mapping[str, Any] | None = None, nulls_absent: bool = False
) -> Any:
    """A JSON value in its one form; what does not fit the schema is left as it is.

    Args:
        schema: The JSON Schema of the value.
        value: The value.
        root: The schema with the definitions; ``schema`` itself when None.
        nulls_absent: Whether a null stands for what is not there, as in a column of structs.
    """
    return _Walk(schema if root is None else root, nulls_absent).walk(schema, value, 0)


class _Walk:
    def __init__(self, root: Mapping[str, Any], nulls_absent: bool) -> None:
        self._root = root
        self._nulls_absent = nulls_absent

    def walk(self, schema: Mapping[str, Any], value: Any, depth: int) -> Any:
        if depth > _DEPTH:
            return value
        schema = resolved(schema, self._root)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._branch(schema[keyword], value, depth + 1)
        if len(schema.get("allOf", ())) == 1:
            return self.walk(schema["allOf"][0], value, depth + 1)
        if "enum" in schema or "const" in schema:
            return value
        if "format" in schema:
            return formats.canonical(str(schema["format"]), value)
        if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
            return _as_float(value)
        if isinstance(value, list):
            return self._list(schema, cast("list[Any]", value), depth + 1)
        if isinstance(value, dict):
            return self._object(schema, cast("dict[str, Any]", value), depth + 1)
        return value

    def _branch(self, branches: list[Mapping[str, Any]], value: Any, depth: int) -> Any:
        if value is None:
            return value
        options = [b for b in (resolved(branch, self._root) for branch in branches) if b.get("type") != "null"]
        if len(options) == 1:
            return self.walk(options[0], value, depth)
        if isinstance(value, int):  # also a boolean; a number that is whole is no float where it may be an integer
            kind = "boolean" if isinstance(value, bool) else "integer"
            options.sort(key=lambda branch: branch.get("type") != kind)
        definitions = {"$defs": self._root["$defs"]} if "$defs" in self._root else {}
        for option in options:
            made = self.walk(option, value, depth)
            if is_valid({**option, **definitions}, made):
                return made
        return value

    def _list(self, schema: Mapping[str, Any], values: list[Any], depth: int) -> list[Any]:
        first: list[Mapping[str, Any]] = schema.get("prefixItems", [])
        rest = _schema(schema.get("items"))
        return [self.walk(first[i] if i < len(first) else rest, value, depth) for i, value in enumerate(values)]

    def _object(self, schema: Mapping[str, Any], values: dict[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
        others = _schema(schema.get("additionalProperties"))
        made: dict[str, Any] = {}
        for key, part in properties.items():
            if key in values and not self._is_absent(part, values[key]):
                made[key] = self.walk(part, values[key], depth)
            elif "default" in resolved(part, self._root):
                made[key] = self.walk(part, resolved(part, self._root)["default"], depth)
        for key, value in values.items():
            if key not in properties and not (others and self._is_absent(others, value)):
                made[key] = self.walk(others, value, depth)
        return made

    def _is_absent(self, schema: Mapping[str, Any], value: Any) -> bool:
        if value is not None or not self._nulls_absent:
            return False
        definitions = {"$defs": self._root["$defs"]} if "$defs" in self._root else {}
        return not is_valid({**schema, **definitions}, None)


def _schema(value: Any) -> Mapping[str, Any]:
    """A schema that may be absent, or be true or false."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _as_float(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:
        return value
