"""Names of Snowflake's objects: read as its SQL reads them, written so that no name can become a statement.

There are two kinds of text. What a person writes (``llm_demo``, ``"My Schema"``) follows the rules of SQL: a plain word
means its capitals unless it stands in double quotes. What Snowflake stores is the *exact* name. `fold` and `parse` turn
the first into the second, `quote` and `Name.sql` turn the second into SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from soaptune.errors import ConfigError

__all__ = ["Name", "fold", "literal", "parse", "quote", "split", "table_prefix"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_QUOTED = re.compile(r'"(?:[^"]|"")+"')
_LONGEST = 255


def quote(name: str) -> str:
    """Writes an exact name as SQL.

    Args:
        name: The name as Snowflake stores it.

    Returns:
        The name in double quotes, its own quotes doubled.

    Raises:
        ConfigError: No object can have that name: it is empty, too long or has a NUL character.
    """
    if not name or "\0" in name or len(name) > _LONGEST:
        raise ConfigError(f"{name[:40]!r} cannot be a name in Snowflake: 1 to {_LONGEST} characters, none of them NUL")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Writes a text as an SQL literal, for the few statements that take neither a bound value nor an identifier.

    Args:
        text: The text.
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def fold(text: str) -> str:
    """The exact name that a person means.

    Args:
        text: One name as a person writes it: ``llm_demo`` means ``LLM_DEMO``, ``"llm_demo"`` in double quotes means
            itself, and so does whatever SQL could not read without quotes (``my table``).

    Returns:
        The name as Snowflake stores it.

    Raises:
        ConfigError: No object can have that name.
    """
    if _PLAIN.fullmatch(text):
        name = text.upper()
    elif _QUOTED.fullmatch(text):
        name = text[1:-1].replace('""', '"')
    else:
        name = text
    quote(name)
    return name


def split(text: str) -> list[str]:
    """The exact names in a dotted one; dots inside double quotes belong to the name.

    Args:
        text: One to three names with dots between them, as a person writes them.

    Returns:
        The names as Snowflake stores them.

    Raises:
        ConfigError: A part is missing, or quotes do not match.
    """
    parts: list[str] = []
    rest = text.strip()
    while True:
        if rest.startswith('"'):
            match = _QUOTED.match(rest)
            if match is None or rest[match.end() : match.end() + 1] not in ("", "."):
                raise ConfigError(f"{text!r} is not a name in Snowflake: the double quotes do not match")
            part, rest = match.group(), rest[match.end() :]
        else:
            part, dot, after = rest.partition(".")
            rest = dot + after
        if not part:
            raise ConfigError(f"{text!r} is not a name in Snowflake: a part of it is empty")
        parts.append(fold(part))
        if not rest:
            return parts
        rest = rest[1:]


@dataclass(frozen=True, order=True)
class Name:
    """The full name of an object in a schema; all parts exact.

    Attributes:
        database: The database.
        schema: The schema.
        name: The object.
    """

    database: str
    schema: str
    name: str

    @property
    def sql(self) -> str:
        """The name as SQL, every part in double quotes."""
        return ".".join(quote(part) for part in (self.database, self.schema, self.name))

    @property
    def stage(self) -> str:
        """The name as the location of a stage: ``@"DB"."SCHEMA"."STAGE"``."""
        return f"@{self.sql}"

    def beside(self, name: str) -> Name:
        """Another object of the same schema.

        Args:
            name: Its exact name.
        """
        return Name(self.database, self.schema, name)

    def __str__(self) -> str:
        return self.sql


def parse(text: str, *, database: str = "", schema: str = "") -> Name:
    """Reads the name of an object in a schema.

    Args:
        text: ``NAME``, ``SCHEMA.NAME`` or ``DATABASE.SCHEMA.NAME``, as a person writes it.
        database: The exact name of the database where the text names none.
        schema: The exact name of the schema where the text names none.

    Returns:
        The full name.

    Raises:
        ConfigError: The text is not such a name, or has fewer parts than are needed.
    """
    parts = split(text)
    if len(parts) > 3:
        raise ConfigError(f"{text!r} has {len(parts)} parts; DATABASE.SCHEMA.NAME has three")
    full = [database, schema, ""][: 3 - len(parts)] + parts
    if not all(full):
        raise ConfigError(f"{text!r} does not say in which database and schema: write DATABASE.SCHEMA.NAME")
    return Name(*full)


def table_prefix(text: str) -> str:
    """A name of any kind as the names of tables begin: capitals, digits and underscores."""
    return re.sub(r"[^A-Z0-9_]", "_", text.upper())
