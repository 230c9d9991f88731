"""Everything that soaptune writes is for its owner alone, whatever the umask; what a job cached goes with the job."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soaptune.common import files
from soaptune.handles.dataset import Dataset
from soaptune.handles.storage import FolderFiles
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.tasks.spec import TaskSpec
from tests.e2e.helpers import open_to_others

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

PATIENCE = 60.0
TASK = TaskSpec(
    name="ticket",
    system_prompt="Answer in JSON.",
    user_template="{text}",
    output_schema={"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]},
    output_fields=("who",),
    input_fields=("text",),
)
# Writes as training does: an output, a log, caches, temporary and kept files, by programs that know of no modes.
JOB = """
import os, pathlib, tempfile
pathlib.Path("../output/checkpoint").mkdir()
pathlib.Path("../output/checkpoint/rows.txt").write_text("text")
datasets = pathlib.Path(os.environ["HF_DATASETS_CACHE"])
datasets.mkdir(parents=True)
(datasets / "rows.arrow").write_text("text")
pathlib.Path(tempfile.gettempdir(), "rows.txt").write_text("text")
pathlib.Path(os.environ["SOAPTUNE_KEEPS"], "answers", "rows.db").write_text("text")
os.system("echo text > ../output/by_a_shell.txt; ls -lRL .. ../inputs/data/ > ../output/listing.txt")
print("ready", flush=True)
"""


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    made = LocalBackend(tmp_path / "runs", grace=0.5)
    yield made
    for job in made.jobs():
        job.cancel()


def rows(into: Path | None = None) -> Dataset:
    return Dataset.load([{"text": "text", "who": "Ann"}], task=TASK, into=into)


def writing(data: Path, more: str = "", **changes: Any) -> JobSpec:
    code = JOB + textwrap.dedent(more)
    given = {"inputs": {"data": str(data)}, "keeps": {"answers": "v1"}, "files": {"a/b.txt": "text"}, **changes}
    return JobSpec(name="job", entrypoint=("python", "-c", code), **given)


def until_logged(job: Any, line: str) -> None:
    end = time.monotonic() + PATIENCE
    while line not in job.logs():
        assert time.monotonic() < end, f"still waiting until the log has {line!r}"
        time.sleep(0.02)


def test_a_job_leaves_nothing_that_others_could_read(backend: LocalBackend, tmp_path: Path) -> None:
    data = rows(tmp_path / "mine" / "data")
    job = backend.submit(writing(tmp_path / "mine" / "data"), key="monday")
    job.wait(PATIENCE)
    backend.receive(_elsewhere(data))
    stopped = backend.submit(writing(tmp_path / "mine" / "data", "import time\ntime.sleep(300)"))
    until_logged(stopped, "ready")
    assert open_to_others(backend.root) == []  # while it runs, with its caches
    stopped.cancel()
    assert open_to_others(backend.root) == []
    assert open_to_others(tmp_path / "mine") == []
    written = (job.output.path / "listing.txt").read_text()
    assert "drwx------" in written
    # A folder is 0700 and a file 0600 at the time that the job sees them, not only when it has ended.
    seen = [line for line in written.splitlines() if line[:1] in "d-" and line[10:11] == " "]
    assert [line for line in seen if line[4:10] != "------"] == []


def _elsewhere(data: Dataset) -> Any:
    """A handle that says that it lies somewhere else, so that it is copied."""

    class Elsewhere:
        location = None
        fingerprint = data.fingerprint
        download = data.download

    return Elsewhere()


def test_datasets_reports_and_copies_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = rows()
    data.download("there/deep/data")
    FolderFiles(data.path).get("copied/output")
    files.write_json("written/deep/report.json", {})
    assert data.path.is_relative_to(tmp_path / "runs")
    for folder in ("runs", "there", "copied", "written"):
        assert open_to_others(tmp_path / folder) == []


def test_a_file_is_private_before_it_has_a_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_text(tmp_path / "new" / "file.txt", "text")
    with files.atomic_dir(tmp_path / "folder") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "rows.txt").write_text("text")
    assert seen
    # The last ones are folders; `tmp_path` itself is pytest's.
    assert [mode for mode in seen if mode & 0o077 and mode != stat.S_IMODE(tmp_path.stat().st_mode)] == []


def test_folders_of_the_user_keep_their_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    files.write_text(tmp_path / "shared" / "file.txt", "text")
    rows(tmp_path / "shared" / "data")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "shared" / "file.txt").stat().st_mode) == 0o600
    assert open_to_others(tmp_path / "shared" / "data") == []


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600)])
def test_an_export_follows_the_umask(tmp_path: Path, umask: int, folder: int, file: int) -> None:
    os.umask(umask)
    with files.atomic_dir(tmp_path / "export", shared=True) as made:
        files.write_text(made / "adapter" / "README.md", "text")
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "export").rglob("*")}
    assert modes == {"adapter": folder, "README.md": file}
    assert stat.S_IMODE((tmp_path / "export").stat().st_mode) == folder


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
def test_caches_have_gone_when_a_job_is_seen_to_have_ended(backend: LocalBackend, tmp_path: Path, end: str) -> None:
    rows(tmp_path / "data")
    more = {"done": "", "failed": "raise SystemExit(2)", "cancelled": "import time\ntime.sleep(300)"}[end]
    job = backend.submit(writing(tmp_path / "data", more))
    until_logged(job, "ready")
    if end == "cancelled":
        job.cancel()
    while job.status in ("pending", "running"):
        time.sleep(0.005)
    assert job.status == end
    assert not (job.stage / "cache").exists()
    assert not (job.stage / "tmp").exists()
    assert (job.stage / "output" / "by_a_shell.txt").is_file()


def test_a_command_that_is_killed_leaves_no_caches(backend: LocalBackend, tmp_path: Path) -> None:
    rows(tmp_path / "data")
    job = backend.submit(writing(tmp_path / "data", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    while job.status in ("pending", "running"):
        time.sleep(0.005)
    assert "SIGKILL" in job.reason
    assert not (job.stage / "cache").exists()


def test_the_folder_is_private_for_a_submitter_in_another_process(tmp_path: Path) -> None:
    code = f"""
    import os
    os.umask(0)
    from soaptune.jobs.spec import JobSpec
    from soaptune.local.backend import LocalBackend
    job = LocalBackend({str(tmp_path / "runs")!r}).submit(JobSpec(name="job", entrypoint=("python", "-c", "print(1)")))
    job.wait(60)
    """
    source = str(Path(sys.modules["soaptune"].__file__ or "").parents[1])
    env = {**os.environ, "PYTHONPATH": source}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=env)
    assert open_to_others(tmp_path / "runs") == []


def test_cleanup_takes_the_caches_that_a_killed_supervisor_has_left(backend: LocalBackend, tmp_path: Path) -> None:
    rows(tmp_path / "data")
    job = backend.submit(writing(tmp_path / "data", "import time\ntime.sleep(300)"))
    until_logged(job, "ready")
    os.kill(files.read_json(job.stage / "state.json")["supervisor"], signal.SIGKILL)
    while job.status in ("pending", "running"):
        time.sleep(0.005)
    backend.cleanup(older_than=3600)  # so young that the job itself stays
    assert not (job.stage / "cache").exists()
    assert (job.stage / "output" / "by_a_shell.txt").is_file()
