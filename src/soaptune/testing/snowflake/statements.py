"""The registry of statements: which function answers which SQL, and who issues it.

A subject module decorates its functions with ``@handles(pattern, issued_by=...)`` and the account collects them with
`handlers_of`. `issued_by` names the file and line of the SDK that sends the statement, or ``"users"`` for plain SQL, so
that a new version of the SDK can be checked against the list.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from soaptune.testing.snowflake import literals, names
from soaptune.testing.snowflake.results import Result, SqlError

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session


@dataclass(frozen=True)
class Statement:
    """One line of the SQL log, exactly as the client sent it.

    Attributes:
        sql: The text.
        binds: The bound values, in order.
        session: The id of the session that sent it.
        time: When it came, in seconds since the epoch.
    """

    sql: str
    binds: tuple[Any, ...]
    session: str
    time: float = field(default_factory=time.time)


@dataclass
class Call:
    """A statement as its handler sees it; it may change `sql` and return None, to hand on other text.

    ``IDENTIFIER(?)`` and ``IDENTIFIER('…')`` are already replaced by the name they stand for, so that a pattern needs
    to know only plain names; `binds` holds what is left.

    Attributes:
        match: The match of the handler's pattern.
        sql: The text.
        binds: The bound values, in order.
        session: The session that sent it.
        query_id: The id of the statement, under which the client asks for its answer.
    """

    match: re.Match[str]
    sql: str
    binds: list[Any]
    session: Session
    query_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    query_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __getitem__(self, group: int | str) -> str | None:
        return self.match[group]

    def pattern(self, group: int | str = 1) -> str:
        """The pattern of a LIKE, which may be missing, or bound.

        Raises:
            SqlError: If the group holds something else.
        """
        found = self.match[group]
        if found is None:
            return "%"
        return str(self.binds[0]) if found == "?" else literals.text(found)

    def name(self, group: int | str = 1) -> names.Name:
        """The full name of the object that a group of the pattern holds.

        Raises:
            SqlError: If the group holds no name, or the session has no schema to complete it with.
        """
        return self.resolve(self.match[group] or "")

    def resolve(self, text: str) -> names.Name:
        """The full name of an object, completed from the session.

        Raises:
            SqlError: If the text is no name, or the session has no schema to complete it with.
        """
        return names.qualified(text, self.session.database, self.session.schema)


Function = Callable[["Account", Call], "Result | None"]
AnyFunction = TypeVar("AnyFunction", bound=Function)


@dataclass(frozen=True)
class Handler:
    """A function that answers the statements a pattern finds.

    Attributes:
        pattern: What it answers; searched in the text without its leading comments.
        function: Answers, or returns None to leave the statement to the next handler.
        issued_by: Who sends such statements: file and line of the SDK, or "users".
    """

    pattern: re.Pattern[str]
    function: Function
    issued_by: str


def handles(pattern: str, *, issued_by: str) -> Callable[[AnyFunction], AnyFunction]:
    """Marks a function of a subject module as the answer to statements; several may be stacked on one function.

    Args:
        pattern: A regular expression, regardless of case, where ``.`` matches line ends too.
        issued_by: File and line of the SDK that sends the statement, or "users".

    Returns:
        The decorator.
    """
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def mark(function: AnyFunction) -> AnyFunction:
        known: list[Handler] = getattr(function, "statement_handlers", [])
        function.__dict__["statement_handlers"] = [Handler(compiled, function, issued_by), *known]
        return function

    return mark


Rewrite = Callable[["Account", "Session", str], str]
AnyRewrite = TypeVar("AnyRewrite", bound=Rewrite)


def rewrites(*, issued_by: str) -> Callable[[AnyRewrite], AnyRewrite]:
    """Marks a function of a subject module that changes the text of statements no handler answers.

    Args:
        issued_by: File and line of the SDK that sends such statements, or "users".

    Returns:
        The decorator.
    """

    def mark(function: AnyRewrite) -> AnyRewrite:
        function.__dict__["rewrites_statements"] = issued_by
        return function

    return mark


def rewrites_of(modules: Sequence[ModuleType]) -> tuple[Rewrite, ...]:
    """The rewriting functions that modules define, in the order they are written."""
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if getattr(value, "__module__", None) == module.__name__ and getattr(value, "rewrites_statements", None)
    )


def handlers_of(modules: Sequence[ModuleType]) -> tuple[Handler, ...]:
    """The handlers that modules define, in the order they are written."""
    found: list[Handler] = []
    for module in modules:
        for value in vars(module).values():
            if getattr(value, "__module__", None) == module.__name__:
                found += getattr(value, "statement_handlers", [])
    return tuple(found)


_QUOTED = r"""'(?:[^'\\]|\\.|'')*'|\$\$.*?\$\$|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/"""
_TOKEN = re.compile(
    _QUOTED
    + r"""
      | (?P<identifier>\bidentifier\s*\(\s*(?:(?P<bound>\?)|'(?P<literal>(?:[^'\\]|\\.|'')*)')\s*\)) | (?P<bind>\?)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def outside_quotes(pattern: str, replacement: Callable[[re.Match[str]], str], sql: str) -> str:
    """Replaces what a pattern finds in SQL, but not inside texts, quoted names and comments.

    Args:
        pattern: A regular expression, regardless of case.
        replacement: Gives the new text for a match.
        sql: The text.

    Returns:
        The new text.
    """
    either = re.compile(rf"{_QUOTED}|(?P<found>{pattern})", re.IGNORECASE | re.DOTALL)
    return either.sub(lambda match: match[0] if match["found"] is None else replacement(match), sql)


_LEADING = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)


def plain(sql: str, binds: Sequence[Any]) -> tuple[str, list[int]]:
    """A statement without leading comments and without ``IDENTIFIER(...)``.

    Args:
        sql: The text as the client sent it.
        binds: Its bound values.

    Returns:
        The text, and the positions of the binds that it still needs.

    Raises:
        SqlError: If it has more placeholders than values.
    """
    kept: list[int] = []
    position = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal position
        if match["identifier"] is None and match["bind"] is None:
            return match[0]
        if match["literal"] is not None:
            return match["literal"].replace("\\'", "'").replace("''", "'")
        if position >= len(binds):
            text = f"SQL compilation error:\nBind variable ? not set: {sql}"
            raise SqlError(2049, text, "42601")
        position += 1
        if match["bound"]:
            return str(binds[position - 1])
        kept.append(position - 1)
        return "?"

    text = _TOKEN.sub(replace, sql)
    leading = _LEADING.match(text)
    return text[leading.end() if leading else 0 :].rstrip().removesuffix(";").rstrip(), kept
