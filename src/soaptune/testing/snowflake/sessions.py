"""Sessions: who is logged in, with which token, and where each of them stands."""

from __future__ import annotations

import secrets
import threading
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from soaptune.testing.snowflake.names import Name, quoted, unquoted
from soaptune.testing.snowflake.results import SqlError


def quiet() -> None:
    """Keeps DuckDB's advice to fakesnow, given once per statement, away from users that turn warnings into errors."""
    warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


@dataclass
class Session:
    """One login.

    Attributes:
        connection: Fakesnow's connection; its tables, its current database and schema.
        user: Who logged in.
        role: The current role.
        warehouse: The current warehouse, or None.
        id: Names the session in the SQL log.
        token: What the client sends with every request.
        master_token: What it renews an expired token with.
        inner_token: Under which fakesnow knows the connection.
        parameters: What ALTER SESSION SET has set, such as QUERY_TAG.
        temporary: The tables that go with the session.
        expired: Whether the token is refused until it is renewed.
        lost: Whether not even the master token is accepted any longer.
        of_job: Whether a process of a job has logged in, with the token of its container.
        lock: Held while fakesnow runs a statement: its connection is not safe for two at a time.
    """

    connection: Any
    user: str
    role: str
    warehouse: str | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    token: str = field(default_factory=new_token, repr=False)
    master_token: str = field(default_factory=new_token, repr=False)
    inner_token: str = field(default_factory=new_token, repr=False)
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    temporary: list[Name] = field(default_factory=list[Name])
    expired: bool = False
    lost: bool = False
    of_job: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def run(self, sql: str, binds: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs Snowflake's SQL on the tables, as this session; for handlers, which run in threads of their own.

        Args:
            sql: One statement.
            binds: The values of its placeholders.

        Returns:
            The names of the columns, and the rows.

        Raises:
            SqlError: If fakesnow refuses it.
        """
        from snowflake.connector.errors import Error

        with self.lock:
            quiet()
            cursor = self.connection.cursor()
            try:
                cursor.execute(sql, binding_params=tuple(binds) or None, server=True)
                return [column.name for column in cursor.description], cursor.fetchall()
            except Error as error:
                raise SqlError(error.errno or 1003, error.msg or str(error), error.sqlstate or "42000") from error

    def duck(self, sql: str, binds: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Runs DuckDB's SQL on the tables, as this session; for what fakesnow has no words for.

        Args:
            sql: One statement.
            binds: The values of its placeholders.

        Returns:
            The rows.

        Raises:
            SqlError: If DuckDB refuses it.
        """
        import duckdb

        with self.lock:
            try:
                return self.connection.cursor()._duck_conn.execute(sql, list(binds)).fetchall()
            except duckdb.Error as error:
                raise SqlError(1003, f"SQL compilation error:\n{error}") from error

    def register(self, name: str, table: Any) -> None:
        """Lets statements of this session see a table of Arrow under a name."""
        with self.lock:
            self.connection.cursor()._duck_conn.register(name, table)

    def close(self) -> None:
        """Drops what goes with the session, and its connection."""
        for name in self.temporary:
            self.duck(f"DROP TABLE IF EXISTS {name.sql}")
        self.connection.close()

    def enter(self, database: str | None, schema: str | None) -> None:
        """Goes where a login wants to be, as far as that is there; a database brings its schema PUBLIC along."""
        if not database:
            return
        wanted, inner = unquoted(database), unquoted(schema) if schema else "PUBLIC"
        known = self.schemas(wanted)
        if known:
            self.stand(wanted, inner if inner in known else None)

    def schemas(self, database: str) -> list[str]:
        """The names of the schemas of a database; none if there is no such database."""
        found = self.duck("SELECT schema_name FROM information_schema.schemata WHERE catalog_name = ?", [database])
        return [str(name) for (name,) in found]

    def stand(self, database: str, schema: str | None) -> None:
        """Makes a database and a schema the current ones."""
        where = ".".join(quoted(part) for part in (database, schema or "main"))
        self.duck(f"SET schema = '{where.replace(chr(39), chr(39) * 2)}'")
        self.connection.database, self.connection.database_set = database, True
        self.connection._schema, self.connection.schema_set = schema, schema is not None

    def leave(self) -> None:
        """Stands nowhere: the current database is about to go."""
        self.duck("SET schema = '_fs_global.main'")
        self.connection.database_set = self.connection.schema_set = False

    @property
    def number(self) -> int:
        """The id as a number, as CURRENT_SESSION() tells it."""
        return int(self.id[:12], 16)

    @property
    def database(self) -> str | None:
        """The current database."""
        return self.connection.database if self.connection.database_set else None

    @property
    def schema(self) -> str | None:
        """The current schema."""
        return self.connection.schema if self.connection.schema_set else None

    @property
    def final(self) -> dict[str, str | None]:
        """Where the session stands, as every answer tells the client."""
        return {
            "finalDatabaseName": self.database,
            "finalSchemaName": self.schema,
            "finalWarehouseName": self.warehouse,
            "finalRoleName": self.role,
        }
