"""Points in time as SHOW prints them, and a table made of given rows, for SQL that fakesnow runs."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def moment(seconds: float | None) -> str | None:
    """A point in time as SHOW and DESCRIBE print it."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="milliseconds")


def inline_table(columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> str:
    """A sub-select that has given rows, for SQL that fakesnow runs in place of a table function.

    Args:
        columns: Snowflake's type by column; VARIANT for values that are given as lists and mappings.
        rows: The rows.
    """

    def expression(number: int, name: str, kind: str) -> str:
        value = f"PARSE_JSON(column{number})" if kind == "VARIANT" else f"column{number}::{kind}"
        return f'{value} AS "{name}"'

    def cell(value: Any) -> str:
        if value is None:
            return "NULL"
        text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

    made = ["(" + ", ".join(cell(value) for value in row) + ")" for row in rows]
    selected = ", ".join(expression(number + 1, name, kind) for number, (name, kind) in enumerate(columns.items()))
    values = ", ".join(made) or "(" + ", ".join(["NULL"] * len(columns)) + ")"
    return f"(SELECT {selected} FROM VALUES {values}{'' if made else ' WHERE FALSE'})"
