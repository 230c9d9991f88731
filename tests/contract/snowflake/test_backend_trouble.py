"""`SnowflakeBackend` when the network, the session or the node fails, and with names that SQL does not like."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from soaptune.errors import BackendError, JobFailed, JobNotFound
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.testing.snowflake import emulated_snowflake

pytestmark = pytest.mark.contract

_HOME: dict[str, Any] = {"compute_pool": "GPU_POOL", "database": "TEST_DB", "schema": "PUBLIC"}


@pytest.fixture
def account() -> Iterator[Any]:
    """An account of the test's own: faults are ordered in it."""
    with emulated_snowflake() as one:
        yield one


@pytest.fixture
def backend(account: Any) -> Iterator[SnowflakeBackend]:
    """A backend on it."""
    one = SnowflakeBackend(
        **_HOME, connection_parameters=account.connection_parameters, env={"SOAPTUNE_MIRROR_SECONDS": "0.3"}
    )
    yield one
    one.close()


def _spec(script: str = "print('once')", **more: Any) -> JobSpec:
    return JobSpec(**{"name": "try", "entrypoint": ("python", "main.py"), "files": {"main.py": script}, **more})


def _submissions(account: Any) -> int:
    return sum("SYSTEM$EXECUTE_ML_JOB" in one.sql for one in account.statements)


def _services(backend: SnowflakeBackend) -> int:
    return len(backend.control.services())


def test_an_answer_that_is_lost_after_the_job_was_sent_does_not_send_it_twice(
    backend: SnowflakeBackend, account: Any
) -> None:
    account.faults.drop_connection(after=r"SYSTEM\$EXECUTE_ML_JOB")

    job = backend.submit(_spec(), key="k")
    job.wait(60)

    assert _services(backend) == 1
    assert list(job.logs()) == ["once"]
    assert backend.submit(_spec(), key="k").id == job.id


def test_a_connection_that_drops_before_the_job_was_sent_is_tried_again(
    backend: SnowflakeBackend, account: Any
) -> None:
    account.faults.drop_connection(before=r"SYSTEM\$EXECUTE_ML_JOB")

    backend.submit(_spec()).wait(60)

    assert _services(backend) == 1


def test_a_file_that_does_not_go_up_is_sent_again(backend: SnowflakeBackend, account: Any) -> None:
    account.faults.fail_put(5)

    job = backend.submit(_spec(), key="k")
    job.wait(60)

    assert _services(backend) == 1


def test_an_expired_session_is_replaced_without_a_word(backend: SnowflakeBackend, account: Any) -> None:
    job = backend.submit(_spec("print('up', flush=True); import time; time.sleep(0.4)"))
    assert next(iter(job.logs(follow=True))) == "up"  # the job has logged in: its session is not the client's
    for renewable in (True, False):
        account.faults.expire_session(renewable=renewable)
        assert job.status in ("pending", "running", "done")

    job.wait(60)


def test_a_throttled_account_is_asked_again(backend: SnowflakeBackend, account: Any) -> None:
    account.faults.throttle(times=2)

    backend.submit(_spec()).wait(60)


def test_logs_that_come_late_are_given_in_full(backend: SnowflakeBackend, account: Any) -> None:
    account.faults.delay_logs(3)
    job = backend.submit(_spec("for n in range(5): print('line', n)"))

    assert list(job.logs(follow=True)) == [f"line {n}" for n in range(5)]


def test_a_log_that_lags_behind_does_not_begin_with_the_installation(backend: SnowflakeBackend, account: Any) -> None:
    account.faults.delay_logs(1.0)
    job = backend.submit(_spec("import time\nprint('line 0', flush=True)\ntime.sleep(600)\n"))

    assert next(iter(job.logs(follow=True))) == "line 0"
    job.cancel()


def test_a_job_that_the_system_kills_has_failed_for_want_of_memory(backend: SnowflakeBackend, account: Any) -> None:
    job = backend.submit(_spec("import time\nprint('up', flush=True)\ntime.sleep(600)\n"))
    assert next(iter(job.logs(follow=True))) == "up"
    account.faults.kill_job()

    with pytest.raises(JobFailed, match="137") as caught:
        job.wait(60)

    assert caught.value.log_tail == ("up",)
    assert "out of memory" in caught.value.hint


def test_a_job_whose_node_is_taken_away_has_failed(backend: SnowflakeBackend, account: Any) -> None:
    account.faults.preempt_node(after=1.0)
    job = backend.submit(_spec("import time; time.sleep(600)"))

    with pytest.raises(JobFailed) as caught:
        job.wait(60)

    assert str(caught.value).count("failed: ") == 1
    assert job.reason


def test_a_crash_between_writing_down_and_sending_is_mended_by_the_same_key(
    backend: SnowflakeBackend, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soaptune.snowflake.jobs import submission

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(submission.Submitter, "_send", kill)
        with pytest.raises(Killed):
            backend.submit(_spec(), key="k")
    (left,) = backend.jobs()
    assert left.status == "pending"

    job = backend.submit(_spec(), key="k")
    job.wait(60)

    assert job.id == left.id
    assert _submissions(account) == 1


def test_two_processes_with_one_key_leave_one_job(
    backend: SnowflakeBackend, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soaptune.snowflake.jobs import submission

    script = "import time; print('up', flush=True); time.sleep(600)"
    first = backend.submit(_spec(script), key="k")
    assert next(iter(first.logs(follow=True))) == "up"  # it has read its files, which are now sent again
    with monkeypatch.context() as patched:  # the other process has looked before the first one sent
        patched.setattr(submission.Submitter, "_was_sent", lambda *_: False)
        second = backend.submit(_spec(script), key="k")

    assert _submissions(account) == 2
    assert _services(backend) == 1
    assert second.status in ("pending", "running")
    assert first.status in ("pending", "running")
    second.cancel()


def test_a_job_that_was_sent_is_not_sent_again_when_its_service_is_gone(
    backend: SnowflakeBackend, account: Any
) -> None:
    job = backend.submit(_spec(), key="k")
    job.wait(60)
    for service in backend.control.services():
        backend.control.drop(service.name.name)
    for note in ("started.json", "ended.json"):  # as of a job whose packages could not be installed
        backend.files.folder(job.id, "state").remove_file(note)

    again = backend.submit(_spec(), key="k")

    assert again.id == job.id
    assert _submissions(account) == 1


def test_a_submission_whose_files_still_go_up_is_not_given_up(
    backend: SnowflakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from soaptune.snowflake.jobs import submission
    from soaptune.snowflake.jobs.records import Record

    monkeypatch.setattr(submission.Submitter, "_send", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backend.submit(_spec(), key="k")
    (left,) = backend.records.all()
    old = Record(left.job, left.spec, left.time - timedelta(hours=1))
    backend.files.folder("jobs").write(f"{old.job}.json", old.to_json())

    assert backend.job(old.job).status == "pending"
    assert backend.cleanup() == []


def test_a_job_whose_files_were_removed_elsewhere_is_not_told_as_failed(
    backend: SnowflakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soaptune.snowflake.jobs.control import Control

    monkeypatch.setattr(Control, "_history", lambda *_: None)  # not every account has one
    sent = backend.submit(_spec())
    job = backend.job(sent.id)
    assert job.url  # it knows its service, and has not seen its end
    sent.wait(60)
    backend.cleanup(jobs=[sent.id])

    with pytest.raises(JobNotFound, match="were removed"):
        _ = job.status


def test_cleanup_leaves_a_job_of_another_version_that_runs(backend: SnowflakeBackend) -> None:
    job = backend.submit(_spec("import time; time.sleep(600)"))
    records = backend.files.folder("jobs")
    known = records.read_text(f"{job.id}.json") or ""
    records.write(f"{job.id}.json", known.replace('"detach"', '"of_tomorrow"'))

    assert backend.cleanup() == []

    records.write(f"{job.id}.json", known)
    job.cancel()


def test_a_job_is_still_known_when_its_service_is_gone(backend: SnowflakeBackend) -> None:
    good, bad = backend.submit(_spec()), backend.submit(_spec("raise SystemExit(4)"))
    good.wait(60)
    with pytest.raises(JobFailed):
        bad.wait(60)
    for service in backend.control.services():
        backend.control.drop(service.name.name)

    again = backend.job(good.id)

    assert again.status == "done"
    assert list(again.logs()) == ["once"]
    assert backend.job(bad.id).reason == "exit status 4"


@pytest.mark.parametrize(
    ("database", "schema", "stage"),
    [
        ('my"table; DROP', '"a.b"""', '"stage ""of"" mine"'),
        ("größe", "схема", "段階"),
        ("order", "select", '"table"'),
    ],
)
def test_names_that_sql_does_not_like_are_quoted(account: Any, database: str, schema: str, stage: str) -> None:
    backend = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database=database,
        schema=schema,
        stage=stage,
        connection_parameters=account.connection_parameters,
    )
    try:
        job = backend.submit(_spec("print('quoted')"), key="k")
        job.wait(60)
        assert list(job.logs()) == ["quoted"]
        assert backend.job(job.id).status == "done"
        assert [one.id for one in backend.jobs()] == [job.id]
        assert backend.cleanup()
        assert backend.files.list() == []
        with pytest.raises(JobNotFound):
            backend.job(job.id)
    finally:
        backend.close()


def test_neither_passwords_nor_tokens_are_in_statements_texts_or_errors(account: Any) -> None:
    wrong = {**account.connection_parameters, "password": "wr0ng-pa55word", "login_timeout": 5}
    backend = SnowflakeBackend(**_HOME, connection_parameters=wrong)

    with pytest.raises(BackendError) as caught:
        backend.session()

    assert "wr0ng-pa55word" not in f"{caught.value} {caught.value.__cause__} {backend!r} {backend.connection!r}"
    assert not [one for one in account.statements if "wr0ng-pa55word" in one.sql]


def test_copies_and_pickles_connect_by_themselves(
    backend: SnowflakeBackend, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = backend.submit(_spec())
    # A pickle holds no password: who opens it has it from the environment.
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", account.connection_parameters["password"])

    for twin in (copy.deepcopy(backend), pickle.loads(pickle.dumps(backend))):
        assert twin.job(job.id).spec == job.spec
        assert twin.session() is not backend.session()
        twin.close()
    job.wait(60)


def test_a_session_of_the_callers_is_used_and_stays_open(account: Any) -> None:
    from snowflake.snowpark import Session

    session = Session.builder.configs(account.connection_parameters).create()
    backend = SnowflakeBackend(**_HOME, session=session)

    assert backend.session() is session
    backend.submit(_spec()).wait(60)
    backend.close()
    assert session.sql("SELECT 1").collect()[0][0] == 1
    session.close()


def test_without_a_way_to_connect_the_active_session_is_used(account: Any) -> None:
    from snowflake.snowpark import Session

    session = Session.builder.configs(account.connection_parameters).create()
    backend = SnowflakeBackend(**_HOME)
    try:
        assert backend.session() is session
        assert session.query_tag == "soaptune"
    finally:
        session.close()
