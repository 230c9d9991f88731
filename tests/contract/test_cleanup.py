"""Removing jobs of this machine: all that they have left goes, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from soaptune.errors import BackendError, ConfigError, JobNotFound
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

PATIENCE = 60.0
WRITES = "import pathlib; pathlib.Path('../output/made.txt').write_text('text')"
WAITS = "import time; time.sleep(300)"


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    made = LocalBackend(tmp_path / "runs", grace=0.5)
    yield made
    for job in made.jobs():
        job.cancel()


def submitted(backend: LocalBackend, code: str = WRITES, *, key: str | None = None, **more: Any) -> Any:
    spec = JobSpec(**{"name": "job", "entrypoint": ("python", "-c", code), **more})
    return backend.submit(spec, key=key)


def ended(backend: LocalBackend, code: str = WRITES, *, key: str | None = None, **more: Any) -> Any:
    job = submitted(backend, code, key=key, **more)
    job.wait(PATIENCE)
    return job


def everything(folder: Path) -> dict[str, str]:
    """All files below a folder with their content; links are not followed."""
    found = {str(each.relative_to(folder)): each for each in folder.rglob("*")}
    return {
        name: str(each.readlink()) if each.is_symlink() else each.read_text(errors="replace")
        for name, each in found.items()
        if each.is_symlink() or each.is_file()
    }


def test_jobs_that_have_ended_go_with_all_they_left(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    done = ended(backend, inputs={"data": str(tmp_path / "data")}, keeps={"answers": "v1"})
    failed = submitted(backend, "raise SystemExit(3)")
    while failed.status in ("pending", "running"):
        time.sleep(0.01)
    running = submitted(backend, WAITS)
    while running.status == "pending":
        time.sleep(0.01)
    (backend.root / "notes.txt").write_text("the user's own")
    (backend.root / "jobs" / "my folder").mkdir()
    before = everything(tmp_path)

    planned = backend.cleanup(dry_run=True)
    assert everything(tmp_path) == before
    assert sorted(planned) == sorted(f"files {job.stage}/" for job in (done, failed))
    assert sorted(backend.cleanup()) == sorted(planned)
    assert [job.id for job in backend.jobs()] == [running.id]
    assert running.status in ("pending", "running")
    left = everything(tmp_path)
    assert {name for name in before if name not in left} == {
        name for name in before if name.startswith((f"runs/jobs/{done.id}/", f"runs/jobs/{failed.id}/"))
    }
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine"
    assert (backend.root / "keeps" / "answers" / "v1").is_dir()
    assert backend.cleanup() == []
    with pytest.raises(JobNotFound):
        backend.job(done.id)


def test_only_what_is_old_enough_goes(backend: LocalBackend) -> None:
    old, young = ended(backend), ended(backend)
    past = time.time() - 3 * 86_400
    os.utime(old.stage / "job.json", (past, past))
    assert backend.cleanup(older_than=timedelta(days=4)) == []
    assert backend.cleanup(timedelta(days=2)) == [f"files {old.stage}/"]
    assert backend.cleanup(older_than=3600) == []
    assert young.stage.is_dir()


@pytest.mark.parametrize("wrong", [-1, timedelta(seconds=-1), float("nan"), float("inf"), 1e300])
def test_an_age_that_is_none_is_refused(backend: LocalBackend, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="older_than"):
        backend.cleanup(older_than=wrong)


def test_a_job_deletes_itself(backend: LocalBackend) -> None:
    job, other = ended(backend), ended(backend)
    running = submitted(backend, WAITS)
    assert job.delete(dry_run=True) == [f"files {job.stage}/"]
    assert job.stage.is_dir()
    assert job.delete() == [f"files {job.stage}/"]
    assert not job.stage.exists()
    assert job.delete() == []
    assert other.stage.is_dir()
    with pytest.raises(BackendError, match=r"has not ended: cancel\(\) it first"):
        running.delete()
    running.cancel()
    assert running.delete()


def test_nothing_is_written_to_a_root_that_has_no_jobs(tmp_path: Path) -> None:
    assert LocalBackend(tmp_path / "runs").cleanup() == []
    assert not (tmp_path / "runs").exists()


def test_what_a_running_job_reads_stays(backend: LocalBackend) -> None:
    read, other = ended(backend), ended(backend)
    running = submitted(backend, WAITS, inputs={"data": str(read.output.path)})
    assert backend.cleanup() == [f"files {other.stage}/"]
    with pytest.raises(BackendError, match=rf"{running.id} reads what the job {read.id}"):
        read.delete()
    running.cancel()
    assert len(backend.cleanup()) == 2


def test_the_base_of_an_adapter_that_stays_is_spared(backend: LocalBackend, tmp_path: Path) -> None:
    manifest = '{"kind": "model", "method": "lora"}'
    writes = f"import pathlib; pathlib.Path('../output/manifest.json').write_text({manifest!r})"
    base = ended(backend)
    (tmp_path / "link").symlink_to(base.output.path)
    adapter = ended(backend, writes, kind="model", inputs={"base": str(tmp_path / "link")})
    past = time.time() - 86_400
    os.utime(base.stage / "job.json", (past, past))
    assert backend.cleanup(older_than=3600) == []
    with pytest.raises(BackendError, match=rf"{adapter.id} is based on"):
        base.delete()
    assert len(backend.cleanup(jobs=[base.id, adapter.id])) == 2
    assert (tmp_path / "link").is_symlink()


def test_a_key_whose_job_was_removed_can_be_used_again(backend: LocalBackend) -> None:
    first, other = ended(backend, key="monday"), ended(backend, key="tuesday")
    first.delete()
    assert backend.find("monday") is None
    assert backend.find("tuesday").id == other.id  # type: ignore[union-attr]
    second = ended(backend, "print('other code')", key="monday")
    assert second.id != first.id


def test_a_removal_that_was_killed_is_finished_by_the_next(backend: LocalBackend, monkeypatch: Any) -> None:
    job, other = ended(backend), ended(backend)
    real = shutil.rmtree

    def killed(folder: Any, *more: Any, **named: Any) -> None:
        if ".removed" in str(folder):
            (Path(folder) / "job.json").unlink()
            raise KeyboardInterrupt  # as SIGKILL would: nothing after it runs
        real(folder, *more, **named)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        job.delete()
    monkeypatch.undo()
    assert [each.id for each in backend.jobs()] == [other.id]
    (left,) = (backend.root / "jobs" / ".removed").iterdir()
    assert (left / "output" / "made.txt").is_file()
    planned = backend.cleanup(older_than=3600, dry_run=True)
    assert planned == [f"files {left}/"]
    assert left.is_dir()
    assert backend.cleanup(older_than=3600) == planned
    assert not left.exists()
    assert other.stage.is_dir()


def test_what_cannot_be_removed_is_named_and_the_rest_goes(backend: LocalBackend, monkeypatch: Any) -> None:
    stuck, other = ended(backend), ended(backend)
    real = shutil.rmtree

    def refused(folder: Any, *more: Any, **named: Any) -> None:
        if stuck.id in str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        real(folder, *more, **named)

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(BackendError, match=rf"1 of 2 could not be removed.*{stuck.id}.*Permission denied"):
        backend.cleanup()
    monkeypatch.undo()
    assert not other.stage.exists()
    assert len(backend.cleanup()) == 1
    assert list((backend.root / "jobs" / ".removed").iterdir()) == []


def test_no_link_is_followed(backend: LocalBackend, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "x").mkdir(parents=True)
    (precious / "file.txt").write_text("mine")
    job = ended(backend)
    shutil.copytree(job.stage, precious / "x", dirs_exist_ok=True)
    (job.stage / "output" / "link").symlink_to(precious, target_is_directory=True)
    (job.stage / "cache").symlink_to(precious, target_is_directory=True)
    (backend.root / "jobs" / "x").symlink_to(precious / "x", target_is_directory=True)
    before = everything(precious)
    assert backend.cleanup() == [f"files {job.stage}/"]
    assert everything(precious) == before
    (backend.root / "jobs" / ".removed").rmdir()
    (backend.root / "jobs" / ".removed").symlink_to(precious, target_is_directory=True)
    with pytest.raises(BackendError, match="symbolic link"):
        backend.cleanup()
    assert everything(precious) == before


def test_a_job_of_another_version_goes_when_it_has_ended_and_stays_while_it_runs(backend: LocalBackend) -> None:
    done, running = ended(backend), submitted(backend, "print('ready', flush=True); " + WAITS)
    while "ready" not in running.logs():
        time.sleep(0.01)
    texts = {}
    for job in (done, running):
        file = job.stage / "job.json"
        texts[job] = file.read_text()
        file.write_text(json.dumps({"of": "another version"}))
    assert backend.cleanup() == [f"files {done.stage}/"]
    assert running.stage.is_dir()
    (running.stage / "job.json").write_text(texts[running])


def test_what_an_interrupted_submission_left_goes_after_a_while(backend: LocalBackend) -> None:
    jobs = backend.root / "jobs"
    half, hidden, new, mine = jobs / "half", jobs / ".half.0123abcd", jobs / "new", jobs / ".mine"
    past = time.time() - 7_200
    for folder in (half, hidden, new, mine):
        (folder / "app").mkdir(parents=True)
        os.utime(folder, None if folder == new else (past, past))
    assert backend.cleanup() == [f"files {half}/", f"files {hidden}/"]
    assert mine.is_dir()
    assert new.is_dir()


def test_a_temporary_folder_that_a_killed_job_has_left_elsewhere_goes(tmp_path: Path) -> None:
    deep = LocalBackend(tmp_path / ("long" * 20) / "runs", grace=0.5)
    code = "import tempfile, time; print(tempfile.gettempdir(), flush=True); time.sleep(300)"
    job: Any = submitted(deep, code)
    while not (lines := list(job.logs())):
        time.sleep(0.01)
    temporary = Path(lines[0])
    assert temporary.is_dir()
    assert not temporary.is_relative_to(tmp_path)
    os.kill(json.loads((job.stage / "state.json").read_text())["supervisor"], signal.SIGKILL)
    while job.status in ("pending", "running"):
        time.sleep(0.01)
    # One that nobody has noticed; that of the job may just be removed by whoever looked at it.
    temporary = temporary.with_name(f"{temporary.name}x")
    temporary.mkdir(mode=0o700)
    stranger = temporary.with_name("soaptune-000000000000-mine")
    stranger.mkdir()
    try:
        assert f"caches {temporary}/" in deep.cleanup()
        assert not temporary.exists()
        assert stranger.is_dir()
    finally:
        stranger.rmdir()
