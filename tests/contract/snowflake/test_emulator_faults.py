"""Faults on order: the client meets them as it would meet them on a network and a server."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from snowflake.connector.errors import HttpError, ProgrammingError
from snowflake.snowpark import Session

from soaptune.testing.snowflake import emulated_snowflake
from soaptune.testing.snowflake.account import Account


@pytest.fixture(autouse=True)
def table(session: Session) -> None:
    session.sql("create table t (a int)").collect()


def _insert(session: Session) -> None:
    session.sql("insert into t values (1)").collect()


def test_a_connection_lost_before_a_statement_leaves_nothing_done(account: Account, session: Session) -> None:
    account.faults.drop_connection(before="^insert")
    with pytest.raises(HttpError):
        _insert(session)
    assert session.table("t").count() == 0
    assert not any(statement.sql.startswith("insert") for statement in account.statements)
    _insert(session)
    assert session.table("t").count() == 1


def test_a_connection_lost_after_a_statement_leaves_it_done(account: Account, session: Session) -> None:
    account.faults.drop_connection(after="^insert")
    with pytest.raises(HttpError):
        _insert(session)
    assert session.table("t").count() == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_retry_of_the_connector_runs_nothing_twice(account: Account, session: Session, when: str) -> None:
    account.faults.drop_connection(**{when: "^insert"}, recover=True)
    _insert(session)
    assert session.table("t").count() == 1
    assert len([statement for statement in account.statements if statement.sql.startswith("insert")]) == 1


def test_a_fault_needs_one_moment(account: Account) -> None:
    with pytest.raises(ValueError, match="before= or after="):
        account.faults.drop_connection()
    with pytest.raises(ValueError, match="before= or after="):
        account.faults.drop_connection(before="a", after="b")
    with pytest.raises(ValueError, match="counts from 1"):
        account.faults.fail_put(0)


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttled_client_gets_through_in_the_end(account: Account, session: Session, status: int) -> None:
    account.faults.throttle("^insert", times=1, status=status)  # type: ignore[arg-type]
    _insert(session)
    assert session.table("t").count() == 1


def test_an_expired_session_is_renewed_by_the_connector(account: Account, session: Session) -> None:
    tokens = [one.token for one in account.sessions]
    account.faults.expire_session()
    _insert(session)
    assert [one.token for one in account.sessions] != tokens
    assert session.table("t").count() == 1


def test_a_session_that_cannot_be_renewed_needs_a_new_login() -> None:
    with emulated_snowflake() as account:
        session = Session.builder.configs(account.connection_parameters).create()
        session.sql("create table t (a int)").collect()
        account.faults.expire_session(renewable=False)
        for _ in range(2):
            with pytest.raises(ProgrammingError, match="must authenticate again") as caught:
                session.connection.cursor().execute("insert into t values (1)")
            assert caught.value.errno == 390114
        with Session.builder.configs(account.connection_parameters).create() as fresh:
            assert fresh.table("t").count() == 0


def test_the_nth_upload_fails_and_leaves_no_file(account: Account, session: Session, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    session.sql("create stage s").collect()
    account.faults.fail_put(2)
    session.file.put(str(file), "@s/1", auto_compress=False)
    with pytest.raises(OSError, match="the-upload-shall-fail"):
        session.file.put(str(file), "@s/2", auto_compress=False)
    session.file.put_stream(io.BytesIO(b"x"), "@s/3/a", auto_compress=False)
    assert [row["name"] for row in session.sql("list @s").collect()] == ["s/1/a", "s/3/a"]
