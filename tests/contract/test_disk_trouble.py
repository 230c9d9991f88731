"""A disk that is full or read-only: whoever meets it, the job ends, and the cause is named."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from soaptune.errors import BackendError, JobFailed
from soaptune.jobs.spec import JobSpec
from soaptune.local import states
from soaptune.local.backend import LocalBackend
from soaptune.local.processes import machine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")

PATIENCE = 60.0


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB. Tests run as root, to whom no folder is closed: only a real disk is full or read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "soaptune-test", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here; see the tests with injected errors")
    yield place
    for _ in range(50):
        if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(disk, mode):
    # Until the supervisor of a job that has just ended is gone too, the disk is in use.
    command = ["mount", "-o", f"remount,{mode}", str(disk)]
    until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, f"the disk is {mode}")


def python(code, **more):
    return JobSpec(**{"name": "job", "entrypoint": ("python", "-c", textwrap.dedent(code)), **more})


def fill(disk):
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(4096))


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still waiting until {what}"
        time.sleep(0.02)


def test_a_job_that_fills_the_disk_says_so_and_its_end_is_written_down(disk):
    # Nothing of it can come into the log either.
    code = """
        import sys
        file = open("../output/big", "wb", buffering=0)
        try:
            while True: file.write(bytes(range(256)) * 16)
        except OSError:
            sys.exit(4)
    """
    job = LocalBackend(disk).submit(python(code))
    with pytest.raises(JobFailed, match=r"exit status 4; its disk is full \(No space left on device\)") as caught:
        job.wait(PATIENCE)
    assert "free space" in caught.value.hint
    assert states.read_state(job.stage)["state"] == "failed"


def test_a_job_that_ends_well_on_a_full_disk_and_leaves_no_manifest_says_why(disk):
    job = LocalBackend(disk).submit(python("import time; time.sleep(0.3)", kind="data"))
    until(lambda: job.status == "running", "it runs")
    fill(disk)
    with pytest.raises(JobFailed, match=r"no manifest\.json in its output folder; its disk is full"):
        job.wait(PATIENCE)


READ_ONLY = """
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    if (access(getenv("READ_ONLY_FROM_NOW"), F_OK) == 0) { errno = EROFS; return -1; }
    return 0;
}
"""


def test_a_disk_that_becomes_read_only_ends_the_job_and_is_named(tmp_path, monkeypatch):
    """A disk in use cannot be made read-only by hand, as it is after an error: its answer is injected."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "shim.c").write_text(READ_ONLY)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "shim.so", "shim.c"], cwd=tmp_path, check=True)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "shim.so"))
    monkeypatch.setenv("READ_ONLY_FROM_NOW", str(tmp_path / "flag"))
    backend = LocalBackend(tmp_path / "runs", grace=0.3)
    job = backend.submit(python("import time; print('ready', flush=True); time.sleep(300)"))
    monkeypatch.delenv("LD_PRELOAD")
    until(lambda: "ready" in job.logs(), "it is ready")
    state = states.read_state(job.stage)
    assert state["state"] == "running"
    (tmp_path / "flag").touch()
    with pytest.raises(JobFailed, match=r"nothing can be written to its folder.*Read-only file system") as caught:
        backend.job(job.id).wait(PATIENCE)
    assert "read-only" in caught.value.hint
    assert not Path(f"/proc/{state['group']}").exists()


def test_a_lost_job_on_a_read_only_disk_is_looked_at_and_the_disk_is_named(disk):
    job = LocalBackend(disk).submit(python("pass"))
    job.wait(PATIENCE)
    (job.stage / "state.json").unlink()
    states.write_state(job.stage, "running", supervisor=1, started="before", machine=machine())
    remount(disk, "ro")
    again = LocalBackend(disk).job(job.id)
    assert again.status == "failed"
    assert again.reason == "its supervisor was killed, and its disk is read-only (Read-only file system)"
    again.cancel()
    remount(disk, "rw")


@pytest.mark.parametrize("key", [None, "k"])
def test_a_submission_to_a_full_or_read_only_disk_names_it_and_leaves_no_job(disk, key):
    backend = LocalBackend(disk / "runs")
    fill(disk)
    with pytest.raises(BackendError, match="No space left on device"):
        backend.submit(python("pass"), key=key)
    remount(disk, "ro")
    with pytest.raises(BackendError, match="Read-only file system"):
        backend.submit(python("pass"), key=key)
    assert backend.jobs() == []
    remount(disk, "rw")
    (disk / "ballast").unlink()
    backend.submit(python("pass"), key=key).wait(PATIENCE)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("name", ["open", "fsync"])
def test_an_error_of_the_disk_while_a_job_is_submitted_is_typed_and_leaves_nothing(tmp_path, monkeypatch, name, code):
    real = getattr(os, name)

    def broken(*arguments, **more):
        if name == "fsync" or (arguments[1] & os.O_CREAT and str(tmp_path) in str(arguments[0])):
            raise OSError(code, os.strerror(code))
        return real(*arguments, **more)

    backend = LocalBackend(tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(os, name, broken)
        with pytest.raises(BackendError, match=os.strerror(code)):
            backend.submit(python("pass"))
    assert backend.jobs() == []
    assert list((tmp_path / "runs" / "jobs").iterdir()) == []
    backend.submit(python("pass")).wait(PATIENCE)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_the_end_of_a_job_is_written_with_the_space_that_was_set_aside(tmp_path, monkeypatch, code):
    states.reserve_space(tmp_path)
    states.write_state(tmp_path, "running")
    reserve, real = tmp_path / "reserve", os.fsync

    def full(descriptor):
        if reserve.exists():
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=os.strerror(code)):
        states.write_state(tmp_path, "running", port=1)
    assert states.write_state(tmp_path, "failed", reason="x")["state"] == "failed"
    assert states.read_state(tmp_path)["state"] == "failed"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.json"]
