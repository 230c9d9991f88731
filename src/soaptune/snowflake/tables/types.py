"""How columns of a dataset stand in a table: which SQL type they have, and how they come back as they were.

Text stays text, whole numbers, numbers and booleans are what SQL calls so. Facts, lists and structs are JSON text
(``PARSE_JSON(FACTS)`` opens them in SQL); dates, timestamps and decimals are their text.
"""

from __future__ import annotations

import json
from typing import Any

from soaptune.common.arrow import arrow
from soaptune.common.json_text import decode_json
from soaptune.errors import DataError

__all__ = ["as_text", "from_table", "sql_type"]


def _plain(kind: Any) -> Any:
    pa = arrow()
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _form(kind: Any, column: str) -> str:
    t = arrow().types
    if t.is_boolean(kind):
        return "BOOLEAN"
    if t.is_integer(kind):
        return "NUMBER(38, 0)"
    if t.is_floating(kind):
        return "FLOAT"
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind) or t.is_null(kind):
        return "text"
    if t.is_timestamp(kind) or t.is_date(kind) or t.is_decimal(kind):
        return "formatted"
    if t.is_temporal(kind):
        return "counted"
    if t.is_nested(kind) and not t.is_union(kind) and not t.is_map(kind):
        return "json"
    raise DataError(f"The column {column!r} has the type {kind}, which a table cannot hold. Leave it out.")


def sql_type(kind: Any, column: str) -> str:
    """The SQL type of a column.

    Args:
        kind: Its Arrow type.
        column: Its name, for the message.

    Raises:
        DataError: A table cannot hold it.
    """
    form = _form(_plain(kind), column)
    return {"counted": "NUMBER(38, 0)"}.get(form, form if form[0].isupper() else "VARCHAR")


def as_text(values: Any, column: str) -> Any:
    """A column as strings, in which it travels.

    Args:
        values: A `pyarrow.ChunkedArray`.
        column: Its name, for the message.

    Raises:
        DataError: A table cannot hold it.
    """
    pa = arrow()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    form = _form(values.type, column)
    try:
        if form == "json":
            made = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values.to_pylist()]
            return pa.chunked_array([pa.array(made, pa.string())])
        if form == "counted":
            width = pa.int32() if values.type.bit_width == 32 else pa.int64()
            values = values.cast(width)
        return values.cast(pa.string())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(f"The column {column!r} has the type {values.type}, which a table cannot hold.") from error


def from_table(values: Any, kind: Any, column: str) -> Any:
    """A column as it was before `as_text`.

    Args:
        values: What the table gave.
        kind: The Arrow type that the column had.
        column: Its name, for the message.

    Raises:
        DataError: The table holds something else now.
    """
    pa = arrow()
    plain = _plain(kind)
    form = _form(plain, column)
    try:
        if form == "json":
            read = [None if v is None else decode_json(v) for v in values.to_pylist()]
            return pa.chunked_array([pa.array(read, plain)])
        if form == "counted":
            values = values.cast(pa.int64())
            return values.cast(pa.int32()).cast(plain) if plain.bit_width == 32 else values.cast(plain)
        return values.cast(plain)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise DataError(f"The column {column!r} is no longer what it was when the table was written.") from error
