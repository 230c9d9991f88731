"""Checks of single values: each gives the value as it is stored, or what is wrong without quoting it.

A value of a source with types (JSON, Parquet, Arrow, Python) keeps its type: a string is never read again as something
else, but for a list or an object that stands as JSON text where no string could stand. A cell of a source without types
(CSV) is read by the type of its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time
from enum import Enum
from typing import Any, Literal, TypeAlias, cast

from soaptune.common.arrow import arrow
from soaptune.common.json_text import decode_json
from soaptune.errors import ConfigError, DataError
from soaptune.tasks.canonical import canonical, jsonable
from soaptune.tasks.fact import Fact
from soaptune.tasks.spec import TaskSpec
from soaptune.tasks.validation import find_faults, is_valid, names_of, path_text, type_name

__all__ = [
    "BAD",
    "LONGEST_TEXT",
    "MISSING",
    "Check",
    "Form",
    "facts_check",
    "group_check",
    "id_check",
    "input_check",
    "metadata",
    "output_check",
]

Form: TypeAlias = Literal["values", "columns", "cells"]
"""What a source's values are: Python's and JSON's own, those of typed columns (where a null also stands for what a
record lacks), or cells of text without types."""


LONGEST_TEXT = 10_000_000
"""Characters that one value may have. No model reads as much; set it higher where a longer one is yours."""


class _Mark(Enum):
    MISSING = "missing"
    BAD = "bad"


MISSING: Any = _Mark.MISSING
"""Stands where a row lacks a column."""
BAD: Any = _Mark.BAD
"""Stands for a string that is not UTF-8."""

Check: TypeAlias = Callable[[Any], tuple[Any, str]]
"""Takes a value of a source and gives the value to store and what is wrong with it (empty when nothing is)."""


def input_check(*, may_be_empty: bool) -> Check:
    """The check of an input field: text, a number or a boolean."""
    return lambda value: _text(_number_as_text(value), may_be_empty)


def output_check(name: str, spec: TaskSpec, *, may_be_empty: bool, form: Form) -> Check:
    """The check of an output field.

    Args:
        name: The field.
        spec: The task.
        may_be_empty: Whether a row may have nothing for it.
        form: What the source's values are.
    """
    return _Output(name, spec, may_be_empty, form)


class _Output:
    def __init__(self, name: str, spec: TaskSpec, may_be_empty: bool, form: Form) -> None:
        self._name = name
        self._spec = spec
        self._schema = spec.field_schema(name)
        self._types = spec.types(name)
        self._may_be_text = bool(self._types & {"string", "any"})
        self._may_be_empty = may_be_empty
        self._form: Form = form
        self._takes_null = is_valid(self._schema, None)
        forms = _forms(self._schema)
        self._is_a_day = "date" in forms and "date-time" not in forms

    def __call__(self, value: Any) -> tuple[str, str]:
        if value is BAD:
            return "", "the text is not UTF-8"
        try:
            value = self._given(value)
            if value is MISSING:
                return self._absent()
            return self._stored(value)
        except DataError as error:
            return "", str(error).rstrip(".")

    def _given(self, value: Any) -> Any:
        """The value as JSON has it; `MISSING` where the source has nothing."""
        if self._form == "cells":
            return value if value is MISSING else self._of_cell(value)
        if value is None and self._form == "columns" and not self._takes_null:
            return MISSING
        if value is MISSING:
            return value
        if self._is_a_day and isinstance(value, datetime) and value.timetz() == time():
            value = value.date()  # a frame's column of days has midnights, and Pydantic takes them for a date too
        value = jsonable(value)
        if isinstance(value, str) and self._types and self._types <= {"array", "object", "null"}:
            return _of_json(value)
        return value

    def _of_cell(self, cell: str) -> Any:
        """A cell as the type of its field, or as it is where it is none of the field's types."""
        if cell == "" or (not cell.strip() and not self._may_be_text):
            return MISSING
        fallback: Any = cell
        for kind, read in _CELLS.items():
            if kind in self._types or "any" in self._types:
                made = read(cell)
                if made is not BAD and is_valid(self._schema, canonical(self._schema, made)):
                    return made
                # What has the right type is kept, so that the message can say what is wrong with it.
                fallback = cell if made is BAD or fallback is not cell else made
        if not self._may_be_text and fallback is cell and self._types & {"array", "object"}:
            return _of_json(cell)
        return cell if self._may_be_text else fallback

    def _absent(self) -> tuple[str, str]:
        """What is stored where the source has nothing."""
        if self._spec.has_default(self._name):
            return self._spec.encode(self._name, self._spec.default(self._name)), ""
        if self._takes_null and (self._form == "cells" or self._may_be_empty):
            return self._spec.encode(self._name, None), ""
        if self._may_be_empty:
            for kind, empty in (
                ("string", ""),
                ("array", cast("list[Any]", [])),
                ("object", cast("dict[str, Any]", {})),
            ):
                if kind in self._types and is_valid(self._schema, empty):
                    return self._spec.encode(self._name, empty), ""
            return "", "the value is missing, and the field has no value that stands for nothing: give it a default"
        return "", "the value is empty" if self._form == "cells" else "the value is missing"

    def _stored(self, value: Any) -> tuple[str, str]:
        if value is None and not self._takes_null:
            return self._absent() if self._may_be_empty else ("", "the value is null")
        if self._types == {"string"} and isinstance(value, str) and not value.strip():
            if not self._may_be_empty:
                return "", "the value is empty"
            if not is_valid(self._schema, value):
                return self._absent()
        made = canonical(self._schema, value, nulls_absent=self._form == "columns")
        faults = find_faults(self._schema, made)
        if faults:
            return "", self._problem(faults, made)
        text = made if self._types == {"string"} else json.dumps(made, ensure_ascii=False, allow_nan=False)
        return text, _characters(text)

    def _problem(self, faults: Sequence[Any], value: Any) -> str:
        """The first of the faults in words, with its place inside of the field."""
        fault = faults[0]
        names = names_of(self._schema)
        place = path_text([self._name, *fault.place], {self._name: value}, names | {self._name})
        what = {
            "missing-field": "the field is missing",
            "extra-field": "there is a field that the record does not have",
        }
        why = what.get(fault.code, "") or fault.detail or "the value is not one that the task's schema allows"
        why += f"; {fault.detail}" if fault.code in what and fault.detail else ""
        return why if place == self._name else f"{place}: {why}"


def _forms(schema: Mapping[str, Any]) -> set[Any]:
    """The formats that a field's schema names, for its one type or for several."""
    return {branch.get("format") for branch in (schema, *schema.get("anyOf", ()))}


def _of_json(text: str) -> Any:
    try:
        return decode_json(text)
    except (ValueError, RecursionError):
        raise DataError("JSON text is needed for a list or an object") from None


def _cell_boolean(cell: str) -> Any:
    return {"true": True, "false": False}.get(cell.strip().casefold(), BAD)


def _cell_integer(cell: str) -> Any:
    # A table program writes a column of whole numbers with gaps as 7.0.
    found = re.fullmatch(r"\s*([+-]?[0-9]{1,4000})(?:\.0+)?\s*", cell)
    return int(found[1]) if found else BAD


def _cell_number(cell: str) -> Any:
    plain = re.fullmatch(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", cell)
    return float(cell) if plain else BAD


def _cell_json(cell: str) -> Any:
    try:
        return _of_json(cell)
    except DataError:
        return BAD


_CELLS: Mapping[str, Callable[[str], Any]] = {
    "boolean": _cell_boolean,
    "integer": _cell_integer,
    "number": _cell_number,
    "array": _cell_json,
    "object": _cell_json,
}
"""How a cell without a type is read as one; `BAD` where it is no such value."""


def _number_as_text(value: Any) -> Any:
    # An input only fills the template, where 12 and "12" are the same.
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _text(value: Any, may_be_empty: bool) -> tuple[str, str]:
    if value is MISSING or value is None:
        return "", "" if may_be_empty else "the value is missing" if value is MISSING else "the value is null"
    if value is BAD:
        return "", "the text is not UTF-8"
    if not isinstance(value, str):
        return "", f"text is needed, and this is {type_name(value)}"
    if not may_be_empty and not value.strip():
        return "", "the value is empty"
    return value, _characters(value)


def _characters(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        return (
            f"the text has more than {LONGEST_TEXT:,} characters; if that is right, set "
            "soaptune.handles.readers.values.LONGEST_TEXT higher"
        )
    if "\0" in text:
        return "the text holds a NUL character"
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return "the text holds half of a surrogate pair, which is not valid Unicode"
    return ""


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
    """The check of a row's facts: a list of objects with the fields of `Fact`, or the JSON text of one."""
    wrong = "a list of facts (field, kind, value, and where known start, end, source) is needed"
    if value is MISSING or value is None or value == "":
        return [], ""
    if isinstance(value, str):
        try:
            value = decode_json(value)
        except (ValueError, RecursionError):
            return [], wrong
    if not isinstance(value, list):
        return [], wrong
    facts: list[dict[str, Any]] = []
    for item in cast("list[Any]", value):
        if not isinstance(item, dict):
            return [], wrong
        given = {key: part for key, part in cast("dict[str, Any]", item).items() if part is not None}
        try:
            facts.append(Fact(**given).model_dump())
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
