"""A dataset behaves as a reader of Hugging Face's expects, and its ledger says what became of every row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.tasks.fact import facts_type


@pytest.fixture
def data(task, make_rows) -> Dataset:
    rows = [{**row, "shop": "north" if index % 2 else "south"} for index, row in enumerate(make_rows(9))]
    return Dataset.load({"train": rows[:6], "test": rows[6:]}, task=task)


def titles(dataset: Dataset, split: str = "train") -> list[str]:
    return dataset.table(split).column("title").to_pylist()


def dropped(dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(row.id, row.reason, row.step) for row in dataset.ledger if row.fate == "dropped"]


def test_it_is_a_mapping_from_split_to_rows(data) -> None:
    assert len(data) == 2
    assert list(data) == list(data.keys()) == ["train", "test"]
    assert {split: len(rows) for split, rows in data.items()} == data.num_rows == {"train": 6, "test": 3}
    assert [rows.num_rows for rows in data.values()] == [6, 3]
    assert dict(data)["test"]["title"] == data["test"]["title"]


def test_datasets_are_equal_when_their_rows_are(data, task, make_rows, tmp_path: Path) -> None:
    again = Dataset.open(data.download(tmp_path / "copy").path)
    assert again == data
    assert len({again, data}) == 1
    assert again.path != data.path
    assert data != Dataset.load(make_rows(2), task=task)
    assert data != data.fingerprint


def test_filter_keeps_what_the_function_says_and_notes_the_rest(data) -> None:
    def urgent(row):
        return row["urgency"] >= 2 and row["shop"] == "south"  # a number is a number, and metadata is there

    found = data.filter(urgent)
    assert (titles(found), titles(found, "test")) == (["lamp 2", "lamp 4"], ["lamp 8"])
    assert found.counts == {"train": 2, "test": 1}
    assert {reason for _, reason, _ in dropped(found)} == {"filtered out by urgent"}
    assert {step for _, _, step in dropped(found)} == {"filter"}
    assert (len(dropped(found)), len(found.ledger)) == (6, 9)
    assert found.manifest.how == {
        "step": "filter",
        "function": "urgent",
        "from": {"fingerprint": data.fingerprint, "how": data.manifest.how},
    }
    assert data.counts == {"train": 6, "test": 3}
    found.verify()


def test_select_takes_places_in_their_order(data) -> None:
    assert titles(data.select([2, 0])) == ["lamp 2", "lamp 0"]
    found = data.select({"train": range(1, 3), "test": [-1]})
    assert (titles(found), titles(found, "test")) == (["lamp 1", "lamp 2"], ["lamp 8"])
    assert len(dropped(found)) == 6
    assert {(reason, step) for _, reason, step in dropped(found)} == {("not selected", "select")}
    assert data.select({"train": [0]}).counts == {"train": 1, "test": 3}


def test_map_changes_what_the_function_returns_and_nothing_else(data) -> None:
    def escalate(row):
        return {"urgency": row["urgency"] + 1, "title": row["title"].upper()} if row["shop"] == "north" else None

    found = data.map(escalate)
    assert titles(found) == ["lamp 0", "LAMP 1", "lamp 2", "LAMP 3", "lamp 4", "LAMP 5"]
    assert found.table("train").column("urgency").to_pylist() == ["0", "2", "2", "4", "4", "1"]
    assert found.table("train").column("shop").equals(data.table("train").column("shop"))
    notes = [(row.fate, row.reason) for row in found.ledger]
    assert notes.count(("kept", "changed by escalate")) == 4
    assert notes.count(("kept", "")) == 5
    assert found.manifest.how["from"]["fingerprint"] == data.fingerprint


def test_map_adds_columns_and_leaves_the_types_of_others(task) -> None:
    import datetime

    day = pa.array([datetime.date(2024, 2, 29)] * 2)
    table = pa.table({"id": ["a", "b"], "ticket": ["x", "y"], "title": ["p", "q"], "urgency": ["1", "2"], "day": day})
    data = Dataset.write(None, {"train": table}, task=task, how={})
    found = data.map(lambda row: {"length": len(row["title"]), "year": row["day"].year})
    assert found.table("train").column("day").type == pa.date32()
    assert found.table("train").column("length").to_pylist() == [1, 1]
    assert found.table("train").column("year").to_pylist() == [2024, 2024]
    assert data.map(lambda row: row) == data


def test_a_mapped_row_that_cannot_be_used_is_an_error_or_in_the_ledger(data) -> None:
    def spoil(row):
        return {"urgency": "a secret"} if row["title"] == "lamp 1" else None

    with pytest.raises(DataError, match=r"map\(\): train, row 2, column 'urgency'") as caught:
        data.map(spoil)
    assert "secret" not in str(caught.value)
    found = data.map(spoil, on_bad_row="ledger")
    assert found.counts == {"train": 5, "test": 3}
    ((row, reason, step),) = dropped(found)
    assert (row, step) == ("train-000001", "map")
    assert reason.startswith("column 'urgency'")


def test_facts_do_not_stay_behind_when_the_text_changes(task) -> None:
    facts = pa.array([[{"field": "title", "kind": "noun", "value": "x"}]], facts_type())
    table = pa.table({"id": ["a"], "ticket": ["x"], "title": ["p"], "urgency": ["1"], "facts": facts})
    data = Dataset.write(None, {"train": table}, task=task, how={})
    with pytest.raises(DataError, match="return its 'facts' too"):
        data.map(lambda row: {"ticket": "other"})
    assert data.map(lambda row: {"ticket": "other", "facts": []}).facts("train") == {"a": []}
    assert data.map(lambda row: {"ticket": "other", "facts": row["facts"]}).facts("train") == data.facts("train")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda data: data.filter(lambda row: row["urgncy"]), r"<lambda> fails at train row 1 \(KeyError\)"),
        (lambda data: data.filter(lambda row: False), r"No row is left after filter\(\)"),
        (lambda data: data.map(lambda row: {"id": "other"}), "the id of a row stays as it is"),
        (lambda data: data.map(lambda row: [row]), "a dict of the columns that change is expected, not a list"),
        (lambda data: data.select([6]), "The split 'train' has no row 6; it has 6"),
        (lambda data: data.select({"train": [0, -6]}), "A row of the split 'train' is selected twice"),
        (lambda data: data.select({"trian": [0]}), "no split 'trian'"),
    ],
)
def test_what_cannot_be_done_is_said(data, call, message) -> None:
    with pytest.raises(DataError, match=message):
        call(data)


def test_operations_follow_one_another_with_one_ledger(data) -> None:
    found = data.filter(lambda row: row["urgency"] < 4).select({"train": range(3)}).deduplicate()
    assert len(found.ledger) == 9
    assert [how["step"] for how in (found.manifest.how, found.manifest.how["from"]["how"])] == ["deduplicate", "select"]
    assert found.ledger.in_use() == found.counts


@pytest.mark.parametrize("wrong", [0, slice(2), None])
def test_what_is_no_splits_name_is_answered_with_how_to_get_a_row(data, wrong) -> None:
    with pytest.raises(DataError, match=r"^A dataset is a mapping from splits to rows: dataset\['train'\]\[0\]"):
        data[wrong]


def test_places_of_rows_are_several(data) -> None:
    with pytest.raises(DataError, match=r"^select\(\) takes places of rows, such as range\(100\)"):
        data.select(3)
