"""The preflight's queries: rows by column name; what cannot be read differs from what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from soaptune.errors import SoaptuneError, Violation
from soaptune.snowflake.names import Name, quote
from soaptune.snowflake.names import split as split_name

__all__ = ["Reader", "Target", "Unreadable", "finding", "parts_of", "same_name", "truth", "unchecked"]

_NOT_THERE = (2003, 2043)
"""Snowflake's numbers for what does not exist, or is hidden from the role."""

Row = dict[str, Any]


class Unreadable(Exception):
    """A question that the account did not answer.

    Attributes:
        missing: Whether it says that the object does not exist, or that the role may not see it.
        reason: Its answer, in one line.
    """

    def __init__(self, error: Exception) -> None:
        # Snowpark's exceptions hold the server's own words without the statement; others are asked for their text.
        text = str(getattr(error, "raw_message", None) or error).strip() or type(error).__name__
        self.reason = " ".join(text.split())[:300]
        code = getattr(error, "sql_error_code", None) or getattr(error, "errno", None)
        self.missing = code in _NOT_THERE
        super().__init__(self.reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a backend's names mean in the account; all of them exact.

    Attributes:
        role: The session's role.
        pool: The compute pool.
        database: The database; empty for none.
        schema: The schema; empty for none.
        stage: The stage; None without a database.
        warehouse: The warehouse; empty for none.
        integrations: The external access integrations.
        nodes: How many nodes a job runs on.
    """

    role: str
    pool: str
    database: str
    schema: str
    stage: Name | None
    warehouse: str
    integrations: tuple[str, ...]
    nodes: int


class Reader:
    """Asks an account through a Snowpark session."""

    def __init__(self, session: Any) -> None:
        """Takes the session that is asked through.

        Args:
            session: A Snowpark session.
        """
        self._session = session

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Runs a statement.

        Args:
            sql: The statement, its names quoted.
            *values: The bound values.

        Returns:
            The rows, by column name in lower case.

        Raises:
            Unreadable: The account refuses.
        """
        try:
            found = self._session.sql(sql, params=list(values) or None).collect()
        except Exception as error:
            raise Unreadable(error) from error
        return [{str(key).strip('"').lower(): value for key, value in row.as_dict().items()} for row in found]

    def named(self, statement: str, name: str, within: str = "") -> Row | None:
        """Finds one object in what a SHOW statement lists.

        Args:
            statement: The statement up to LIKE, such as ``"SHOW WAREHOUSES"``.
            name: The exact name.
            within: What follows the pattern, such as ``'IN DATABASE "DB"'``.

        Returns:
            Its row, or None when no such object is listed.

        Raises:
            Unreadable: The account refuses.
        """
        # LIKE is blind to case, and `_` in the name matches any character: the row is picked by its exact name.
        listed = self.rows(f"{statement} LIKE ? {within}".rstrip(), name.replace("\\", "\\\\"))
        # Some kinds of object are listed with quotes around a name that needs them.
        return next((row for row in listed if str(row.get("name")) in (name, quote(name))), None)


def parts_of(text: str) -> tuple[str, ...]:
    """The exact parts of a dotted name as the account writes it; the text itself where it is no such name.

    Args:
        text: The name.
    """
    try:
        return tuple(split_name(text))
    except SoaptuneError:
        return (text,)


def same_name(text: str, wanted: Sequence[str]) -> bool:
    """Whether a name in an answer is that of an object, with or without quotes around parts that need them.

    Args:
        text: The name in the answer.
        wanted: The object's exact name.
    """
    return parts_of(text) == tuple(wanted) or text == ".".join(wanted)


def truth(value: Any) -> bool:
    """Reads a flag of a SHOW statement, which is a word in one release and a boolean in another.

    Args:
        value: The cell.
    """
    return str(value).strip().lower() in ("true", "yes", "y", "1", "on")


def finding(
    path: str, code: str, message: str, hint: str = "", *, level: Literal["error", "warning"] = "error"
) -> Violation:
    """A finding about the backend.

    Args:
        path: Which of its arguments, such as ``"compute_pool"``.
        code: The stable word.
        message: What is wrong.
        hint: What mends it.
        level: Whether it stops the run.
    """
    return Violation(path=f"backend.{path}", code=code, message=message, hint=hint, level=level)


def unchecked(path: str, what: str, error: Unreadable, hint: str = "") -> Violation:
    """A warning that says what could not be checked, and why.

    Args:
        path: Which argument of the backend it is about.
        what: What was to be checked.
        error: The account's answer.
        hint: What would make it readable.
    """
    return finding(path, "unchecked", f"{what} could not be checked: {error.reason}", hint, level="warning")
