from __future__ import annotations

from typing import Any

import pytest
from snowflake.connector.errors import OperationalError, ProgrammingError
from snowflake.snowpark.exceptions import SnowparkSessionException, SnowparkSQLException

from soaptune.errors import BackendError
from soaptune.snowflake.session import Connection, error_number, is_lost, is_transient, wrap_error


def test_the_number_is_found_behind_our_own_error() -> None:
    missing = SnowparkSQLException("no such table", sql_error_code=2003)

    with pytest.raises(BackendError, match="setup_sql") as caught:
        raise wrap_error("reading", missing) from missing

    assert error_number(caught.value) == 2003


@pytest.mark.parametrize("number", [390112, 390114, 390111, 250002])
def test_an_expired_or_closed_session_is_lost(number: int) -> None:
    assert is_lost(ProgrammingError("x", errno=number))


@pytest.mark.parametrize("code", ["1402", "1404"])
def test_snowparks_own_word_for_it_is_known_too(code: str) -> None:
    assert is_lost(SnowparkSessionException("x", error_code=code))


def test_a_network_fault_is_transient_and_a_refused_statement_is_not() -> None:
    assert is_transient(OperationalError("x", errno=250003))
    assert is_transient(ConnectionResetError("x"))
    assert not is_transient(SnowparkSQLException("syntax error", sql_error_code=1003))
    assert not is_lost(SnowparkSQLException("syntax error", sql_error_code=1003))


class _Session:
    """A session that can be used until it is told to be closed."""

    def __init__(self) -> None:
        self.connection = self
        self.closed = False
        self.expired = False
        self.query_tag = "mine"

    def is_closed(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def test_what_may_be_done_twice_is_tried_again_after_a_fault_of_the_moment() -> None:
    calls: list[Any] = []

    def flaky(session: Any) -> str:
        calls.append(session)
        if len(calls) < 3:
            raise OperationalError("network", errno=250003)
        return "done"

    assert Connection(session=_Session()).call("asking", flaky) == "done"
    assert len(calls) == 3


def test_what_may_not_be_done_twice_is_not_tried_again() -> None:
    calls: list[Any] = []

    def flaky(session: Any) -> str:
        calls.append(session)
        raise OperationalError("network", errno=250003)

    with pytest.raises(BackendError, match="sending failed"):
        Connection(session=_Session()).call("sending", flaky, idempotent=False)
    assert len(calls) == 1


def test_a_session_of_the_callers_that_is_closed_is_told_as_such() -> None:
    session = _Session()
    session.close()

    with pytest.raises(BackendError, match="give it a new one"):
        Connection(session=session).session()


def test_the_callers_tag_stays_theirs() -> None:
    session = _Session()
    Connection(session=session, query_tag="soaptune").session()

    assert session.query_tag == "mine"
