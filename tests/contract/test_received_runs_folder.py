"""A folder of jobs from somewhere else: looking at it removes nothing, writes nothing, ends nothing and never hangs."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soaptune.errors import BackendError, JobNotFound
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.local.processes import machine, start_time
from soaptune.local.states import identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="knows a job's processes through /proc")

SPEC = JobSpec(name="job", entrypoint=("python", "-c", "pass"))


@pytest.fixture
def precious(tmp_path):
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    return folder


@pytest.fixture
def root(tmp_path):
    (tmp_path / "runs" / "jobs").mkdir(parents=True)
    return tmp_path / "runs"


def received(root, name, state, *, old=True):
    """A job as anybody can write it down."""
    stage = root / "jobs" / name
    for folder in ("app", "output"):
        (stage / folder).mkdir(parents=True)
    (stage / "log.txt").write_text("")
    (stage / "job.json").write_text(json.dumps(SPEC.model_dump(mode="json")))
    (stage / "state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    if old:
        os.utime(stage / "state.json", (0, 0))
    return stage


def everything(folder):
    """Every file below a folder with its content, and when each thing was changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else os.fspath(path.readlink()) if path.is_symlink() else ""
        found[str(path)] = (path.lstat().st_mtime_ns, content)
    return found


def look(root):
    backend = LocalBackend(root, grace=0.2)
    jobs = backend.jobs()
    text = repr(jobs)
    for job in jobs:
        _ = job.reason, job.events(), job.progress(), list(job.logs()), job._repr_html_()
    return {job.id: job.status for job in jobs}, text


@pytest.mark.parametrize("more", [{}, {"supervisor": 1, "started": "x", "host": "h"}, {"machine": machine()}])
@pytest.mark.parametrize("state", ["pending", "running"])
def test_looking_at_jobs_removes_and_writes_nothing(root, precious, more, state):
    (root.parent / "tempfiles").symlink_to(precious)
    for number, tmp in enumerate((precious, "../../../precious", root.parent / "tempfiles", root, "/")):
        received(root, f"job-{number}", {"state": state, "tmp": str(tmp), "history": [], **more})
    before = everything(root.parent)
    statuses, _ = look(root)
    assert set(statuses.values()) == {"failed"}
    assert everything(root.parent) == before


@pytest.mark.parametrize("job_id", ["../../precious", "/etc", "..", ".", "", "a/b", 7, None, ["x"], "x" * 200, "a\0b"])
def test_an_id_in_the_record_of_a_key_is_checked_like_one_from_a_caller(root, precious, job_id):
    (root / "keys").mkdir()
    record = root / "keys" / (hashlib.sha256(b"k").hexdigest() + ".json")
    for content in ({"id": job_id, "key": "k"}, {"id": "job-1", "key": "k", "earlier": [job_id]}, [job_id], job_id):
        record.write_text(json.dumps(content))
        backend = LocalBackend(root)
        for act in (lambda: backend.submit(SPEC, key="k"), lambda: backend.find("k")):  # noqa: B023
            with pytest.raises(BackendError, match="not the record of a key"):
                act()
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert list((root / "jobs").iterdir()) == []


def test_a_folder_that_is_in_the_way_of_a_job_is_not_emptied(root, precious):
    precious.rename(root / "jobs" / "precious")
    (root / "keys").mkdir()
    record = root / "keys" / (hashlib.sha256(b"k").hexdigest() + ".json")
    record.write_text(json.dumps({"id": "precious", "key": "k"}))
    with pytest.raises(BackendError, match="in the way"):
        LocalBackend(root).submit(SPEC, key="k")
    assert (root / "jobs" / "precious" / "thesis.txt").read_text() == "years of work"


def test_a_link_among_the_jobs_is_no_job(root, precious, tmp_path):
    outside = received(tmp_path / "elsewhere", "job-1", {"state": "running"})
    (root / "jobs" / "job-1").symlink_to(outside)
    received(root, "job-2", {"state": "done"})
    (root / "jobs" / "job-3").mkdir()
    (root / "jobs" / "job-3" / "job.json").symlink_to(outside / "job.json")
    before = everything(tmp_path)
    statuses, _ = look(root)
    assert statuses == {"job-2": "done"}
    with pytest.raises((BackendError, JobNotFound)):
        LocalBackend(root).job("job-1")
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "state",
    [
        {"state": ["running"]},
        {"state": "running", "supervisor": "1"},
        {"state": "running", "supervisor": 10**30, "started": "x"},
        {"state": "running", "supervisor": True},
        {"state": "running", "supervisor": 1, "started": 7},
        {"state": "running", "group": -1.5},
        {"state": "done", "history": "pending"},
        {"state": "done", "history": [1, None]},
        {"state": "done", "history": [{"state": {}, "time": 1}]},
        {"state": "done", "reason": {"a": 1}},
        {"state": "failed", "exit_code": "0"},
        "[" * 100_000,
        '{"state": "running", "supervisor": ' + "9" * 6000 + "}",
        "\ufeff{}",
        "null",
        '{"state": "done", "reason": "' + "x" * 2_000_000 + '"}',
    ],
    ids=lambda state: str(state)[:40],
)
def test_a_damaged_state_is_that_of_its_own_job_alone(root, state):
    received(root, "bad", state)
    received(root, "good", {"state": "done", "history": []})
    statuses, text = look(root)
    assert statuses == {"good": "done", "bad": "failed"}
    assert "good" in text
    failed = LocalBackend(root).job("bad")
    assert "was damaged" in failed.reason
    assert "was damaged" in str(failed.failure())


@pytest.mark.parametrize("name", ["state.json", "log.txt", "output/progress.jsonl", "job.json"])
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(root, name):
    stage = received(root, "bad", {"state": "done"})
    (stage / name).unlink(missing_ok=True)
    os.mkfifo(stage / name)
    received(root, "good", {"state": "done"})
    code = f"""
import soaptune as st
for job in st.LocalBackend({str(root)!r}).jobs():
    job.status, job.progress(), job.events()
    try:
        list(job.logs())
    except st.SoaptuneError as error:
        print(type(error).__name__)
    print(job.id)
"""
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True).stdout
    assert "good" in seen


def test_a_process_that_a_state_names_is_not_ended(root):
    innocent = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        about = {"supervisor": innocent.pid, "started": start_time(innocent.pid), "group": innocent.pid}
        about |= {"group_started": about["started"], "machine": machine()}
        received(root, "job-1", {"state": "running", "history": [], **about})
        backend = LocalBackend(root, grace=0.0)
        job = backend.job("job-1")
        assert not job._signal_supervisor(about, 15)
        job._write_lost_end(about)
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_supervisor_of_a_job_with_a_longer_id_is_that_of_another_job(tmp_path, root):
    other = LocalBackend(tmp_path / "other", grace=0.2).submit(
        JobSpec(name="job", entrypoint=("python", "-c", "import time; time.sleep(300)"))
    )
    try:
        begins_like_it = other.id[:-2]
        received(root, begins_like_it, {"state": "pending", "machine": machine(), "history": []})
        assert LocalBackend(root).job(begins_like_it).status == "failed"
    finally:
        other.cancel()


def test_a_copy_of_a_running_job_does_not_end_it(tmp_path, root):
    backend = LocalBackend(root, grace=0.2)
    job = backend.submit(JobSpec(name="job", entrypoint=("python", "-c", "import time; time.sleep(300)")))
    try:
        end = time.monotonic() + 30
        while job.status != "running":
            assert time.monotonic() < end
            time.sleep(0.02)
        copy = received(tmp_path / "copied", job.id, {"state": "running", "supervisor": 1, "started": "x"})
        assert identity(copy) != identity(job.stage)
        other = LocalBackend(tmp_path / "copied", grace=0.2)
        assert other.job(job.id).status == "failed"
        other.job(job.id).cancel()
        assert json.loads((copy / "state.json").read_text())["state"] == "failed"
        assert job.status == "running"
    finally:
        job.cancel()
    assert job.status == "cancelled"


def test_a_link_named_cancel_is_not_followed(root, precious):
    stage = received(root, "job-1", {"state": "running", "supervisor": os.getpid(), "started": start_time(os.getpid())})
    (stage / "cancel").symlink_to(precious / "made")
    LocalBackend(root, grace=0.0)
    from soaptune.local.states import ask_to_cancel

    ask_to_cancel(stage)
    assert not (precious / "made").exists()
    assert Path(precious / "thesis.txt").exists()
