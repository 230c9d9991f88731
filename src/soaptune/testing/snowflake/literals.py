"""Values in SQL text: what stands in quotes, patterns of LIKE, and times as an answer writes them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake.results import Result, SqlError, records

if TYPE_CHECKING:
    from soaptune.testing.snowflake.sessions import Session

TEXT = r"(?:'(?:[^'\\]|\\.|'')*'|\$\$.*?\$\$)"
"""The pattern of a text in quotes or between dollars; it has no capturing group."""

_TEXT = re.compile(TEXT, re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
_TIMES = {"created_on", "updated_on", "resumed_on", "suspended_on"}


def text(literal: str) -> str:
    """What a text in quotes or between dollars says.

    Raises:
        SqlError: If it is neither.
    """
    literal = literal.strip()
    if not _TEXT.fullmatch(literal):
        raise SqlError(1003, f"SQL compilation error:\nsyntax error: {literal} is not a text in quotes.", "42000")
    if literal.startswith("$$"):
        return literal[2:-2]
    return re.sub(r"\\(.)|''", lambda m: _ESCAPES.get(m[1], m[1]) if m[1] else "'", literal[1:-1], flags=re.DOTALL)


def texts(sql: str) -> list[str]:
    """All texts in quotes or between dollars, in order."""
    return [text(found) for found in _TEXT.findall(sql)]


def pattern(literal: str | None) -> str:
    """What a SHOW looks for: the text after LIKE, or any name if there is none.

    Raises:
        SqlError: If it is not a text.
    """
    return text(literal) if literal else "%"


def like(pattern: str, name: str) -> bool:
    """Whether a name is like a pattern of SHOW: regardless of case, ``%`` for any text and ``_`` for any character."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(part) or re.escape(part.removeprefix("\\") or part) for part in parts)
    return re.fullmatch(expression, name, re.IGNORECASE | re.DOTALL) is not None


def now() -> str:
    """The current second, as an answer's timestamp column has it."""
    return str(int(time.time()))


class Listing(Result):
    """An answer with timestamps: the connector reads them only with a scale."""

    def data(self, session: Session) -> dict[str, Any]:
        """The answer as it goes over the wire."""
        answer = super().data(session)
        for column in answer["rowtype"]:
            if column["type"].startswith("timestamp"):
                column["scale"] = 0
        return answer


def listing(columns: Sequence[str], found: Iterable[Mapping[str, Any]]) -> Result:
    """An answer of SHOW or DESCRIBE: columns named ``..._on`` are timestamps, the rest is text."""
    made = records(columns, found)
    types = {column: "timestamp_ltz" for column in columns if column in _TIMES}
    return Listing(columns=made.columns, rows=made.rows, types=types)


def unsupported(what: str, sql: str) -> SqlError:
    """The error for a form of a statement that the emulator does not know; it quotes the statement."""
    return SqlError(1003, f"SQL compilation error:\nthe emulator knows no such form of {what}: {sql}", "42000")
