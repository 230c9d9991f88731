"""`Connection`: the way to the account.

Sessions are made when they are first needed, one for a thread, and made anew when they have expired; what went wrong on
the way is tried again where that can do no harm.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from soaptune.common.lazy import optional
from soaptune.errors import BackendError, SoaptuneError
from soaptune.snowflake.login import Login
from soaptune.snowflake.names import fold, quote

__all__ = ["NOT_FOUND", "Connection", "error_number", "is_lost", "is_transient", "wrap_error"]

T = TypeVar("T")

NOT_FOUND = frozenset({2003, 2043})
"""Snowflake's numbers for an object that does not exist, or that the role may not see."""

_LOST = frozenset({390110, 390111, 390112, 390113, 390114, 390115, 390195, 250002, 252007})
"""A session that has expired, is gone or was closed: the statement was refused, not run."""

_TRANSIENT = frozenset({250001, 250003, 250005, 251004, 251011, 253002, 253003, 290408, 290410, 290429})
"""The network or the service failed for the moment; whether a statement was run is not known."""

_TRANSIENT_TYPES = frozenset({"ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "TooManyRequests"})

_LOCAL = (FileNotFoundError, PermissionError)
"""What fails on this machine, and will again."""

_TRIES = 4

_HINTS = {
    2003: "It does not exist, or the role may not see it: check the name, and what backend.setup_sql(role=...) grants.",
    3001: "The role lacks a privilege: backend.setup_sql(role=...) prints the grants that soaptune needs.",
    90105: "There is no such database or schema for this role: see backend.setup_sql(role=...).",
    606: "The session has no warehouse: pass warehouse=... to SnowflakeBackend.",
    250001: "The account cannot be reached, or the login was refused: check the account's name and the network.",
    251001: "The connection names no account: pass connection_name=, or connection_parameters= with 'account'.",
}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def error_number(error: BaseException) -> int | None:
    """Snowflake's number for an error, also when ours stands in front of it; None for an error of another origin.

    Args:
        error: An error of soaptune, Snowpark or the connector.
    """
    for link in _chain(error):
        for attribute in ("sql_error_code", "errno"):
            value: Any = getattr(link, attribute, None)
            if isinstance(value, int) and value > 0 and not isinstance(link, OSError):
                return value
    return None


def is_lost(error: BaseException) -> bool:
    """Whether the session is at fault: it has expired or was closed. Nothing was run then.

    Args:
        error: What was raised.
    """
    for link in _chain(error):
        if getattr(link, "error_code", None) in ("1402", "1404"):  # Snowpark's: expired, closed
            return True
    return error_number(error) in _LOST


def is_transient(error: BaseException) -> bool:
    """Whether the network or the service failed for the moment, so that trying again may help.

    Args:
        error: What was raised.
    """
    number = error_number(error) or 0
    if number in _TRANSIENT or 290500 <= number < 290600:  # 290000 and the HTTP status
        return True
    return any(
        type(link).__name__ in _TRANSIENT_TYPES or (isinstance(link, OSError) and not isinstance(link, _LOCAL))
        for link in _chain(error)
        if not isinstance(link, SoaptuneError)
    )


class Connection:
    """The way to the account; cheap to make, connects when it is first used.

    Copies and pickles know how to connect, but take no session along; and of `connection_parameters` no pickle holds a
    secret, see `soaptune.snowflake.login.Login`.
    """

    def __init__(
        self,
        *,
        connection_name: str | None = None,
        connection_parameters: Mapping[str, Any] | None = None,
        session: Any = None,
        warehouse: str | None = None,
        role: str | None = None,
        database: str | None = None,
        schema: str | None = None,
        query_tag: str | None = None,
    ) -> None:
        """Says how to connect.

        Args:
            connection_name: A section of ``connections.toml``.
            connection_parameters: What Snowpark's ``Session.builder.configs`` takes.
            session: A session of the caller's, used in all threads.
            warehouse: The warehouse to use, as a person writes it; the connection's own when None.
            role: The role to use, likewise.
            database: The exact name of the database that sessions of our own work in.
            schema: The exact name of the schema.
            query_tag: What marks our statements in the query history.
        """
        self._name = connection_name
        self._login = None if connection_parameters is None else Login(connection_parameters)
        self._given = session
        self._warehouse = warehouse
        self._role = role
        self._home = (database, schema)
        self._tag = query_tag
        self._forget()

    def session(self) -> Any:
        """A live Snowpark session for this thread.

        Returns:
            The ``snowflake.snowpark.Session``.

        Raises:
            BackendError: The account cannot be reached, or the login was refused.
            MissingExtraError: Snowflake's packages are not installed.
        """
        mine: Any = getattr(self._local, "session", None)
        if mine is not None and _is_open(mine):
            return mine
        with self._connecting():
            mine = self._adopt() or self._make()
        self._local.session = mine
        with self._lock:
            self._owners = [(thread, one) for thread, one in self._owners if one is not mine]
            self._owners.append((threading.current_thread(), mine))
        return mine

    @contextlib.contextmanager
    def bare(self) -> Generator[Any, None, None]:
        """A session that has not taken on the role and the warehouse asked for: to look at what is wrong with them.

        Yields:
            The session; one that was made for this is closed again.

        Raises:
            BackendError: The account cannot be reached, or the login was refused.
        """
        with self._connecting():
            session, own = self._open()
        try:
            yield session
        finally:
            if own:
                session.close()

    def call(self, what: str, function: Callable[[Any], T], *, idempotent: bool = True) -> T:
        """Does something with a session; a lost session is replaced, a fault of the moment tried again.

        Args:
            what: What is done, for the error's message (``"listing the stage"``).
            function: Takes the session.
            idempotent: Whether doing it twice is the same as doing it once. What is not is only tried again when it
                was certainly not done.

        Returns:
            What the function gives.

        Raises:
            BackendError: It did not work; the cause is the library's own error, whose number `error_number` gives.
        """
        import stamina

        def again(error: Exception) -> bool:
            if is_lost(error):
                return self.drop()
            return idempotent and is_transient(error)

        try:
            for attempt in stamina.retry_context(
                on=again, attempts=_TRIES, timeout=120.0, wait_initial=0.2, wait_max=8.0, wait_jitter=0.3
            ):
                with attempt:
                    return function(self.session())
        except SoaptuneError:
            raise
        except Exception as error:
            raise wrap_error(what, error) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def rows(self, what: str, sql: str, *binds: Any, idempotent: bool = True) -> list[Any]:
        """Runs one statement.

        Args:
            what: What it does, for the error's message.
            sql: The statement; ``?`` stands for a bound value.
            *binds: The values.
            idempotent: Whether it may be run again; see `call`.

        Returns:
            Its rows.

        Raises:
            BackendError: It did not work.
        """
        return self.call(what, lambda s: s.sql(sql, params=list(binds) or None).collect(), idempotent=idempotent)

    @cached_property
    def account(self) -> tuple[str, str]:
        """The names of the organization and the account, in small letters.

        Raises:
            BackendError: The account cannot be reached.
        """
        sql = "SELECT CURRENT_ORGANIZATION_NAME(), CURRENT_ACCOUNT_NAME()"
        ((organization, account),) = self.rows("asking for the account's name", sql)
        return str(organization).lower(), str(account).lower()

    def close(self) -> None:
        """Closes the sessions that were made here; the caller's own and the shared default stay open."""
        with self._lock:
            made, self._owners = self._owners, []
        self._local = threading.local()
        if self._given is None and (self._name or self._login is not None):
            for _, session in made:
                with contextlib.suppress(Exception):
                    session.close()

    def __getstate__(self) -> dict[str, Any]:
        left = ("_local", "_lock", "_owners")
        return {**{k: v for k, v in self.__dict__.items() if k not in left}, "_given": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __deepcopy__(self, memo: dict[int, Any]) -> Connection:
        copy = Connection.__new__(Connection)
        copy.__setstate__(self.__getstate__())
        return copy

    def __repr__(self) -> str:
        if self._given is not None:
            return "Connection(session=...)"
        if self._name:
            return f"Connection(connection_name={self._name!r})"
        return "Connection(connection_parameters=...)" if self._login is not None else "Connection()"

    def _forget(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._owners: list[tuple[threading.Thread, Any]] = []

    def drop(self) -> bool:
        """Lets go of this thread's session; gives whether another can be made."""
        mine: Any = getattr(self._local, "session", None)
        self._local.session = None
        with self._lock:
            self._owners = [(thread, one) for thread, one in self._owners if one is not mine]
        if mine is not None:
            with contextlib.suppress(Exception):
                mine.close()
        return self._given is None

    @contextlib.contextmanager
    def _connecting(self) -> Generator[None]:
        try:
            yield
        except SoaptuneError:
            raise
        except Exception as error:
            wrapped = wrap_error("connecting to Snowflake", error)
            if self._login is not None and any(self._login.is_quoted_in(str(one)) for one in _chain(error)):
                raise BackendError(self._login.hidden(str(wrapped))) from None
            raise wrapped from error

    def _adopt(self) -> Any:
        """The session of a thread that has ended, so that their number is that of the threads at work."""
        with self._lock:
            for thread, session in self._owners:
                if not thread.is_alive() and _is_open(session):
                    return session
        return None

    def _make(self) -> Any:
        session, own = self._open()
        try:
            self._prepare(session, own=own)
        except Exception:
            if own:
                session.close()
            raise
        return session

    def _open(self) -> tuple[Any, bool]:
        """A session as it is after the login, and whether it was made here."""
        package = "snowflake-snowpark-python"
        snowpark = optional("snowflake.snowpark", package=package, extra="snowflake", what="SnowflakeBackend")
        builder = snowpark.Session.builder
        if self._given is not None:
            if not _is_open(self._given):
                raise BackendError("the session that was given to SnowflakeBackend is closed: give it a new one")
            return self._given, False
        if self._login is not None:
            return builder.configs(self._tagged(self._login.parameters())).create(), True
        if self._name:
            return builder.configs(self._tagged({"connection_name": self._name})).create(), True
        return _default_session(builder), False

    def _prepare(self, session: Any, *, own: bool) -> None:
        if self._role:
            session.use_role(quote(fold(self._role)))
        if self._warehouse:
            session.use_warehouse(quote(fold(self._warehouse)))
        database, schema = self._home
        if own and database and schema:
            # What is not there yet is the preflight's to tell.
            with contextlib.suppress(Exception):
                session.sql(f"USE SCHEMA {quote(database)}.{quote(schema)}").collect()
        if not own and self._tag and not session.query_tag:  # a tag of the user's own is theirs
            session.query_tag = self._tag

    def _tagged(self, parameters: dict[str, Any]) -> dict[str, Any]:
        of_session: dict[str, Any] = dict(parameters.get("session_parameters") or {})
        if self._tag and "QUERY_TAG" not in {name.upper() for name in of_session}:
            of_session["QUERY_TAG"] = self._tag
        return {**parameters, "session_parameters": of_session} if of_session else parameters


def _default_session(builder: Any) -> Any:
    """The session that is there; else that of the job we are in; else the default of ``connections.toml``."""
    from snowflake.snowpark.exceptions import SnowparkSessionException

    parameters = _inside_a_job()
    if parameters:
        builder = builder.configs(parameters)
    try:
        return builder.getOrCreate()
    except SnowparkSessionException as error:
        if getattr(error, "error_code", "") == "1409":
            message = "there are several active Snowpark sessions: pass the one to use, SnowflakeBackend(session=...)"
            raise BackendError(message) from error
        raise


def _inside_a_job() -> dict[str, Any]:
    """How a program in a container of Snowflake logs in; empty elsewhere."""
    token = Path(os.environ.get("SNOWFLAKE_TOKEN_FILE", "/snowflake/session/token"))
    host, account = os.environ.get("SNOWFLAKE_HOST"), os.environ.get("SNOWFLAKE_ACCOUNT")
    if not (host and account and token.is_file()):
        return {}
    names = ("database", "schema", "warehouse", "port", "protocol")
    more = {name: os.environ.get(f"SNOWFLAKE_{name.upper()}") for name in names}
    # The token is renewed by Snowflake in its file, so it is read anew for every session.
    login = {"host": host, "account": account, "authenticator": "oauth", "token": token.read_text().strip()}
    return {**login, **{name: value for name, value in more.items() if value}}


def _is_open(session: Any) -> bool:
    connection: Any = session.connection
    return not connection.is_closed() and not getattr(connection, "expired", False)


def wrap_error(what: str, error: Exception) -> BackendError:
    """Our error in front of a library's, to be raised ``from`` it.

    Args:
        what: What was done (``"listing the stage"``).
        error: The library's error.
    """
    number = error_number(error)
    message = str(getattr(error, "message", "") or error).strip()
    hint = _HINTS.get(number or 0, "")
    return BackendError(f"{what} failed: {message}" + (f"\nWhat to do: {hint}" if hint else ""))
