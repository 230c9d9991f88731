"""Queries of Parquet files where they lie, on a stage or under ``snow://``: INFER_SCHEMA, and SELECT from a place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake import literals, names
from soaptune.testing.snowflake.arrow import pyarrow
from soaptune.testing.snowflake.results import Result, SqlError, rows
from soaptune.testing.snowflake.stages import LOCATION, Location
from soaptune.testing.snowflake.statements import Call, handles, outside_quotes, rewrites

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

_ANALYZER = "snowflake/snowpark/_internal/analyzer/analyzer_utils.py"
_NESTED = ("STRUCT", "MAP", "UNION")


@handles(
    r"^SELECT\s+(?P<columns>.*?)\s+FROM\s+TABLE\s*\(\s*INFER_SCHEMA\s*\((?P<arguments>.*)\)\s*\)"
    r"(?:\s*ORDER\s+BY\s+ORDER_ID\s*(?:,\s*COLUMN_NAME\s*)?)?$",
    issued_by=f"snowflake/connector/pandas_tools.py:522, {_ANALYZER}:1366",
)
def infer_schema(account: Account, call: Call) -> Result:
    """INFER_SCHEMA of Parquet files: the columns of the first, in its order."""
    place = re.search(rf"LOCATION\s*=>\s*({LOCATION}|'[^']*')", str(call["arguments"]), re.IGNORECASE)
    if not place:
        raise SqlError(1003, f"SQL compilation error:\nINFER_SCHEMA without a location: {call.sql}", "42000")
    text = str(call.binds[0]) if place[1] == "?" else place[1]
    found = account.stages.locate(text, call.session)
    files = found.files()
    if not files:
        raise _no_files(found)
    _check(found.folder / files[0], call.sql)
    every: dict[str, Callable[[Any], Any]] = {
        "COLUMN_NAME": lambda field: field.name,
        "TYPE": lambda field: _type(field.type),
        "NULLABLE": lambda field: field.nullable,
        "EXPRESSION": lambda field: f"$1:{names.written(field.name)}::{_type(field.type)}",
        "FILENAMES": lambda _: ", ".join(files),
    }
    schema = pyarrow("pyarrow.parquet").read_schema(found.folder / files[0])
    asked = [column.strip().strip('"').upper() for column in str(call["columns"]).split(",")]
    wanted = [*every, "ORDER_ID"] if asked == ["*"] else asked
    made = [
        [number if name == "ORDER_ID" else every[name](one) for name in wanted] for number, one in enumerate(schema)
    ]
    return rows(wanted, made)


def _type(kind: Any) -> str:
    types = pyarrow("pyarrow.types")

    simple: list[tuple[Any, str]] = [
        (types.is_boolean, "BOOLEAN"),
        (types.is_integer, "NUMBER(38, 0)"),
        (types.is_floating, "REAL"),
        (types.is_date, "DATE"),
        (types.is_timestamp, "TIMESTAMP_NTZ"),
        (types.is_time, "TIME"),
        (types.is_list, "ARRAY"),
        (types.is_struct, "OBJECT"),
        (types.is_map, "OBJECT"),
        (types.is_binary, "BINARY"),
    ]
    if types.is_decimal(kind):
        return f"NUMBER({kind.precision}, {kind.scale})"
    return next((name for matches, name in simple if matches(kind)), "TEXT")


# With its options: without them, the server would take Parquet for CSV.
_FROM = (
    rf"\bFROM\s+(?P<place>(?='?(?:@|snow://)){LOCATION})"
    rf"\s*\(\s*(?P<options>(?:FILE_FORMAT|PATTERN)\s*=>\s*(?:{literals.TEXT}|[^'()])*)\)"
)
_FIELD = r'\$1:(?P<field>"(?:[^"]|"")*"|\w+)(?P<deeper>\s*(?:\[|:(?!:)|\.))?'


@rewrites(issued_by=f"{_ANALYZER}:1464")
def select_from_location(account: Account, session: Session, sql: str) -> str:
    """SELECT of fields such as ``$1:"A"`` from Parquet files: from a table with their rows, of this session."""
    froms: list[re.Match[str]] = []

    def keep(match: re.Match[str]) -> str:
        froms.append(match)
        return match[0]

    outside_quotes(_FROM, keep, sql)
    made, done, columns = "", 0, frozenset[str]()
    for match in froms:
        pattern = re.search(rf"\bPATTERN\s*=>\s*({literals.TEXT})", match["options"], re.IGNORECASE | re.DOTALL)
        table, columns = _table_of(account, session, match["place"], pattern[1] if pattern else None, sql)
        made += _with_columns(sql[done : match.start()], columns, sql) + f"FROM {names.quoted(table)}"
        done = match.end()
    return made + _with_columns(sql[done:], columns, sql) if froms else sql


def _with_columns(part: str, columns: frozenset[str], sql: str) -> str:
    """A part of a query with columns in place of fields; a field that no file has is NULL."""

    def column(match: re.Match[str]) -> str:
        if match["deeper"]:
            raise literals.unsupported("SELECT from files, which reads only whole fields such as $1:a,", sql)
        field = match["field"]
        name = names.unquoted(field) if field.startswith('"') else field
        return names.quoted(name) if name in columns else "NULL"

    return outside_quotes(_FIELD, column, part)


def _table_of(
    account: Account, session: Session, place: str, pattern: str | None, sql: str
) -> tuple[str, frozenset[str]]:
    """A temporary table with the rows of files, made once for the same files, and the names of its columns."""
    found = account.stages.locate(place, session)
    if place.lstrip("'").startswith("snow://") and not found.files():
        raise _no_files(found)
    paths = [found.folder / name for name in found.files(literals.text(pattern) if pattern else None)]
    for path in paths:
        _check(path, sql)
    listed = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    table = "FILES_" + hashlib.sha256(repr(listed).encode()).hexdigest()[:24].upper()
    if not paths:
        session.duck(f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} AS SELECT NULL AS NOTHING WHERE FALSE")
        return table, frozenset()
    source, files = "read_parquet(?, union_by_name = true)", [[str(path) for path in paths]]
    kinds = {str(row[0]): str(row[1]) for row in session.duck(f"DESCRIBE SELECT * FROM {source}", files)}
    there = {name for path in paths for name in pyarrow("pyarrow.parquet").read_schema(path).names}
    if there != set(kinds):  # DuckDB has renamed one
        raise literals.unsupported("SELECT from files with columns that differ only in case", sql)
    chosen = ", ".join(
        f"to_json({names.quoted(name)}) AS {names.quoted(name)}"
        if kind.endswith("]") or kind.startswith(_NESTED)
        else names.quoted(name)
        for name, kind in kinds.items()
    )
    session.duck(f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} AS SELECT {chosen} FROM {source}", files)
    return table, frozenset(kinds)


def _no_files(found: Location) -> SqlError:
    return SqlError(100088, f"No files were found in the location {found.shown}{found.inside}.", "22000")


def _check(path: Path, sql: str) -> None:
    """Refuses what is not Parquet."""
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise literals.unsupported(f"a query of files, of which {path.name} is not Parquet", sql)
