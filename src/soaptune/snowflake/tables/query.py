"""Tables asked and filled: results as Arrow, texts loaded into a temporary table, and which tables there are."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soaptune.common.arrow import Table, arrow, parquet
from soaptune.errors import DataError
from soaptune.snowflake.names import Name, parse, quote
from soaptune.snowflake.session import Connection

__all__ = ["ALREADY_THERE", "SchemaRef", "loaded", "strings"]

ALREADY_THERE = 2002
"""Snowflake's number of the error that an object is there already."""

_PIECE = 100_000


@dataclass(frozen=True)
class SchemaRef:
    """A schema in which tables are looked for and written.

    Attributes:
        connection: The way to the account.
        database: The exact name of the database.
        schema: The exact name of the schema.
    """

    connection: Connection
    database: str
    schema: str

    def name(self, text: str) -> Name:
        """The full name of what a person wrote; see `soaptune.snowflake.names.parse`."""
        return parse(text, database=self.database, schema=self.schema)

    def at(self, name: Name) -> SchemaRef:
        """The schema that an object is in."""
        return SchemaRef(self.connection, name.database, name.schema)

    def arrow(self, what: str, sql: str) -> Table:
        """The rows of a query as a `pyarrow.Table`.

        Args:
            what: What it does, for the error's message.
            sql: The query.

        Raises:
            BackendError: It failed.
        """
        return self.connection.call(what, lambda session: session.sql(sql).to_arrow())

    def there(self, names: Sequence[str]) -> list[str]:
        """Which of some exact names are tables or views of the schema.

        Raises:
            BackendError: The database cannot be read.
        """
        if not names:
            return []
        marks = ", ".join("?" for _ in names)
        sql = (
            f"SELECT TABLE_NAME FROM {quote(self.database)}.INFORMATION_SCHEMA.TABLES "
            f"WHERE TABLE_SCHEMA = ? AND TABLE_NAME IN ({marks})"
        )
        found = {row[0] for row in self.connection.rows("looking for tables", sql, self.schema, *names)}
        return [name for name in names if name in found]


@contextlib.contextmanager
def loaded(session: Any, place: SchemaRef, table: Table) -> Generator[str, None, None]:
    """A temporary table of texts, gone when the block ends; its columns are ``C0``, ``C1`` and so on.

    Args:
        session: A Snowpark session.
        place: Where it is made.
        table: A `pyarrow.Table` of strings.

    Yields:
        Its name, as SQL.

    Raises:
        DataError: Not all rows arrived.
    """
    name = Name(place.database, place.schema, f"SOAPTUNE_LOAD_{secrets.token_hex(6).upper()}")
    columns = [f"C{number}" for number in range(table.num_columns)]
    session.sql(f"CREATE TEMPORARY TABLE {name.sql} ({', '.join(f'{column} VARCHAR' for column in columns)})").collect()
    try:
        session.sql(f"CREATE TEMPORARY STAGE {name.sql}").collect()
        with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
            for number, start in enumerate(range(0, table.num_rows, _PIECE)):
                file = Path(folder) / f"{number}.parquet"
                parquet().write_table(table.rename_columns(columns).slice(start, _PIECE), file)
                session.file.put(str(file), name.stage, auto_compress=False)
                file.unlink()
        read = ", ".join(f"$1:{column}::VARCHAR" for column in columns)
        # No text stands for NULL: what is null in the file is, and nothing else.
        session.sql(
            f"COPY INTO {name.sql} ({', '.join(columns)}) FROM (SELECT {read} FROM {name.stage}) "
            "FILE_FORMAT = (TYPE = PARQUET NULL_IF = ()) ON_ERROR = ABORT_STATEMENT"
        ).collect()
        ((arrived,),) = session.sql(f"SELECT COUNT(*) FROM {name.sql}").collect()
        if int(arrived) != table.num_rows:
            raise DataError(f"{table.num_rows:,} row(s) were sent to {name.name}, and {int(arrived):,} arrived.")
        yield name.sql
    finally:
        for kind in ("TABLE", "STAGE"):
            with contextlib.suppress(Exception):  # a session that is lost has taken them along
                session.sql(f"DROP {kind} IF EXISTS {name.sql}").collect()


def strings(columns: Mapping[str, Sequence[Any]]) -> Table:
    """A `pyarrow.Table` of strings."""
    pa = arrow()
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
