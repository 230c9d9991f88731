from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from soaptune.common.files import read_json, write_json
from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.ledger import RowLedger
from soaptune.tasks.fact import Fact
from soaptune.tasks.spec import TaskSpec

SECRET = "the private words of a row"


def table_of(*ids: str, **more: Any) -> pa.Table:
    n = len(ids)
    columns = {"id": list(ids), "ticket": [f"{SECRET} {i}" for i in ids], "title": ["t"] * n, "urgency": ["1"] * n}
    return pa.table({**columns, **more})


@pytest.fixture
def dataset(tmp_path: Path, task: TaskSpec) -> Dataset:
    splits = {"train": table_of("a", "b", room=["attic", None]), "test": table_of("c")}
    return Dataset.write(tmp_path / "data", splits, task=task, how={"step": "test"}, synthetic=True)


def test_a_dataset_opens_as_it_was_written(dataset: Dataset, task: TaskSpec) -> None:
    again = Dataset.open(str(dataset.path))
    assert again.splits == ("train", "test")
    assert again.counts == {"train": 2, "test": 1}
    assert again.task == task
    assert again.manifest == dataset.manifest
    assert again.manifest.synthetic
    assert again.manifest.how == {"step": "test"}
    assert again.table("train").column("room").to_pylist() == ["attic", None]
    assert sorted(p.name for p in again.path.iterdir()) == [
        "ledger.parquet",
        "manifest.json",
        "test.parquet",
        "train.parquet",
    ]
    assert again.ledger.in_use() == {"train": 2, "test": 1}
    again.verify()


def test_a_split_is_a_hugging_face_dataset_of_the_tasks_columns(dataset: Dataset, task: TaskSpec) -> None:
    import datasets

    train = dataset["train"]
    assert isinstance(train, datasets.Dataset)
    assert train.column_names == ["id", "ticket", "title", "urgency"]
    assert task.outputs(train[0]) == {"title": "t", "urgency": 1}
    assert "train" in dataset
    assert "trian" not in dataset
    with pytest.raises(DataError, match="did you mean 'train'"):
        dataset["trian"]


def test_neither_repr_nor_html_shows_a_row(dataset: Dataset) -> None:
    assert repr(dataset).startswith("Dataset(task='tickets', train=2, test=1, path=")
    assert "Synthetic text" in dataset._repr_html_()
    assert SECRET not in repr(dataset) + dataset._repr_html_()


def test_facts_come_by_the_id_of_their_row(tmp_path: Path, task: TaskSpec) -> None:
    fact = {"field": "title", "kind": "thing", "value": "lamp", "start": 3, "end": 7, "source": "ticket"}
    short = {"field": "title", "kind": "thing", "value": "lamp"}
    table = table_of("a", "b", facts=[[fact, fact], []])
    data = Dataset.write(tmp_path / "x", {"train": table}, task=task, how={})
    assert data.facts("train") == {"a": [Fact(**fact), Fact(**fact)], "b": []}  # type: ignore[arg-type]
    data = Dataset.write(tmp_path / "y", {"train": table_of("a", "b", facts=[[short], None])}, task=task, how={})
    assert data.facts("train") == {"a": [Fact(field="title", kind="thing", value="lamp")], "b": []}
    data = Dataset.write(tmp_path / "z", {"train": table_of("a")}, task=task, how={})
    assert data.facts("train") == {"a": []}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_of("a").drop_columns("title"), "lacks the column 'title'"),
        (table_of("a", "a"), "id of train row 2 is also that of train row 1"),
        (table_of("a", "b").set_column(2, "title", pa.array(["x", None])), "no value in row 2, column 'title'"),
        (table_of("a").set_column(3, "urgency", pa.array([1])), "column 'urgency': it holds int64"),
        (table_of("a", facts=[["x"]]), "'facts': it is not a list of structs"),
        (table_of("a", facts=[[{"field": "a", "kind": "b", "value": "c", "note": "d"}]]), "not a list of structs"),
        (table_of("a", group=[1]), "column 'group': it holds int64"),
        (pa.Table.from_arrays([pa.array(["a"])] * 2, ["id", "id"]), "the column 'id' twice"),
        (table_of("a", more=pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))), "'more' has the type map"),
    ],
)
def test_wrong_columns_are_refused_and_nothing_is_left(
    tmp_path: Path, task: TaskSpec, table: pa.Table, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Dataset.write(tmp_path / "data", {"train": table}, task=task, how={})
    assert SECRET not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_ids_are_unique_over_all_splits(tmp_path: Path, task: TaskSpec) -> None:
    with pytest.raises(DataError, match="id of test row 1 is also that of train row 2"):
        Dataset.write(tmp_path / "data", {"train": table_of("a", "b"), "test": table_of("b")}, task=task, how={})


@pytest.mark.parametrize("name", ["", "../up", "a b", "ledger", ".hidden"])
def test_a_split_has_a_name_that_can_be_a_file(tmp_path: Path, task: TaskSpec, name: str) -> None:
    with pytest.raises(DataError, match="cannot be the name of a split"):
        Dataset.write(tmp_path / "data", {name: table_of("a")}, task=task, how={})


def test_a_ledger_that_does_not_fit_the_rows_is_refused(tmp_path: Path, task: TaskSpec) -> None:
    ledger = RowLedger()
    ledger.add("a", split="train", fate="dropped", reason="x", step="test")
    with pytest.raises(DataError, match=r"0 row\(s\) in use in the split 'train', which has 1"):
        Dataset.write(tmp_path / "data", {"train": table_of("a")}, task=task, how={}, ledger=ledger)
    ledger = RowLedger()
    ledger.extend(["a", "b"], split="train", fate="kept", step="test")
    ledger.add("c", split="test", fate="kept", step="test")
    with pytest.raises(DataError, match="'test', which has 0"):
        Dataset.write(tmp_path / "data", {"train": table_of("a", "b")}, task=task, how={}, ledger=ledger)


def test_the_fingerprint_is_of_the_rows_alone(tmp_path: Path, task: TaskSpec) -> None:
    one = Dataset.write(tmp_path / "1", {"train": table_of("a", "b")}, task=task, how={"by": 1})
    reordered = table_of("a", "b").select(["urgency", "ticket", "title", "id"])
    chunked = pa.concat_tables([reordered.slice(0, 1), reordered.slice(1)])
    other = task.replace(system_prompt="Another.")
    two = Dataset.write(tmp_path / "2", {"train": chunked}, task=other, how={"by": 2})
    three = Dataset.write(tmp_path / "3", {"train": table_of("b", "a")}, task=task, how={})
    assert one.fingerprint == two.fingerprint != three.fingerprint


def test_the_same_content_goes_to_the_same_folder_once(task: TaskSpec) -> None:
    one = Dataset.write(None, {"train": table_of("a")}, task=task, how={})
    stamp = (one.path / "train.parquet").stat().st_mtime_ns
    two = Dataset.write(None, {"train": table_of("a")}, task=task, how={})
    other = Dataset.write(None, {"train": table_of("a")}, task=task.replace(system_prompt="Another."), how={})
    assert one.path == two.path != other.path
    assert one.path.parent == Path.cwd() / "runs" / "data"
    assert (two.path / "train.parquet").stat().st_mtime_ns == stamp


def test_a_jobs_output_folder_becomes_a_dataset_and_is_then_never_changed(tmp_path: Path, task: TaskSpec) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "progress.jsonl").write_text("{}")
    data = Dataset.write(tmp_path / "output", {"train": table_of("a")}, task=task, how={})
    data.verify()
    assert (data.path / "progress.jsonl").exists()
    with pytest.raises(DataError, match="already holds a finished result"):
        Dataset.write(tmp_path / "output", {"train": table_of("b")}, task=task, how={})
    assert data["train"]["id"][:] == ["a"]


def test_changed_rows_do_not_verify(dataset: Dataset) -> None:
    pq.write_table(dataset.table("test").set_column(2, "title", pa.array(["forged"])), dataset.path / "test.parquet")
    with pytest.raises(DataError, match="the rows of test are not those that were written"):
        dataset.verify()


def test_a_file_cut_in_half_is_told(dataset: Dataset) -> None:
    file = dataset.path / "test.parquet"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for read in (dataset.verify, lambda: dataset.table("test"), lambda: dataset["test"], lambda: dataset.facts("test")):
        with pytest.raises(DataError, match=r"test\.parquet cannot be read"):
            read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2, "news": 1}, "written by a newer soaptune.*pip install --upgrade"),
        ({"kind": "model"}, "of kind 'model'"),
        ({"counts": {"train": 2, "validation": 0}}, r"validation\.parquet is missing"),
        ({"counts": "x"}, r"manifest\.json is broken: DatasetManifest: counts"),
    ],
)
def test_a_folder_that_cannot_be_read_says_why(dataset: Dataset, change: dict[str, Any], message: str) -> None:
    write_json(dataset.path / "manifest.json", {**read_json(dataset.path / "manifest.json"), **change})
    with pytest.raises(DataError, match=message):
        Dataset.open(dataset.path)


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no manifest\.json.*Dataset\.load"):
        Dataset.open(tmp_path)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, task: TaskSpec) -> None:
    for name in ("1", "2"):
        Dataset.write(tmp_path / name, {"train": table_of("a", "b")}, task=task, how={})
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes()
    assert "python" in json.loads((tmp_path / "1" / "manifest.json").read_text())["created_with"]
