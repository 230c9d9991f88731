"""What a handler answers: rows, a status line, what the connector needs to move files, or an error."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soaptune.testing.snowflake.sessions import Session


class SqlError(Exception):
    """A statement that the server refuses; the client sees a `ProgrammingError` with these three.

    Attributes:
        errno: Snowflake's number, such as 2003 for what does not exist.
        message: The text the client shows.
        sqlstate: The five characters of the SQL standard.
    """

    def __init__(self, errno: int, message: str, sqlstate: str = "42000") -> None:
        super().__init__(errno, message, sqlstate)  # what a pickle makes it from again
        self.errno = errno
        self.message = message
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, Any]:
        """The answer as it goes over the wire."""
        code = f"{self.errno:06d}"
        data = {"errorCode": code, "sqlState": self.sqlstate, "queryId": str(uuid.uuid4())}
        return {"success": False, "code": code, "message": self.message, "data": data, "headers": None}


def missing(kind: str, name: str, sqlstate: str = "02000") -> SqlError:
    """The error for an object that does not exist, in the server's words."""
    text = f"SQL compilation error:\n{kind} '{name}' does not exist or not authorized."
    return SqlError(2003, text, sqlstate)


def exists(kind: str, name: str) -> SqlError:
    """The error for an object that is there already, in the server's words."""
    return SqlError(2002, f"SQL compilation error:\n{kind} '{name}' already exists.", "42710")


@dataclass
class Result:
    """An answer: columns and rows of text, or `payload` for the commands that are not answered by rows.

    Attributes:
        columns: The names of the columns, in order.
        rows: The rows; a cell is text or None.
        types: Snowflake's type by column, where it is not `text`.
        payload: The whole answer of PUT and GET, in place of rows.
        query_id: The id under which the answer is found again.
        statement_type: Snowflake's number of the kind of statement.
    """

    columns: list[str] = field(default_factory=list[str])
    rows: list[list[str | None]] = field(default_factory=list[list["str | None"]])
    types: dict[str, str] = field(default_factory=dict[str, str])
    payload: dict[str, Any] | None = None
    query_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    statement_type: int = 4096

    def data(self, session: Session) -> dict[str, Any]:
        """The answer as it goes over the wire, with where the session stands."""
        if self.payload is not None:
            return {**self.payload, "queryId": self.query_id}
        return {
            "parameters": [],
            "rowtype": [_column(name, self.types.get(name, "text")) for name in self.columns],
            "rowset": self.rows,
            "total": len(self.rows),
            "returned": len(self.rows),
            "queryId": self.query_id,
            "queryResultFormat": "json",
            "statementTypeId": self.statement_type,
            **session.final,
        }


def rows(columns: Sequence[str], values: Iterable[Sequence[Any]], types: Mapping[str, str] | None = None) -> Result:
    """An answer of rows; lists and mappings become JSON text, booleans the words that SHOW prints."""
    made = [[_cell(value) for value in row] for row in values]
    return Result(columns=list(columns), rows=made, types=dict(types or {}))


def records(columns: Sequence[str], values: Iterable[Mapping[str, Any]]) -> Result:
    """An answer of rows that are given as mappings; what a mapping lacks is NULL."""
    return rows(columns, [[value.get(column) for column in columns] for value in values])


def status(message: str = "Statement executed successfully.") -> Result:
    """The answer of a statement that only changes something."""
    return rows(["status"], [[message]])


def payload(content: dict[str, Any]) -> Result:
    """The answer of PUT and GET: what the connector needs to move the files itself."""
    return Result(payload=content)


def _column(name: str, kind: str) -> dict[str, Any]:
    text = kind == "text"
    return {
        "name": name,
        "database": "",
        "schema": "",
        "table": "",
        "type": kind,
        "nullable": True,
        "length": 16777216 if text else None,
        "byteLength": 16777216 if text else None,
        "precision": 38 if kind == "fixed" else None,
        "scale": 0 if kind == "fixed" else None,
        "collation": None,
    }


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
