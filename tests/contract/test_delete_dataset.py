"""Deleting a dataset: its files go, and what still holds its text is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soaptune.errors import BackendError, ConfigError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.tasks.spec import TaskSpec

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


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
    monkeypatch.chdir(tmp_path)
    made = LocalBackend(tmp_path / "runs", grace=0.5)
    yield made
    for job in made.jobs():
        job.cancel()


def rows(into: str | None = None, *, text: str = "text") -> Any:
    return Dataset.load([{"text": text, "who": "Ann"}], task=TASK, into=into)


def leaving(backend: LocalBackend, manifest: dict[str, Any], **more: Any) -> Any:
    """A job that has left a manifest, as the steps' jobs leave theirs."""
    code = f"import pathlib; pathlib.Path('../output/manifest.json').write_text({json.dumps(manifest)!r})"
    job = backend.submit(JobSpec(**{"name": "job", "entrypoint": ("python", "-c", code), **more}))
    job.wait(PATIENCE)
    return job


def test_a_dataset_goes_and_the_jobs_that_hold_its_text_are_named(backend: LocalBackend) -> None:
    data, other = rows("mine"), rows("other", text="another")
    reading = {"inputs": {"data": str(data.path)}}
    model = leaving(backend, {"kind": "model", "data_fingerprint": data.fingerprint}, kind="model", **reading)
    moved = rows("moved")  # the same rows, elsewhere
    report = leaving(backend, {"kind": "report"}, kind="report", inputs={"data": str(moved.path)})
    command = leaving(backend, {}, keeps={"answers": "v1"}, **reading)
    unrelated = leaving(backend, {"kind": "model", "data_fingerprint": other.fingerprint}, inputs={"data": "other"})
    scored = leaving(backend, {"kind": "report"}, kind="report")
    lineage = {"lineage": {"data_fingerprint": data.fingerprint}}
    (scored.output.path / "report.json").write_text(json.dumps(lineage))
    stored, derived = rows(), data.split({"train": 1}, into="derived")
    copied = data.download(backend.root / "copies" / "0123")
    made = leaving(backend, {"kind": "dataset", "fingerprint": "x", "how": derived.manifest.how}, kind="data")

    planned = data.delete(on=backend, dry_run=True)
    assert Dataset.open("mine").counts == {"train": 1}
    deletion = data.delete(on=backend)
    assert deletion == planned
    assert not data.path.exists()
    assert deletion.removed == tuple(
        str(data.path / name) for name in ("train.parquet", "ledger.parquet", "manifest.json")
    )
    found = {copy.where: copy for copy in deletion.copies}
    assert set(found) == {
        str(model.output.path),
        str(report.output.path),
        str(scored.output.path),
        str(command.stage),
        str(made.output.path),
        str(backend.root / "keeps" / "answers" / "v1"),
        str(copied.path),
        str(stored.path),
    }
    assert found[str(model.output.path)].what == f"a model that learned from it, the result of the job {model.id}"
    assert found[str(report.output.path)].job == report.id
    assert found[str(report.output.path)].remove == f"backend.job({report.id!r}).delete()"
    assert unrelated.id not in str(deletion)
    assert f"still there: a copy: {copied.path}" in str(deletion)


def test_what_it_says_removes_the_copies(backend: LocalBackend) -> None:
    data = rows("mine")
    leaving(backend, {}, keeps={"answers": "v1"}, inputs={"data": str(data.path)})
    rows()
    for copy in data.delete(on=backend, dry_run=True).copies:
        exec("import shutil; " + copy.remove, {"backend": backend})
        assert not Path(copy.where).exists()
    assert data.delete(on=backend).copies == ()


def test_a_dataset_that_a_running_job_reads_stays(backend: LocalBackend) -> None:
    data = rows("mine")
    code = "import time; time.sleep(300)"
    reading = JobSpec(name="job", entrypoint=("python", "-c", code), inputs={"data": str(data.path)})
    job = backend.submit(reading)
    for dry_run in (True, False):
        with pytest.raises(BackendError, match=rf"is read by {job.id}: .*cancel"):
            data.delete(on=backend, dry_run=dry_run)
    assert Dataset.open("mine").counts == {"train": 1}
    job.cancel()
    assert data.delete(on=backend).removed


def test_caches_that_a_killed_job_has_left_are_named(backend: LocalBackend) -> None:
    data = rows("mine")
    job = leaving(backend, {}, inputs={"data": str(data.path)})
    (job.stage / "cache").mkdir()
    (copy,) = (each for each in data.delete(on=backend).copies if "cache" in each.what)
    assert (copy.where, copy.remove) == (str(job.stage / "cache"), "backend.cleanup()")


def test_the_user_s_files_beside_a_dataset_stay(backend: LocalBackend) -> None:
    data = rows("mine")
    (data.path / "notes.txt").write_text("mine")
    data.delete(on=backend)
    assert [file.name for file in data.path.iterdir()] == ["notes.txt"]
    assert data.delete(on=backend).removed == ()


def test_a_removal_that_failed_is_repeated(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows("mine")
    real = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.name == "ledger.parquet":
            raise PermissionError(13, "Permission denied")
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(DataError, match="Permission denied"):
        data.delete(on=backend)
    monkeypatch.undo()
    assert not (data.path / "train.parquet").exists()
    assert data.delete(on=backend).removed
    assert not data.path.exists()


def test_a_dataset_that_a_job_made_is_deleted_and_its_job_stays(backend: LocalBackend) -> None:
    made = leaving(backend, {"kind": "dataset"}, kind="data")
    (made.output.path / "manifest.json").unlink()
    data = rows(str(made.output.path))
    deletion = data.delete(on=backend)
    assert deletion.copies == ()
    assert backend.job(made.id).status == "done"


def test_a_split_s_name_leads_to_no_other_folder(backend: LocalBackend, tmp_path: Path) -> None:
    data = rows("mine")
    (tmp_path / "precious.parquet").write_text("mine")
    data._manifest = data.manifest.model_copy(update={"counts": {"../precious": 1, "train": 1}})
    data.delete(on=backend)
    assert (tmp_path / "precious.parquet").is_file()


@pytest.mark.parametrize("wrong", [None, "runs", LocalBackend])
def test_what_is_no_backend_is_refused(backend: LocalBackend, wrong: Any) -> None:
    data = rows("mine")
    with pytest.raises(ConfigError, match=r"on=st\.LocalBackend"):
        data.delete(on=wrong)
    assert data.path.is_dir()
