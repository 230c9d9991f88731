"""The emulated account as a client meets it: logging in, standing somewhere, asking, and being gone without a trace."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import DatabaseError, ProgrammingError
from snowflake.snowpark import Session, functions
from snowflake.snowpark.exceptions import SnowparkSQLException

from soaptune.testing.snowflake import emulated_snowflake
from soaptune.testing.snowflake.account import Account


def _log_in(account: Account, **changed: Any) -> Session:
    return Session.builder.configs({**account.connection_parameters, **changed}).create()


def test_a_session_stands_where_it_logged_in(shared_session: Session) -> None:
    row = shared_session.sql(
        "select current_database(), current_schema(), current_warehouse(), current_role()"
    ).collect()[0]
    assert list(row) == ["TEST_DB", "PUBLIC", "TEST_WH", "TEST_ROLE"]
    assert row["CURRENT_ROLE()"] == "TEST_ROLE"
    assert shared_session.get_current_user() == '"TEST_USER"'


def test_context_functions_also_work_inside_other_expressions(shared_session: Session) -> None:
    row = shared_session.sql("select 'current_role()' as text, lower(current_role()) as role").collect()[0]
    assert row.as_dict() == {"TEXT": "current_role()", "ROLE": "test_role"}


@pytest.mark.parametrize("changed", [{"password": "guessed"}, {"user": "somebody"}])
def test_whoever_does_not_know_the_token_is_turned_away(shared_account: Account, changed: dict[str, str]) -> None:
    with pytest.raises(DatabaseError, match="Incorrect username or password"):
        snowflake.connector.connect(**{**shared_account.connection_parameters, **changed})


def test_a_role_that_is_not_there_cannot_log_in(shared_account: Account) -> None:
    with pytest.raises(DatabaseError, match="Role 'NOBODY'"):
        snowflake.connector.connect(**{**shared_account.connection_parameters, "role": "NOBODY"})


def test_a_session_may_go_elsewhere(session: Session) -> None:
    session.sql('create schema "my schema"').collect()
    assert session.get_current_schema() == '"my schema"'
    session.use_schema("PUBLIC")
    assert session.get_current_schema() == '"PUBLIC"'
    session.sql("create database other").collect()
    assert (session.get_current_database(), session.get_current_schema()) == ('"OTHER"', '"PUBLIC"')
    session.use_database("TEST_DB")
    session.sql("create warehouse second warehouse_size = 'LARGE'").collect()
    assert session.get_current_warehouse() == '"SECOND"'
    session.use_warehouse("TEST_WH")
    session.use_role("SYSADMIN")
    assert session.get_current_role() == '"SYSADMIN"'


@pytest.mark.parametrize("what", ["role nobody", "warehouse nothing", "schema nowhere", "database nowhere"])
def test_one_cannot_go_where_nothing_is(shared_session: Session, what: str) -> None:
    with pytest.raises(SnowparkSQLException, match="does not exist"):
        shared_session.sql(f"use {what}").collect()


def test_a_query_tag_is_kept_in_the_session_that_set_it(shared_account: Account, shared_session: Session) -> None:
    shared_session.query_tag = "it's tagged"
    try:
        [row] = shared_session.sql("show parameters like 'QUERY_TAG' in session").collect()
        assert row["value"] == "it's tagged"
        with _log_in(shared_account) as other:
            assert other.sql("show parameters like 'QUERY_TAG'").collect()[0]["value"] == ""
    finally:
        shared_session.query_tag = None
    assert shared_session.sql("show parameters like 'QUERY_TAG'").collect()[0]["value"] == ""


@pytest.mark.parametrize(
    "sql",
    ["gibberish nonsense 4711", "select no_such_function(4711)", "undrop table the_4711", "select hash('4711')"],
)
def test_a_statement_that_nobody_understands_is_quoted_in_its_error(shared_session: Session, sql: str) -> None:
    with pytest.raises(SnowparkSQLException) as caught:
        shared_session.sql(sql).collect()
    assert sql in str(caught.value)


def test_what_does_not_exist_is_named_in_the_words_of_the_server(shared_session: Session) -> None:
    with pytest.raises(SnowparkSQLException, match="Object 'NOT_HERE' does not exist or not authorized") as caught:
        shared_session.sql("select * from not_here").collect()
    assert caught.value.sql_error_code == 2003


def test_the_log_has_every_statement_as_it_was_sent(account: Account, session: Session) -> None:
    session.sql("select ? as a /* kept */", params=["a secret"]).collect()
    [statement] = [one for one in account.statements if "kept" in one.sql]
    assert statement.sql.strip() == "select ? as a /* kept */"
    assert statement.binds == ("a secret",)
    assert statement.session == account.sessions[0].id
    assert abs(statement.time - time.time()) < 60


def test_a_query_may_run_by_itself_and_be_asked_for_later(shared_session: Session) -> None:
    first = shared_session.sql("select 7 as x").collect_nowait()
    second = shared_session.sql("show warehouses").collect_nowait()
    failing = shared_session.sql("select * from not_here").collect_nowait()
    assert [row.X for row in first.result()] == [7]
    assert first.is_done()
    assert shared_session.create_async_job(first.query_id).result() == first.result()
    assert [row["name"] for row in second.result()] == ["TEST_WH"]
    with pytest.raises(DatabaseError, match="NOT_HERE"):
        failing.result()


def test_answers_of_show_can_be_asked_further(shared_session: Session) -> None:
    found = shared_session.sql("show warehouses").select(functions.col('"name"').alias("N")).filter("N like 'TEST%'")
    assert [row.N for row in found.collect()] == ["TEST_WH"]


def test_two_accounts_in_one_process_share_nothing(account: Account, session: Session) -> None:
    session.sql("create table only_here (a int)").collect()
    session.sql("create stage only_here").collect()
    with emulated_snowflake(password="another") as other, _log_in(other) as stranger:
        assert stranger.sql("show tables").collect() == []
        assert stranger.sql("show stages").collect() == []
        assert not any("only_here" in statement.sql for statement in other.statements)
        with pytest.raises(DatabaseError, match="Incorrect"):
            _log_in(account, password="another")
    assert session.table("only_here").count() == 0


def test_a_statement_is_answered_at_once(shared_session: Session) -> None:
    def seconds() -> float:
        begun = time.monotonic()
        shared_session.connection.cursor().execute("select 1").fetchall()
        return time.monotonic() - begun

    # An answer that waits for the client's delayed acknowledgement takes 40 ms, each time.
    assert min(seconds() for _ in range(20)) < 0.035


def test_an_account_leaves_no_thread_port_or_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def folders() -> set[Path]:
        return set(tmp_path.glob("snowflake-account-*"))

    before, threads = folders(), set(threading.enumerate())
    begun = time.monotonic()
    with emulated_snowflake() as account:
        session = _log_in(account)
        session.sql("create stage s").collect()
        port = account.server.port
        assert folders() - before
    assert time.monotonic() - begun < 10  # half a second on an idle machine
    assert folders() == before
    assert [thread for thread in threading.enumerate() if thread not in threads and "nowflake" in thread.name] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    # The session that the test forgot to close was closed with the account.
    assert session.connection.is_closed()


def test_a_statement_is_described_without_being_run(account: Account, session: Session) -> None:
    cursor = session.connection.cursor()
    assert [column.name for column in cursor.describe("select 1 as a")] == ["A"]
    cursor.describe("create stage not_made")
    assert session.sql("show stages").collect() == []


def test_sessions_of_several_threads_work_at_a_time(shared_account: Account) -> None:
    results: list[int] = []

    def work(number: int) -> None:
        with _log_in(shared_account) as session:
            session.sql(f"create or replace table thread_{number} as select {number} as n").collect()
            results.append(session.table(f"thread_{number}").collect()[0].N)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(6))


def test_one_session_may_be_used_by_several_threads(shared_session: Session) -> None:
    results: list[int] = []

    def work(number: int) -> None:
        results.extend(row.N for row in shared_session.sql(f"select {number} as n").collect())

    threads = [threading.Thread(target=work, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(12))


def test_a_statement_with_too_few_values_is_refused(shared_session: Session) -> None:
    with pytest.raises(ProgrammingError, match="Bind variable"):
        shared_session.connection.cursor().execute("describe stage identifier(?)")
