"""`Dataset.load` takes what people have: lists, frames, tables, Hugging Face datasets, and values inside of records."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import soaptune as st
from soaptune.errors import ConfigError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.tasks.spec import TaskSpec


class Frame:
    """As a polars frame, as far as Arrow's protocol goes: nothing but the capsule."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


class Relation:
    """An object of older libraries, which give a table when asked."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def to_arrow(self) -> Any:
        return self._table


def views(rows: list[dict[str, Any]]) -> Frame:
    """Strings as polars has them."""
    table = pa.Table.from_pylist(rows)
    kinds = [pa.string_view() if pa.types.is_string(f.type) else f.type for f in table.schema]
    return Frame(pa.table([c.cast(k) for c, k in zip(table.columns, kinds, strict=True)], names=table.column_names))


FORMS = {
    "dicts": lambda rows: rows,
    "tuple": tuple,
    "pandas": pd.DataFrame,
    "arrow": pa.Table.from_pylist,
    "batch": pa.RecordBatch.from_pylist,
    "reader": lambda rows: pa.Table.from_pylist(rows).to_reader(),
    "capsule": views,
    "to_arrow": lambda rows: Relation(pa.Table.from_pylist(rows)),
    "hugging_face": datasets.Dataset.from_list,
}


@pytest.fixture
def loaded(task, make_rows) -> Dataset:
    return Dataset.load(make_rows(5), task=task)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_are_the_same_dataset_in_whatever_form_they_come(form, task, make_rows, loaded) -> None:
    found = Dataset.load(FORMS[form](make_rows(5)), task=task)
    assert found.fingerprint == loaded.fingerprint
    assert found.counts == {"train": 5}
    assert found.ledger.counts()["kept"] == 5
    assert found.table("train").column("urgency").to_pylist() == ["0", "1", "2", "3", "4"]


def test_duckdb_gives_its_relations_through_arrow(task, make_rows, loaded) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = pa.Table.from_pylist(make_rows(5))
    relation = duckdb.connect().from_arrow(table)
    assert Dataset.load(relation, task=task).fingerprint == loaded.fingerprint


def test_rows_in_memory_equal_those_of_a_file(task, make_rows, loaded, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in make_rows(5)), encoding="utf-8")
    assert Dataset.load(file, task=task).fingerprint == loaded.fingerprint


def test_a_dataset_dict_brings_its_splits(task, make_rows) -> None:
    given = datasets.DatasetDict(
        train=datasets.Dataset.from_list(make_rows(3)), test=datasets.Dataset.from_list(make_rows(2))
    )
    found = Dataset.load(given, task=task)
    assert found.counts == {"train": 3, "test": 2}
    assert found.manifest.how["files"] == {"train": "the Dataset of datasets", "test": "the Dataset of datasets"}


def test_splits_may_come_from_different_places(task, make_rows, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(make_rows(4)), tmp_path / "rows.parquet")
    found = Dataset.load(
        {"train": [tmp_path / "rows.parquet"], "test": pd.DataFrame(make_rows(1)), "extra": make_rows(2)}, task=task
    )
    assert found.counts == {"train": 4, "test": 1, "extra": 2}


def test_class_labels_of_hugging_face_become_their_names(make_rows) -> None:
    schema = {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}
    task = TaskSpec(
        name="t",
        system_prompt="",
        user_template="{x}",
        output_schema=schema,
        output_fields=("kind",),
        input_fields=("x",),
    )
    features = datasets.Features({"x": datasets.Value("string"), "kind": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"x": ["a", "b"], "kind": [1, 0]}, features=features)
    assert Dataset.load(rows, task=task).table("train").column("kind").to_pylist() == ["yes", "no"]


@pytest.mark.parametrize("form", ["dicts", "pandas", "arrow", "hugging_face"])
def test_a_day_that_comes_as_its_midnight_is_that_day(form) -> None:
    schema = {
        "type": "object",
        "properties": {"due": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}},
        "required": ["due"],
    }
    task = TaskSpec(
        name="t",
        system_prompt="",
        user_template="{x}",
        output_schema=schema,
        output_fields=("due",),
        input_fields=("x",),
    )
    rows = [{"x": "a", "due": datetime(2024, 2, 29)}, {"x": "b", "due": datetime(2024, 3, 1)}]
    found = Dataset.load(FORMS[form](rows), task=task)
    assert found.table("train").column("due").to_pylist() == ['"2024-02-29"', '"2024-03-01"']
    rows[1]["due"] = datetime(2024, 3, 1, 12)
    with pytest.raises(DataError, match="YYYY-MM-DD"):
        Dataset.load(FORMS[form](rows), task=task)


def test_a_list_of_files_is_one_split(task, make_rows, tmp_path: Path) -> None:
    rows = make_rows(5)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows[3:]), tmp_path / "b.parquet")
    found = Dataset.load([tmp_path / "a.jsonl", str(tmp_path / "b.parquet")], task=task)
    assert found.fingerprint == Dataset.load(rows, task=task).fingerprint
    assert found.table("train").column("id").to_pylist() == [f"train-{index:06d}" for index in range(5)]
    assert found.manifest.how["files"] == {"train": ["a.jsonl", "b.parquet"]}


def test_ids_that_stand_in_several_files_are_told_apart(task, make_rows, tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = [json.dumps({"id": index, **row}) + "\n" for index, row in enumerate(make_rows(2))]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    found = Dataset.load([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], task=task)
    assert found.table("train").column("id").to_pylist() == ["a-0", "a-1", "b-0", "b-1"]


def test_the_ledger_knows_the_bad_rows_of_every_file(task, make_rows, tmp_path: Path) -> None:
    rows = make_rows(4)
    rows[1]["urgency"] = rows[3]["urgency"] = "soon"
    for name, part in (("a", rows[:2]), ("b", rows[2:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    found = Dataset.load(paths, task=task, on_bad_row="ledger")
    assert [row.id for row in found.ledger if row.fate == "dropped"] == ["train#2", "train#4"]
    with pytest.raises(DataError, match=r"a\.jsonl, row 2 .*column 'urgency'"):
        Dataset.load(paths, task=task)


def test_a_bad_row_in_memory_is_named_by_its_number(task, make_rows) -> None:
    rows = make_rows(3)
    rows[2]["urgency"] = "a secret"
    with pytest.raises(DataError, match=r"^the list of dicts, row 3, column 'urgency'") as caught:
        Dataset.load(rows, task=task)
    assert "secret" not in str(caught.value)


def test_a_frame_of_mixed_objects_is_read_row_by_row(task, make_rows) -> None:
    frame = pd.DataFrame([{**row, "note": note} for row, note in zip(make_rows(3), [1, "two", None], strict=True)])
    found = Dataset.load(frame, task=task)
    assert found.table("train").column("note").to_pylist() == ["1", '"two"', None]
    assert found.manifest.how["files"] == {"train": "the DataFrame of pandas"}


def test_nothing_is_imported_to_find_out_what_it_is(task, make_rows, monkeypatch) -> None:
    for name in ("pandas", "polars", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    assert Dataset.load(make_rows(2), task=task).counts == {"train": 2}


NESTED = [
    {"input": {"text": f"the lamp {i} is broken"}, "output": {"title": f"lamp {i}", "level": {"urgency": i}}}
    for i in range(3)
]
COLUMNS = {"ticket": "input.text", "title": "output.title", "urgency": "output.level.urgency"}


@pytest.mark.parametrize("form", FORMS)
def test_dotted_columns_reach_into_records(form, task, make_rows) -> None:
    found = Dataset.load(FORMS[form](NESTED), task=task, columns=COLUMNS)
    plain = Dataset.load(make_rows(3), task=task)
    fields = ["ticket", "title", "urgency"]
    assert found.table("train").select(fields).equals(plain.table("train").select(fields))
    assert found.manifest.how["columns"] == COLUMNS
    assert {"input", "output"} <= set(found.columns("train"))


def test_dotted_columns_reach_into_json_text(task, make_rows, tmp_path: Path) -> None:
    flat = [{name: json.dumps(part) for name, part in row.items()} for row in NESTED]
    pd.DataFrame(flat).to_csv(tmp_path / "rows.csv", index=False)
    pq.write_table(pa.Table.from_pylist(flat), tmp_path / "rows.parquet")
    for source in (flat, tmp_path / "rows.csv", tmp_path / "rows.parquet"):
        found = Dataset.load(source, task=task, columns=COLUMNS)
        assert found.table("train").column("title").to_pylist() == ["lamp 0", "lamp 1", "lamp 2"]
        assert found.table("train").column("urgency").to_pylist() == ["0", "1", "2"]


def test_a_number_is_a_place_in_a_list(task) -> None:
    rows = [{"turns": [{"text": "it leaks"}, {"text": "a leak", "urgency": 1}]}]
    columns = {"ticket": "turns.0.text", "title": "turns.1.text", "urgency": "turns.1.urgency"}
    for source in (rows, pa.Table.from_pylist(rows)):
        table = Dataset.load(source, task=task, columns=columns).table("train")
        assert table.select(["ticket", "title", "urgency"]).to_pylist() == [
            {"ticket": "it leaks", "title": "a leak", "urgency": "1"}
        ]


def test_a_column_whose_own_name_has_a_dot_goes_first(task, make_rows) -> None:
    rows = [
        {"ticket": r["ticket"], "out.title": r["title"], "out": {"title": "no"}, "urgency": 1} for r in make_rows(2)
    ]
    table = Dataset.load(rows, task=task, columns={"title": "out.title"}).table("train")
    assert table.column("title").to_pylist() == ["lamp 0", "lamp 1"]


def test_a_row_without_the_inner_value_is_a_row_without_the_value(task) -> None:
    rows = [*NESTED, {"input": {"text": "x"}, "output": {"level": {"urgency": 1}}}, {"input": None, "output": "text"}]
    found = Dataset.load(rows, task=task, columns=COLUMNS, on_bad_row="ledger")
    assert found.counts == {"train": 3}
    assert [row.reason for row in found.ledger if row.fate == "dropped"] == [
        "column 'output.title': the value is missing",
        "column 'input.text': the value is missing",
    ]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (NESTED, {"columns": {**COLUMNS, "title": "output.titel"}}, r"no 'titel' \(did you mean 'title'\?"),
        (NESTED, {"columns": {**COLUMNS, "title": "outptu.title"}}, r"no column 'outptu\.title'"),
        ([], {}, r"^The list of dicts has no rows\.$"),
        (pd.DataFrame(), {}, r"^The DataFrame of pandas has no rows\.$"),
        ([{"ticket": "a"}, "b"], {}, r"^Entry 1 of the list for the split 'train' names no file"),
        ([{"ticket": "a"}, 3], {}, r"^Entry 2 of the list is of the type int; a list holds either dicts"),
        (
            {"ticket": ["a secret", "b"], "title": ["c", "d"]},
            {},
            r"^Entry 1 of the list for the split 'ticket'",
        ),
        (["a secret"], {}, r"^Entry 1 .* Rows are given as a list of dicts\.$"),
        ({"ticket": "a secret", "title": "b"}, {}, r"^The entry 'ticket' of the mapping .*one row is given as \[row\]"),
        ({"ticket": "a secret " * 100}, {}, r"^The entry 'ticket' of the mapping"),
        ({"train": "missing.csv"}, {}, r"^missing\.csv does not exist\.$"),
        ("ticket,title\na secret,b\n", {}, r"^The text that is given is no path"),
        ("a secret " * 100, {}, r"^The text that is given is no path"),
        ("owner/name", {}, r"^owner/name does not exist\. .*datasets\.load_dataset"),
        (NESTED, {"columns": ["text"]}, r"^columns= maps fields to columns"),
        (NESTED, {"on_bad_row": "skip"}, r"^on_bad_row= is 'skip'; there are 'error' and 'ledger'"),
        (["missing.csv"], {}, r"^missing\.csv does not exist\.$"),
        (3, {}, r"^Dataset\.load\(\) reads a path, a list of paths or of dicts, .*; this is of the type int\.$"),
        ((row for row in NESTED), {}, r"of the type generator\.$"),
        ({}, {}, "empty"),
    ],
)
def test_what_cannot_be_read_is_named_and_never_quoted(source, options, message, task) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Dataset.load(source, task=task, **options)
    assert "secret" not in str(caught.value)


def test_a_stream_of_hugging_face_is_refused(task, make_rows) -> None:
    stream = datasets.Dataset.from_list(make_rows(2)).to_iterable_dataset()
    with pytest.raises(DataError, match="streams its rows"):
        Dataset.load(stream, task=task)


def test_a_dataset_of_ours_need_not_be_loaded(loaded, task) -> None:
    with pytest.raises(DataError, match="is a Dataset already"):
        Dataset.load(loaded, task=task)


def test_a_path_may_begin_with_the_home_folder(task, make_rows, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in make_rows(2)), encoding="utf-8")
    found = Dataset.load("~/rows.jsonl", task=task, into=tmp_path / "found")
    assert Dataset.open("~/found") == found


def test_what_is_no_task_is_answered_with_what_a_task_is(make_rows) -> None:
    with pytest.raises(ConfigError, match=r"^task= .* is the class of an answer; a task is Task\(output="):
        Dataset.load(make_rows(1), task=st.tasks.SOAPNote)
