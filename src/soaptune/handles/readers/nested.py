"""Values inside of records: ``columns={"parties": "output.parties"}`` reaches into the objects of a column."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from soaptune.common.arrow import Table, arrow, compute
from soaptune.common.json_text import decode_json
from soaptune.common.wording import did_you_mean
from soaptune.errors import DataError
from soaptune.handles.readers.rows import RawRows
from soaptune.handles.readers.values import MISSING

__all__ = ["reach_into"]


def reach_into(rows: RawRows, columns: Iterable[str]) -> None:
    """Adds a column for each dotted name that is not a column itself but leads into one.

    A column holds objects (of JSON, Python or Arrow) or their JSON text; in a list, a number is a place:
    ``"turns.0.text"``. A row without the value lacks it. The column that is reached into stays as it is.

    Args:
        rows: The rows; changed in place.
        columns: Names of columns as the user gave them.

    Raises:
        DataError: No row has a value there, or the values of typed columns have different types.
    """
    for column in columns:
        if column in rows.columns:
            continue
        parts = column.split(".")
        roots = [n for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in rows.columns]
        if roots:
            _add(rows, column, ".".join(parts[: roots[0]]), parts[roots[0] :])


def _add(rows: RawRows, column: str, root: str, path: Sequence[str]) -> None:
    objects = [_as_object(value) for value in rows.values(root)]
    values = [_reach(value, path) for value in objects]
    if all(value is MISSING for value in values):
        known = dict.fromkeys(name for value in objects if isinstance(value, dict) for name in cast("Any", value))
        hint = did_you_mean(path[0], [str(name) for name in known])
        raise DataError(f"{rows.file}: in the column {root!r} there is no {'.'.join(path)!r}{hint}.")
    if rows.table is not None:
        rows.table = rows.table.append_column(column, _array(rows, column, root, path, values))
    else:
        for index, (record, value) in enumerate(zip(rows.records, values, strict=True)):
            if record is not None and value is not MISSING:
                rows.records[index] = {**record, column: value if rows.typed else _as_cell(value)}
    rows.columns[column] = None


def _array(rows: RawRows, column: str, root: str, path: Sequence[str], values: Sequence[Any]) -> Any:
    pa, table = arrow(), cast("Table", rows.table)
    kind: Any = table.schema.field(root).type
    for name in path:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            break
        kind = kind.field(name).type
    else:  # Arrow's own way keeps the type, whatever the values are
        return compute().struct_field(table.column(root), list(path))
    try:
        return pa.array([None if value is MISSING else value for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"{rows.file}: the values of {column!r} have different types.") from error


def _as_object(value: Any) -> Any:
    """The object or list whose JSON text a value is; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return decode_json(value)
        except (ValueError, RecursionError):
            return value
    return value


def _as_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _reach(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(part, MISSING)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(part)]
        else:
            return MISSING
    return value
