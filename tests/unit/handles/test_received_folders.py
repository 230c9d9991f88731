"""A folder from elsewhere is inert: no name in it leads out of it, and weights are those of its manifest."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from soaptune.common.files import cache_folder
from soaptune.common.inside import inside, relative_name
from soaptune.errors import ConfigError, DataError
from soaptune.handles import open_handle, weights
from soaptune.handles.dataset import Dataset
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.location import Tables, TableSplit
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.report import EvalReport, Metric, ReportLineage
from soaptune.handles.storage import FolderFiles
from soaptune.handles.weights import digests, fingerprint_folder
from soaptune.tasks.spec import TaskSpec

TASK = TaskSpec(
    name="ticket",
    system_prompt="Sort it.",
    user_template="{text}",
    output_schema={"type": "object", "properties": {"label": {"type": "string"}}},
    output_fields=("label",),
    input_fields=("text",),
)
LEADING_OUT = [
    "/etc",
    "../else",
    "model/../../else",
    "C:\\model",
    "C:model",
    "..\\else",
    "\\\\server\\share",
    "a\0b",
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_model(folder: Path, *, files: bool = True, whole: bool = True, **changes: Any) -> Path:
    place = folder / "model"
    place.mkdir(parents=True)
    (place / ("config.json" if whole else "adapter_config.json")).write_text("{}")
    (place / ("model.safetensors" if whole else "adapter_model.safetensors")).write_bytes(b"weights")
    (place / "tokenizer.json").write_text("{}")
    manifest = ModelManifest(
        method="full" if whole else "lora",
        base="org/base",  # pyright: ignore[reportArgumentType]
        task=TASK,
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(place),
        files=digests(place) if files else {},
    )
    written = {**manifest.model_dump(mode="json"), **changes}
    (folder / "manifest.json").write_text(json.dumps(written))
    return folder


def write_dataset(folder: Path) -> Path:
    table = pa.table({"id": ["1"], "text": ["a"], "label": ["b"]})
    return Dataset.write(folder, {"train": table}, task=TASK, how={"step": "test"}).path


def write_report(folder: Path, **changes: Any) -> Path:
    report = EvalReport(
        n=1,
        metrics={"schema_valid": Metric(value=1, low=1, high=1, n=1)},
        lineage=ReportLineage(
            model_fingerprint="sha256:m", data_fingerprint="sha256:d", split="test", task="t", task_fingerprint="t"
        ),
    )
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({**report.model_dump(mode="json"), **changes}))
    return folder


def aged(folder: Path) -> Path:
    """The folder, once its files are old enough for their digests to be kept."""
    newest = max(file.stat().st_ctime_ns for file in folder.rglob("*"))
    while time.time_ns() - newest <= weights._FRESH_NS:
        time.sleep(0.02)
    return folder


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_name_that_leads_out_is_refused_by_its_form_alone_on_every_system(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leads out of its folder"):
        relative_name(name)
    with pytest.raises(DataError, match="leads out of its folder"):
        inside(tmp_path, name)


def test_names_that_stay_inside_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert [inside(tmp_path, name) for name in (".", "a/b.json", "link/x")] == [
        tmp_path,
        tmp_path / "a" / "b.json",
        tmp_path / "link" / "x",
    ]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_models_weights_lie_in_its_folder(name: str, tmp_path: Path) -> None:
    write_model(tmp_path / "else")
    folder = write_model(tmp_path / "received", weights=name)
    with pytest.raises(DataError, match="leads out of its folder"):
        Model.open(folder)


@pytest.mark.parametrize("which", ["model", "model/tokenizer.json", "model/note.txt", "manifest.json"])
def test_a_model_is_not_read_through_a_link_from_outside(which: str, tmp_path: Path) -> None:
    folder, outside = write_model(tmp_path / "received"), tmp_path / "outside"
    if (folder / which).exists():
        (folder / which).rename(outside)
    else:
        outside.write_text("private")
    (folder / which).symlink_to(outside)
    with pytest.raises(DataError, match="symbolic link"):
        Model.open(folder).export(tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_link_that_comes_after_opening_is_not_followed_either(tmp_path: Path) -> None:
    model = Model.open(write_model(tmp_path / "received"))
    (tmp_path / "private.txt").write_text("private")
    (model.weights / "private.txt").symlink_to(tmp_path / "private.txt")
    for write in (model.export, model.download):
        with pytest.raises(DataError, match="symbolic link"):
            write(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_links_inside_the_folder_are_links(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "received")
    (folder / "model" / "model.safetensors").rename(folder / "model" / "blob")
    (folder / "model" / "model.safetensors").symlink_to("blob")
    (tmp_path / "alias").symlink_to(folder)
    Model.open(tmp_path / "alias").verify()


@pytest.mark.parametrize("name", ["../else/train", "/etc/passwd", "C:train", "train/../../x", "ledger", "a b", ""])
def test_the_name_of_a_split_is_a_name(name: str, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "received")
    write_dataset(tmp_path / "else")
    raw = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**raw, "counts": {name: 1}}))
    with pytest.raises(DataError, match="cannot be the name of a split"):
        Dataset.open(folder)
    manifest = DatasetManifest(
        fingerprint="sha256:f", task=TASK, counts={}, split_fingerprints={}, how={}, synthetic=False
    )
    with pytest.raises(ConfigError, match="cannot be the name of a split"):
        Tables(database="D", db_schema="S", name="N", manifest=manifest, splits={name: TableSplit(sql="q", columns={})})


@pytest.mark.parametrize("which", ["train.parquet", "ledger.parquet", "manifest.json"])
def test_a_dataset_is_not_read_through_a_link_from_outside(which: str, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "received")
    (folder / which).rename(tmp_path / "outside")
    (folder / which).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="symbolic link"):
        _ = Dataset.open(folder).ledger


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_reports_table_lies_in_its_folder(name: str, tmp_path: Path) -> None:
    report = EvalReport.open(write_report(tmp_path / "received", predictions=name))
    with pytest.raises(DataError, match="leads out of its folder"):
        _ = report.predictions_path
    assert EvalReport.open(report.save(tmp_path / "copy" / "report.json")).predictions == ""


def test_files_are_not_listed_or_copied_through_a_link_from_outside(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "private").write_text("private")
    files = FolderFiles(tmp_path / "received")
    files.path.mkdir()
    (files.path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="symbolic link"):
        files.names()
    with pytest.raises(DataError, match="symbolic link"):
        files.get(tmp_path / "copy")
    with pytest.raises(DataError, match="symbolic link"):
        files.read_bytes("link/private")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_pickled_weights_are_refused_and_the_reason_named(name: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "received")
    (folder / "model" / "model.safetensors").rename(folder / "model" / name)
    with pytest.raises(DataError, match=rf"pickled \({name}\).*can run code"):
        Model.open(folder)


def test_a_pickled_adapter_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "received", whole=False)
    (folder / "model" / "adapter_model.safetensors").rename(folder / "model" / "adapter_model.bin")
    with pytest.raises(DataError, match=r"pickled \(adapter_model.bin\)"):
        Model.open(folder)


def test_a_model_is_what_its_manifest_says(tmp_path: Path) -> None:
    model = Model.open(write_model(tmp_path / "received"))
    model.verify()
    exported = Model.open(model.export(tmp_path / "exported"))
    exported.verify()
    model.download(tmp_path / "copy").verify()
    assert exported == model


@pytest.mark.parametrize(
    ("file", "what"),
    [("model.safetensors", "was changed"), ("tokenizer.json", "is missing"), ("extra.json", "does not belong there")],
)
def test_the_file_that_differs_is_named(file: str, what: str, tmp_path: Path) -> None:
    model = Model.open(aged(write_model(tmp_path / "received")))
    model.verify()
    if what == "is missing":
        (model.weights / file).unlink()
    else:
        (model.weights / file).write_bytes(b"Weights")  # of the same size
    for use in (model.verify, model.load, lambda: model.export(tmp_path / "x"), lambda: model.download(tmp_path / "y")):
        with pytest.raises(DataError, match=f"{file} {what}"):
            use()
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "y").exists()


def test_an_adapter_that_was_changed_is_not_merged(tmp_path: Path) -> None:
    model = Model.open(write_model(tmp_path / "received", whole=False))
    (model.weights / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(DataError, match=r"adapter_model\.safetensors was changed"):
        model.merge()


def test_a_manifest_of_the_first_release_opens_and_binds_its_folder(tmp_path: Path) -> None:
    model = Model.open(write_model(tmp_path / "received", files=False))
    model.verify()
    (model.weights / "tokenizer.json").write_text("{ }")
    with pytest.raises(DataError, match="are not those of the model sha256:"):
        model.verify()


@pytest.mark.parametrize("fingerprint", ["", "sha256:1", "sha256:../../../precious", "md5:" + "0" * 64])
def test_what_is_no_fingerprint_is_refused_on_opening(fingerprint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="64 hexadecimal digits"):
        open_handle(write_model(tmp_path / "received", fingerprint=fingerprint))


def test_a_made_up_fingerprint_is_refused(tmp_path: Path) -> None:
    model = Model.open(write_model(tmp_path / "received", fingerprint="sha256:" + "0" * 64))
    with pytest.raises(DataError, match="contradicts itself"):
        model.verify()


def test_verifying_again_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest = weights._digest
    monkeypatch.setattr(weights, "_digest", lambda file: (read.append(file.name), digest(file))[1])
    model = Model.open(aged(write_model(tmp_path / "received")))
    read.clear()
    model.verify()
    assert len(read) == 3
    model.verify()
    Model.open(model.path).verify()
    assert len(read) == 3
    # A program can set the time of the content back, but not that of the inode.
    file = model.weights / "model.safetensors"
    before = file.stat()
    file.write_bytes(b"Weights")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match="was changed"):
        model.verify()
    assert read[3:] == ["model.safetensors"]


def test_a_file_that_was_just_written_is_read_each_time(tmp_path: Path) -> None:
    model = Model.open(write_model(tmp_path / "received"))
    os.utime(model.weights / "model.safetensors", ns=(time.time_ns() + 10**10,) * 2)
    model.verify()
    kept = [name for file in (cache_folder() / "digests").glob("*") for name in json.loads(file.read_text())]
    assert "model.safetensors" not in kept


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX")
def test_the_digests_are_the_users_own(tmp_path: Path) -> None:
    model = Model.open(aged(write_model(tmp_path / "received")))
    mask = os.umask(0)
    try:
        model.verify()
    finally:
        os.umask(mask)
    folder = cache_folder() / "digests"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # What others could have written there counts for nothing.
    entries = json.loads(file.read_text())
    file.write_text(json.dumps({name: [*entry[:-1], "0" * 64] for name, entry in entries.items()}))
    file.chmod(0o666)
    model.verify()


@pytest.mark.parametrize("content", ["", "[]", '{"model.safetensors": 3}', '{"model.safetensors": []}', "\xff"])
def test_broken_digests_are_made_anew(content: str, tmp_path: Path) -> None:
    model = Model.open(aged(write_model(tmp_path / "received")))
    model.verify()
    (file,) = (cache_folder() / "digests").iterdir()
    file.write_bytes(content.encode("latin-1"))
    model.verify()
    assert len(json.loads(file.read_text())) == 3
