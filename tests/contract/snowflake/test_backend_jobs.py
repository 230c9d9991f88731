"""`SnowflakeBackend` and its jobs through the real SDK, against the emulated account."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from soaptune.errors import BackendError, ConfigError, JobCancelled, JobFailed, JobNotFound, JobTimeout
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.jobs.job import SnowflakeJob
from soaptune.testing.snowflake import emulated_snowflake
from tests.contract.keeping import keeping

pytestmark = pytest.mark.contract

_HOME: dict[str, Any] = {"compute_pool": "GPU_POOL", "database": "TEST_DB", "schema": "PUBLIC"}


@pytest.fixture(scope="module")
def account() -> Iterator[Any]:
    """One account for the tests that leave it as it is."""
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


def _spec(script: str, **more: Any) -> JobSpec:
    return JobSpec(**{"name": "try", "entrypoint": ("python", "main.py"), "files": {"main.py": script}, **more})


def _job(backend: SnowflakeBackend, spec: JobSpec, **more: Any) -> SnowflakeJob:
    job = backend.submit(spec, **more)
    assert isinstance(job, SnowflakeJob)
    return job


def test_a_job_prints_and_writes_as_on_this_machine(backend: SnowflakeBackend) -> None:
    script = (
        "import json, os, pathlib\n"
        "print('in', pathlib.Path().resolve().name)\n"
        "with open('../output/progress.jsonl', 'a') as file:\n"
        "    for n in (1, 2): file.write(json.dumps({'done': n, 'total': 2}) + chr(10))\n"
        "pathlib.Path('../output/a').mkdir()\n"
        "pathlib.Path('../output/a/b.txt').write_text('é' + os.environ['ANIMAL'])\n"
    )
    job = _job(backend, _spec(script, env={"ANIMAL": "owl"}))

    lines = list(job.logs(follow=True))
    job.wait(60)

    assert lines == ["in app"]
    assert list(job.logs()) == lines
    assert job.status == "done"
    assert job.reason == ""
    assert job.output.read_text("a/b.txt") == "éowl"
    assert job.progress() == {"done": 2, "total": 2}
    assert [event.kind for event in job.events()] == ["state", "state", "progress", "progress", "state"]
    assert [e.data["state"] for e in job.events() if e.kind == "state"] == ["pending", "running", "done"]
    assert job.url.startswith("https://app.snowflake.com/")


def test_a_job_is_found_again_from_elsewhere_by_every_name_it_has(backend: SnowflakeBackend, account: Any) -> None:
    job = _job(backend, _spec("print('once')"))
    job.wait(60)
    other = SnowflakeBackend(**_HOME, connection_parameters=account.connection_parameters)
    assert job.service is not None

    try:
        for name in (job.id, job.id.lower(), f"snowflake:{job.id}", f"TEST_DB.PUBLIC.{job.id}", job.service):
            found = other.job(name)
            assert found.id == job.id
            assert found.spec == job.spec
        assert list(found.logs()) == ["once"]
        assert job.id in [one.id for one in other.jobs()]
    finally:
        other.close()


def test_a_job_that_is_not_there_is_told_with_near_names(backend: SnowflakeBackend) -> None:
    job = _job(backend, _spec("pass", name="nearby"))
    job.wait(60)

    with pytest.raises(JobNotFound, match=job.id):
        backend.job(job.id[:-1] + "X")
    with pytest.raises(JobNotFound, match="TEST_DB"):
        backend.job(f"OTHER_DB.PUBLIC.{job.id}")


def test_a_job_that_fails_says_why_with_the_end_of_its_log_and_a_hint(backend: SnowflakeBackend) -> None:
    script = "print('working')\nraise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')\n"
    job = _job(backend, _spec(script))

    with pytest.raises(JobFailed, match="exit status 1") as caught:
        job.wait(60)

    assert job.status == "failed"
    assert caught.value.log_tail[0] == "working"
    assert "CUDA out of memory" in caught.value.log_tail[-1]
    assert "per_device_batch_size" in caught.value.hint
    assert job.events()[-1].data["reason"] == "exit status 1"


def test_a_program_that_ends_itself_with_a_status_has_failed(backend: SnowflakeBackend) -> None:
    job = _job(backend, _spec("import sys; sys.exit(3)"))

    with pytest.raises(JobFailed, match="exit status 3"):
        job.wait(60)


def test_a_job_is_cancelled_with_what_it_runs(backend: SnowflakeBackend) -> None:
    job = _job(backend, _spec("import time\nprint('up', flush=True)\ntime.sleep(600)\n"))
    assert next(iter(job.logs(follow=True))) == "up"
    with pytest.raises(JobTimeout):
        job.wait(0.1)

    job.cancel()

    with pytest.raises(JobCancelled):
        job.wait(60)
    assert job.status == "cancelled"
    job.cancel()  # again: nothing happens


def test_a_log_is_followed_line_by_line_without_doubles(backend: SnowflakeBackend) -> None:
    script = "import time\nfor n in range(40):\n    print(f'line {n}', flush=True)\n    time.sleep(0.1)\n"
    job = _job(backend, _spec(script))
    times: list[float] = []
    lines: list[str] = []
    for line in job.logs(follow=True):
        lines.append(line)
        times.append(time.monotonic())

    assert lines == [f"line {n}" for n in range(40)]
    assert times[-1] - times[0] > 1.0  # they came while the job ran


def test_the_same_key_twice_is_one_job(backend: SnowflakeBackend, account: Any) -> None:
    spec = _spec("print('once')", name="keyed")
    first = backend.submit(spec, key="one submission")
    before = _submissions(account)

    second = backend.submit(spec, key="one submission")

    assert second.id == first.id
    assert _submissions(account) == before
    with pytest.raises(BackendError, match="another one"):
        backend.submit(_spec("print('other')", name="keyed"), key="one submission")
    with pytest.raises(BackendError, match="another one"):
        backend.submit(_spec("print('once')", name="renamed"), key="one submission")


def test_a_key_whose_job_failed_is_tried_again_on_purpose_and_the_first_try_stays(
    backend: SnowflakeBackend, tmp_path: Any
) -> None:
    spec = _spec(f"import pathlib; raise SystemExit(0 if pathlib.Path({str(tmp_path / 'mended')!r}).exists() else 3)")
    with pytest.raises(ConfigError, match="key="):
        backend.submit(spec, retry=True)
    first = backend.submit(spec, key="tried", retry=True)
    with pytest.raises(JobFailed, match="exit status 3"):
        first.wait(60)
    assert backend.submit(spec, key="tried").id == first.id
    (tmp_path / "mended").touch()

    second = backend.submit(spec, key="tried", retry=True)
    second.wait(60)

    assert second.id != first.id
    assert backend.submit(spec, key="tried", retry=True).id == second.id, "one that is done is not tried again"
    found = backend.find("tried")
    assert found is not None
    assert found.id == second.id
    assert [job.id for job in backend.jobs() if job.id in (first.id, second.id)] == [second.id, first.id]
    assert backend.job(first.id).reason == "exit status 3"
    record = backend.records.read(second.id)
    assert record is not None
    assert record.earlier == (first.id,)


def test_a_job_that_leaves_no_manifest_has_failed(backend: SnowflakeBackend) -> None:
    job = backend.submit(_spec("print('well')", kind="data"))
    with pytest.raises(JobFailed, match=r"no manifest\.json"):
        job.wait(60)
    assert job.status == "failed"
    assert "no manifest.json" in backend.job(job.id).reason


def test_threads_with_one_key_make_one_job(backend: SnowflakeBackend, account: Any) -> None:
    before, ids = _submissions(account), list[str]()
    spec = _spec("pass", name="threads")
    threads = [threading.Thread(target=lambda: ids.append(backend.submit(spec, key="all").id)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert _submissions(account) == before + 1


def test_inputs_are_local_folders_or_folders_on_a_stage(backend: SnowflakeBackend, tmp_path: Any) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/rows [1].txt").write_text("42")
    script = (
        "import pathlib, sys\n"
        "text = pathlib.Path('../inputs/data/deep/rows [1].txt').read_text()\n"
        "print('read', text)\n"
        "pathlib.Path('../output/deep').mkdir()\n"
        "pathlib.Path('../output/deep/rows [1].txt').write_text(text + '!')\n"
    )
    first = _job(backend, _spec(script, inputs={"data": str(tmp_path)}))
    first.wait(60)

    second = _job(backend, _spec(script, inputs={"data": first.output.place}))
    second.wait(60)

    assert list(second.logs()) == ["read 42!"]


def test_the_users_code_is_imported_in_the_job_and_soaptune_is_the_one_sent(
    backend: SnowflakeBackend, tmp_path: Any
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("WORD = 'mine'\n")
    script = "import mine, soaptune, pathlib\nprint(mine.WORD, pathlib.Path(soaptune.__file__).parent.parent.name)\n"

    job = _job(backend, _spec(script, code_paths=(str(tmp_path),)))
    job.wait(60)

    assert list(job.logs()) == ["mine app"]


def test_a_secret_reaches_the_job_and_nothing_else(backend: SnowflakeBackend, account: Any) -> None:
    backend.session().sql(
        "CREATE OR REPLACE SECRET HUB TYPE = GENERIC_STRING SECRET_STRING = ?", ["hf_s3cr3t"]
    ).collect()
    at = len(account.statements)
    script = "import os\nprint(len(os.environ['HF_TOKEN']), os.environ['HF_TOKEN'].startswith('hf_'))\n"

    job = _job(backend, _spec(script, secrets={"HF_TOKEN": "HUB"}))
    job.wait(60)

    assert list(job.logs()) == ["9 True"]
    sent = [f"{one.sql} {one.binds}" for one in account.statements[at:]]
    assert not [text for text in sent if "hf_s3cr3t" in text]
    stage = [job.stage.read_text(file.path) or "" for file in job.stage.list() if file.path.endswith((".json", ".txt"))]
    assert not [text for text in stage if "hf_s3cr3t" in text]


def test_what_the_library_leaves_is_removed_and_nothing_else(account: Any) -> None:
    parameters = account.connection_parameters
    backend = SnowflakeBackend(**_HOME, stage="CLEANED", connection_parameters=parameters)
    done = _job(backend, _spec("open('../output/x', 'w').write('y')"))
    done.wait(60)
    running = _job(backend, _spec("import time; time.sleep(600)"))
    backend.files.folder("mine").write("kept.txt", "the user's own")
    assert backend.cleanup(older_than=3600, dry_run=True) == []
    backend.session().sql("CREATE TABLE SOAPTUNE_TMP_ROWS (A INT)").collect()
    backend.session().sql("CREATE TABLE SOAPTUNEXTMPX_ROWS (A INT)").collect()

    try:
        planned = backend.cleanup(dry_run=True)
        assert backend.cleanup() == planned
        assert planned == [
            f"service {done.service}",
            f"files {done.stage.location}/",
            'table "TEST_DB"."PUBLIC"."SOAPTUNE_TMP_ROWS"',
        ]
        assert [job.id for job in backend.jobs()] == [running.id]
        assert backend.files.folder("mine").read_text("kept.txt") == "the user's own"
        with pytest.raises(BackendError, match="cancel"):
            backend.cleanup(jobs=[running.id])
        running.cancel()
        assert backend.cleanup(jobs=[running.id])
        assert [file.path for file in backend.files.list()] == ["mine/kept.txt"]
        tables = [row["name"] for row in backend.session().sql("SHOW TABLES IN SCHEMA PUBLIC").collect()]
        assert "SOAPTUNEXTMPX_ROWS" in tables
    finally:
        backend.close()


def _submissions(account: Any) -> int:
    return sum("SYSTEM$EXECUTE_ML_JOB" in one.sql for one in account.statements)


def test_a_kept_folder_outlives_its_jobs_and_is_found_by_name_and_key(backend: SnowflakeBackend) -> None:
    first = _job(backend, keeping("first", STATUS="3"))
    with pytest.raises(JobFailed, match="exit status 3"):
        first.wait(60)
    assert list(first.logs()) == ["first", "first.txt"]
    backend.cleanup(jobs=[first.id])
    second, other = _job(backend, keeping("second")), _job(backend, keeping("other", key="v2"))
    for job in (second, other):
        job.wait(60)
    assert list(second.logs()) == ["first second", "second.txt"]
    assert list(other.logs()) == ["other", "other.txt"]
    kept = backend.files.folder("keeps")
    assert [file.path for file in kept.folder("answers", "v1").list()] == ["cache.db", "parts/second.txt"]
    assert not [file for file in second.stage.list() if "cache.db" in file.path], "it lies beside the jobs"


def test_a_kept_folder_that_cannot_be_read_is_not_begun_anew(backend: SnowflakeBackend) -> None:
    """A job would store an empty one over it."""
    compiled = backend.lower(Plan(name="try", kind="command", files={}, entrypoint=("python", "-c", "pass")))
    job = _job(backend, compiled.replace(keeps={"answers": "v1"}))

    with pytest.raises(JobFailed, match=r"place\.json names the kept folders"):
        job.wait(60)
