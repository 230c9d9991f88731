"""Names in SQL: quoted identifiers, dots and spaces inside quotes, and names that are qualified in part."""

from __future__ import annotations

import re
from typing import NamedTuple

from soaptune.testing.snowflake.results import SqlError

PART = r'(?:"(?:[^"]|"")+"|[\w$]+)'
"""The pattern of one identifier, quoted or not."""

NAME = rf"{PART}(?:\s*\.\s*{PART})*"
"""The pattern of a name with any number of qualifiers; it has no capturing group."""

_PART = re.compile(PART)
_NAME = re.compile(NAME)


class Name(NamedTuple):
    """The full name of an object of a schema, as the server stores it: without quotes, in its own case."""

    database: str
    schema: str
    name: str

    @property
    def sql(self) -> str:
        """The name as SQL takes it, every part quoted."""
        return ".".join(quoted(part) for part in self)

    @property
    def dotted(self) -> str:
        """The name with quotes only where they are needed, as the server writes it in messages and answers."""
        return ".".join(written(part) for part in self)


def quoted(part: str) -> str:
    """An identifier in quotes."""
    return '"' + part.replace('"', '""') + '"'


def written(part: str) -> str:
    """An identifier with quotes only if it needs them."""
    return part if re.fullmatch(r"[A-Z_][A-Z0-9_$]*", part) else quoted(part)


def unquoted(part: str) -> str:
    """What an identifier of SQL text names: quoted as it stands, otherwise in upper case."""
    part = part.strip()
    if len(part) > 1 and part.startswith('"') and part.endswith('"'):
        return part[1:-1].replace('""', '"')
    return part.upper()


def parts(text: str) -> tuple[str, ...]:
    """The parts of a name, unquoted.

    Raises:
        SqlError: If the text is not a name.
    """
    text = text.strip()
    if not _NAME.fullmatch(text):
        raise SqlError(1003, f"SQL compilation error:\nsyntax error: '{text}' is not a name.", "42000")
    return tuple(unquoted(part) for part in _PART.findall(text))


def qualified(text: str, database: str | None, schema: str | None) -> Name:
    """The full name of an object of a schema; what is not said is taken from the session.

    Raises:
        SqlError: If the text is not a name of one to three parts, or the session has no database or schema to add.
    """
    found = parts(text)
    missing = 3 - len(found)
    if missing < 0:
        raise SqlError(1003, f"SQL compilation error:\n'{text}' has more than three parts.", "42000")
    if missing and not schema:
        raise SqlError(90106, "Cannot perform operation. This session does not have a current schema.", "22000")
    if missing == 2 and not database:
        raise SqlError(90105, "Cannot perform operation. This session does not have a current database.", "22000")
    defaults = (database or "", schema or "")
    return Name(*(defaults[:missing] + found))
