"""Checks of single values: each gives the value as it is stored, or says what is wrong without quoting it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias, cast

from soaptune.common.arrow import arrow
from soaptune.errors import ConfigError
from soaptune.tasks.fact import Fact
from soaptune.tasks.spec import TaskSpec

__all__ = ["BAD", "MISSING", "Check", "facts_check", "group_check", "id_check", "metadata", "text_check"]


class _Mark(Enum):
    MISSING = "missing"
    BAD = "bad"


MISSING: Any = _Mark.MISSING
"""Stands where a row lacks a column."""
BAD: Any = _Mark.BAD
"""Stands for a string that is not UTF-8."""

Check: TypeAlias = Callable[[Any], tuple[Any, str]]
"""Takes a value of a file and gives the value to store and what is wrong with it (empty when nothing is)."""


def text_check(name: str, spec: TaskSpec, *, may_be_empty: bool) -> Check:
    """The check of an input or output field."""
    if name in spec.output_fields:
        return _output_check(name, spec, may_be_empty)
    return lambda value: _text(_number_as_text(value), may_be_empty)


def _number_as_text(value: Any) -> Any:
    # An input only fills the template, where 12 and "12" are the same.
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _text(value: Any, may_be_empty: bool) -> tuple[str, str]:
    if value is MISSING or value is None:
        return "", "" if may_be_empty else "the value is missing" if value is MISSING else "the value is null"
    if value is BAD:
        return "", "the text is not UTF-8"
    if not isinstance(value, str):
        return "", f"text is needed, and this is one of type {_type_name(value)}"
    if not may_be_empty and not value.strip():
        return "", "the value is empty"
    return value, _characters(value)


def _characters(text: str) -> str:
    if "\0" in text:
        return "the text holds a NUL character"
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return "the text holds half of a surrogate pair, which is not valid Unicode"
    return ""


def _type_name(value: object) -> str:
    names: Mapping[type, str] = {dict: "object", list: "list", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), type(value).__name__)


def _output_check(name: str, spec: TaskSpec, may_be_empty: bool) -> Check:
    import jsonschema

    validator: Any = cast("Any", jsonschema).Draft202012Validator(spec.field_schema(name))
    wrong = "the value is not one that the task's schema allows"
    if spec.is_text(name):

        def check_text(value: Any) -> tuple[str, str]:
            text, problem = _text(value, may_be_empty)
            if problem or (may_be_empty and not text):
                return text, problem
            return text, "" if validator.is_valid(text) else wrong

        return check_text

    def check_json(value: Any) -> tuple[str, str]:
        if value is BAD:
            return "", "the text is not UTF-8"
        if value is MISSING:
            value = None
        if isinstance(value, str):
            # Text formats without types, and our own datasets, say such a value as JSON text.
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                if not spec.may_be_text(name):
                    return (
                        "",
                        "JSON text is needed for a field that is not a string" if value.strip() else "it is empty",
                    )
        if not validator.is_valid(value):
            return "", "the value is missing or null" if value is None else wrong
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError):
            return "", wrong
        return text, _characters(text)

    return check_json


def id_check(value: Any) -> tuple[str, str]:
    """The check of an id: text or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _text(value, may_be_empty=False)


def group_check(value: Any) -> tuple[str | None, str]:
    """The check of a group: text or a whole number; nothing stands for a row of its own."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text, problem = _text(value, may_be_empty=True)
    return text or None, problem


def facts_check(value: Any) -> tuple[list[dict[str, Any]], str]:
    """The check of a row's facts: a list of objects with the fields of `Fact`, or JSON text that says one."""
    wrong = "a list of facts (field, kind, value, and where known start, end, source) is needed"
    if value is MISSING or value is None or value == "":
        return [], ""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [], wrong
    if not isinstance(value, list):
        return [], wrong
    facts: list[dict[str, Any]] = []
    for item in cast("list[Any]", value):
        if not isinstance(item, dict):
            return [], wrong
        said = {key: part for key, part in cast("dict[str, Any]", item).items() if part is not None}
        try:
            facts.append(Fact(**said).model_dump())
        except (ConfigError, TypeError):
            return [], wrong
    return facts, ""


def metadata(values: Sequence[Any]) -> Any:
    """A column of metadata from a text file as an Arrow array.

    Booleans, whole numbers, numbers and strings keep their type; a column that mixes them, or that holds lists or
    objects, becomes JSON text.

    Args:
        values: The values, `MISSING` or None where there is none.
    """
    pa = arrow()
    clean = [None if value is MISSING else value for value in values]
    kinds: set[type[object]] = {type(value) for value in clean if value is not None}
    whole = all(-(2**63) <= v < 2**63 for v in clean if isinstance(v, int)) if kinds == {int} else False
    if kinds == {bool}:
        return pa.array(clean, pa.bool_())
    if whole:
        return pa.array(clean, pa.int64())
    if kinds in ({float}, {int, float}):
        try:
            return pa.array([None if v is None else float(v) for v in clean], pa.float64())
        except OverflowError:
            pass
    if kinds <= {str} and not any(_characters(v) for v in clean if v is not None):
        return pa.array(clean, pa.string())
    return pa.array([None if v is None else json.dumps(v) for v in clean], pa.string())
