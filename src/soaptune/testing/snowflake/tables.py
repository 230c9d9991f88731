"""Tables: what fakesnow needs to be told in other words, and loading files from a stage, which it cannot see.

Everything else about tables is fakesnow's: SELECT, INSERT, MERGE, DESCRIBE, INFORMATION_SCHEMA and the like.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake import literals, names
from soaptune.testing.snowflake.arrow import pyarrow
from soaptune.testing.snowflake.cortex import split_arguments
from soaptune.testing.snowflake.names import NAME
from soaptune.testing.snowflake.results import Result, SqlError, missing, rows, status
from soaptune.testing.snowflake.stages import LOCATION
from soaptune.testing.snowflake.statements import Call, handles, outside_quotes, rewrites

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

_PANDAS = "snowflake/connector/pandas_tools.py"
_COPIED = "file status rows_parsed rows_loaded error_limit errors_seen first_error first_error_line".split()
_FORMATS = {"PARQUET": "read_parquet", "CSV": "read_csv", "JSON": "read_json"}


class Tables:
    """The answers of an account that RESULT_SCAN finds again; its tables lie in fakesnow."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def keep(self, result: Result) -> None:
        """Keeps the answer of a handler beside those of fakesnow."""
        columns = {
            name: _column([row[place] for row in result.rows], result.types.get(name, "text"))
            for place, name in enumerate(result.columns)
        }
        self.account.fake.results_cache[result.query_id] = (pyarrow().table(columns), len(result.rows), "", None, None)

    def also(self, query_id: str, other: str) -> None:
        """Lets an answer be found by a second id: an asynchronous query has its id before it has run."""
        cache = self.account.fake.results_cache
        if other in cache:
            cache[query_id] = cache[other]


def _column(values: list[str | None], kind: str) -> Any:
    pa = pyarrow()

    if kind == "fixed":
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    if kind.startswith("timestamp"):
        times = [None if value is None else int(float(value) * 1e6) for value in values]
        return pa.array(times, pa.timestamp("us", "UTC"))
    return pa.array(values, pa.string())


@rewrites(issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:258")
def result_scan(account: Account, session: Session, sql: str) -> str:
    """RESULT_SCAN: an earlier answer, as a table under a name of its own."""

    def table(match: re.Match[str]) -> str:
        found = account.fake.results_cache.get(match["query"])
        if found is None:
            raise SqlError(709, f"Statement {match['query']} not found", "02000")
        name = "RESULT_OF_" + match["query"].upper()
        session.register(name, found[0])
        return names.quoted(name)

    return re.sub(r"\bTABLE\s*\(\s*RESULT_SCAN\s*\(\s*'(?P<query>[^']+)'\s*\)\s*\)", table, sql, flags=re.IGNORECASE)


@rewrites(issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:821")
def columns_of_values(account: Account, session: Session, sql: str) -> str:  # noqa: ARG001
    """``$1`` of VALUES, which fakesnow knows as COLUMN1."""
    if not re.search(r"\bFROM\s+\(?\s*VALUES\b", sql, re.IGNORECASE):
        return sql
    return outside_quotes(r"\$\d+", lambda match: "COLUMN" + match[0][1:], sql)


_TEMPORARY = re.compile(
    rf"^(CREATE\s+(?:OR\s+REPLACE\s+)?)(?:SCOPED\s+)?TEMP(?:ORARY)?\s+(TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?({NAME}))",
    re.IGNORECASE,
)


@rewrites(issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1156")
def temporary_tables(account: Account, session: Session, sql: str) -> str:  # noqa: ARG001
    """Temporary tables with a qualified name, which DuckDB has not: plain ones that go with the session."""
    match = _TEMPORARY.match(sql)
    if not match:
        return sql
    if len(names.parts(match[3])) == 1:
        return f"{match[1]}TEMPORARY {match[2]}{sql[match.end() :]}"
    session.temporary.append(names.qualified(match[3], session.database, session.schema))
    return f"{match[1]}{match[2]}{sql[match.end() :]}"


@rewrites(issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1156")
def if_not_exists(account: Account, session: Session, sql: str) -> str:  # noqa: ARG001
    """CREATE TABLE with its IF NOT EXISTS behind the name, where Snowpark puts it."""
    return re.sub(
        rf"^(CREATE\s+(?:\w+\s+)?TABLE\s+)({NAME})\s+(IF\s+NOT\s+EXISTS\b)", r"\1\3 \2", sql, flags=re.IGNORECASE
    )


_AS_SELECT = re.compile(
    rf"^(CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:TRANSIENT|TEMPORARY)\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{NAME}\s*)\(",
    re.IGNORECASE,
)


@rewrites(issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1243")
def columns_of_table_as(account: Account, session: Session, sql: str) -> str:  # noqa: ARG001
    """CREATE TABLE with columns AS SELECT: fakesnow describes the query before it has translated it."""
    begun = _AS_SELECT.match(sql)
    if not begun:
        return sql
    columns, end = split_arguments(sql, begun.end())
    query = re.match(r"\s*AS\s+(?=SELECT|WITH|\()", sql[end:], re.IGNORECASE)
    found = [re.match(rf"\s*({names.PART})\s+(\w+(?:\s*\([^)]*\))?)", column) for column in columns]
    if not query or not all(found):
        return sql
    made = ", ".join(f"{one[1]}::{one[2]} AS {one[1]}" for one in found if one)
    given = ", ".join(one[1] for one in found if one)
    return f"{begun[1]} AS SELECT {made} FROM ({sql[end + query.end() :]}) AS GIVEN({given})"


@rewrites(issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:2034")
def source_of_merge(account: Account, session: Session, sql: str) -> str:
    """MERGE ... USING a query: fakesnow runs the query once for each branch, so that it is run here before, once."""
    begun = re.match(rf"MERGE\s+INTO\s+{NAME}(?:\s+(?:AS\s+)?(?!USING\b)\w+)?\s+USING\s*\(", sql, re.IGNORECASE)
    if not begun:
        return sql
    end = split_arguments(sql, begun.end())[1]
    query = sql[begun.end() : end - 1]
    if query != outside_quotes(r"\?", lambda _: "", query):
        return sql
    name = "SOURCE_OF_MERGE"
    for rewrite in account.server.rewrites:
        query = rewrite(account, session, query)
    session.run(f"CREATE OR REPLACE TEMPORARY TABLE {name} AS {query}")
    return f"{sql[: begun.end() - 1]}{name}{sql[end:]}"


_BATCH = re.compile(rf"^INSERT\s+INTO\s+{NAME}\s*(?:\([^()]*\)\s*)?(?P<values>VALUES\s*\(|SELECT\s)", re.IGNORECASE)


def insert_batch(session: Session, sql: str, bindings: list[dict[str, Any]]) -> Result | None:
    """An INSERT whose values are lists, one for each placeholder, in one go; fakesnow would run it row by row.

    Args:
        session: Who inserts.
        sql: The statement.
        bindings: The placeholders' types and lists of values.

    Returns:
        How many rows were inserted; None if it is no such INSERT.
    """
    pa = pyarrow()

    match = _BATCH.match(sql)
    if not match or not all(isinstance(binding["value"], list) for binding in bindings):
        return None
    if match["values"].upper().startswith("VALUES"):
        expressions, end = split_arguments(sql, match.end())
        if sql[end:].strip():
            return None
        sql = f"{sql[: match.start('values')]}SELECT {', '.join(expressions)}"
    elif re.search(r"\bFROM\b", sql, re.IGNORECASE):
        return None
    count = iter(range(len(bindings)))
    name = "BATCH_OF_VALUES"
    query = outside_quotes(r"\?", lambda _: f'"C{next(count)}"', sql)
    columns = {f"C{place}": _values_of(binding) for place, binding in enumerate(bindings)}
    session.register(name, pa.table(columns))
    made = session.run(f"{query} FROM {name}")[1]
    return Result(
        ["number of rows inserted"],
        [[str(made[0][0])]],
        {"number of rows inserted": "fixed"},
        None,
        statement_type=12544,
    )


def _values_of(binding: dict[str, Any]) -> Any:
    pa = pyarrow()

    from fakesnow.converter import from_binding

    converted: list[Any] = [
        None if value is None else from_binding({**binding, "value": value}) for value in binding["value"]
    ]
    if binding["type"] == "REAL":
        return pa.array([None if value is None else float(value) for value in converted], pa.float64())
    return pa.array(converted)


@handles(
    r"^CREATE\s+(?:OR\s+REPLACE\s+)?(?:SCOPED\s+)?TEMP(?:ORARY)?\s+FILE\s+FORMAT\b",
    issued_by=f"{_PANDAS}:176",
)
@handles(r"^DROP\s+FILE\s+FORMAT\b", issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1457")
def file_format(account: Account, call: Call) -> Result:  # noqa: ARG001
    """Temporary file formats: what is read says itself what it is."""
    return status("File format successfully created.")


_COPY = rf"""^COPY\s+INTO\s+(?P<table>{NAME})\s*(?:/\*.*?\*/\s*)?(?:\((?P<columns>[^()]*)\)\s*)?
    FROM\s+(?:\(\s*SELECT\s+(?P<fields>.*?)\s+FROM\s+(?P<inner>{LOCATION})\s*\)|(?P<place>{LOCATION}))(?P<options>.*)$"""


@handles(re.sub(r"\n\s+", "", _COPY), issued_by=f"{_PANDAS}:613, users")
def copy_into(account: Account, call: Call) -> Result:
    """COPY INTO a table from the Parquet, CSV or JSON files of a stage."""
    table, options = call.name("table"), str(call["options"])
    found = account.stages.locate(str(call["inner"] or call["place"]), call.session)
    pattern = re.search(rf"\bPATTERN\s*=\s*({literals.TEXT})", options, re.IGNORECASE | re.DOTALL)
    files = found.files(literals.text(pattern[1]) if pattern else None)
    kind = re.search(r"\bTYPE\s*=\s*'?(\w+)", options, re.IGNORECASE)
    reader = _FORMATS.get(kind[1].upper() if kind else "CSV")
    if reader is None:
        raise literals.unsupported("COPY INTO", call.sql)
    columns = _columns(call, table)
    chosen = [names.unquoted(text) for text in re.findall(names.PART, call["columns"] or "")] or list(columns)
    paths = [str(found.folder / name) for name in files]
    values = _values(call, call["fields"], chosen, columns, reader, paths)
    loaded: list[list[Any]] = []
    for path, name in zip(paths, files, strict=True):
        into = ", ".join(names.quoted(column) for column in chosen)
        source = _source(reader, options)
        [(count,)] = call.session.duck(f"INSERT INTO {table.sql} ({into}) SELECT {values} FROM {source}", [path])
        loaded.append([found.shown + name, "LOADED", count, count, 1, 0, None, None])
        if re.search(r"\bPURGE\s*=\s*TRUE", options, re.IGNORECASE):
            Path(path).unlink()
    if not loaded:
        return rows(["status"], [["Copy executed with 0 files processed."]])
    return rows(_COPIED, loaded, dict.fromkeys(_COPIED[2:6], "fixed"))


def _source(reader: str, options: str) -> str:
    if reader != "read_csv":
        return f"{reader}(?)"
    header = re.search(r"SKIP_HEADER\s*=\s*1|PARSE_HEADER\s*=\s*TRUE", options, re.IGNORECASE)
    return f"read_csv(?, header={'true' if header else 'false'}, all_varchar=true)"


def _columns(call: Call, table: names.Name) -> dict[str, str]:
    """The columns of a table with their types."""
    found = call.session.duck(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND"
        " ((database_name = ? AND schema_name = ?) OR database_name = 'temp') ORDER BY column_index",
        [table.name, table.database, table.schema],
    )
    if not found:
        raise missing("Table", table.dotted)
    return {str(name): str(kind) for name, kind in found}


def _values(
    call: Call, fields: str | None, chosen: list[str], columns: dict[str, str], reader: str, paths: list[str]
) -> str:
    """What is read of a file for each column, as DuckDB has it."""
    if not paths:
        return ""
    described = call.session.duck(f"DESCRIBE SELECT * FROM {_source(reader, str(call['options']))}", [paths[0]])
    there = {str(row[0]): str(row[1]) for row in described}
    if reader == "read_csv":  # by position, as the server does
        wanted = list(there)[: len(chosen)]
    elif fields is None:
        upper = {name.upper(): name for name in there}
        wanted = [upper.get(column.upper(), "") for column in chosen]
    else:
        wanted = [_field(text) for text in split_arguments(fields + ")", 0)[0]]
    if len(wanted) != len(chosen) or unknown_type(columns, chosen):
        raise SqlError(2057, f"SQL compilation error:\nthe columns do not match what is read: {call.sql}", "42601")
    made: list[str] = []
    for column, name in zip(chosen, wanted, strict=True):
        if name not in there:
            made.append("NULL")
        elif columns[column] == "JSON" or "[]" in there[name] or there[name].startswith(("STRUCT", "MAP")):
            made.append(f"to_json({names.quoted(name)})")
        else:
            made.append(f"{names.quoted(name)}::{columns[column]}")
    return ", ".join(made)


def unknown_type(columns: dict[str, str], chosen: list[str]) -> bool:
    """Whether a column is named that the table does not have."""
    return any(column not in columns for column in chosen)


def _field(text: str) -> str:
    match = re.match(r"""\s*\$1:("(?:[^"]|"")*"|'(?:[^']|'')*'|\w+)""", text)
    if not match:
        raise SqlError(
            1003, f"SQL compilation error:\nthe emulator reads only fields such as $1:a, not {text}", "42000"
        )
    name = match[1]
    return name[1:-1].replace(name[0] * 2, name[0]) if name[0] in "\"'" else name
