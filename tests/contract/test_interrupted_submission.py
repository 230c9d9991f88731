"""Ctrl-C while a job is being submitted: at whatever point it comes, no job goes on that nobody knows of."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from soaptune.jobs.lower import lowered
from soaptune.jobs.plan import Plan
from soaptune.jobs.step import Step
from soaptune.local.backend import LocalBackend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

PLAN = Plan(name="sleep", kind="command", files={}, entrypoint=("python", "-c", "import time; time.sleep(300)"))


class Sleeper(Step):
    name: str = "sleep"

    def preflight(self, *, on):
        return []

    def plan(self, *, given):
        return PLAN

    def run(self, *, on, key=None):
        return self._run(on=on, key=key)


class Returning(LocalBackend):
    """Interrupted when the job is submitted and its id not yet in the caller's hands."""

    def submit(self, spec, *, key=None, retry=False):
        super().submit(spec, key=key)
        raise KeyboardInterrupt


@pytest.fixture
def started(monkeypatch):
    """Interrupts as soon as a process is there."""
    real, processes = subprocess.Popen, []

    def start(*arguments, **how):
        processes.append(real(*arguments, **how))
        monkeypatch.setattr(subprocess, "Popen", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    yield processes
    for process in processes:
        process.wait(60)


def backend_at(tmp_path, kind=LocalBackend):
    return kind(tmp_path / "runs", grace=0.5)


def still_running(backend):
    (job,) = backend.jobs()
    mark = f"SOAPTUNE_JOB={job.id}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_run_leaves_no_job_when_it_is_interrupted_while_the_process_starts(tmp_path, started):
    backend = backend_at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        Sleeper().run(on=backend)
    assert [job.status for job in backend.jobs()] == ["cancelled"]
    assert still_running(backend) == []


@pytest.mark.parametrize("key", [None, "monday"])
def test_run_leaves_no_job_when_it_is_interrupted_before_it_knows_the_id(tmp_path, key):
    backend = backend_at(tmp_path, Returning)
    with pytest.raises(KeyboardInterrupt):
        Sleeper().run(on=backend, key=key)
    assert [job.status for job in backend.jobs()] == ["cancelled"]
    assert still_running(backend) == []


def test_run_leaves_nothing_when_it_is_interrupted_before_anything_starts(tmp_path, monkeypatch):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, "_write", interrupted)
    backend = backend_at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        Sleeper().run(on=backend)
    assert backend.jobs() == []
    assert list((backend.root / "jobs").glob("*")) == []


def test_submit_without_a_key_leaves_no_job_that_nobody_could_find(tmp_path, started):
    backend = backend_at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        backend.submit(lowered(PLAN, backend="local"))
    assert [job.status for job in backend.jobs()] == ["cancelled"]
    assert still_running(backend) == []


def test_submit_with_a_key_finds_the_interrupted_submission_again(tmp_path, started):
    backend = backend_at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        backend.submit(lowered(PLAN, backend="local"), key="monday")
    job = backend.submit(lowered(PLAN, backend="local"), key="monday")
    end = time.monotonic() + 60
    while job.status == "pending" and time.monotonic() < end:
        time.sleep(0.05)
    assert [each.id for each in backend.jobs()] == [job.id]
    assert job.status == "running"
    job.cancel()


def test_a_job_is_found_by_its_key_and_nothing_is_started(tmp_path):
    backend = backend_at(tmp_path)
    assert backend.find("monday") is None
    assert not backend.root.exists()
    job = backend.submit(lowered(PLAN, backend="local"), key="monday")
    assert backend.find("monday").id == job.id
    assert backend.find("tuesday") is None
    job.cancel()
