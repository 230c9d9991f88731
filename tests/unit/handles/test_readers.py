from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, field_validator

from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.tasks import Task
from soaptune.tasks.fact import Fact
from soaptune.tasks.spec import TaskSpec

Rows = list[dict[str, Any]]
MakeRows = Callable[[int], Rows]


def write(path: Path, rows: Rows) -> Path:
    """Writes rows in the format that the suffix says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(str(path), table.schema) as stream:
            stream.write_table(table)
    return path


SUFFIXES = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows(tmp_path: Path, task: TaskSpec, make_rows: MakeRows, suffix: str) -> None:
    data = Dataset.load(write(tmp_path / f"rows{suffix}", make_rows(3)), task=task)
    assert data["train"].to_list() == [
        {"id": f"train-00000{i}", "ticket": f"the lamp {i} is broken", "title": f"lamp {i}", "urgency": str(i)}
        for i in range(3)
    ]
    reference = Dataset.load(write(tmp_path / "reference.jsonl", make_rows(3)), task=task)
    assert data.fingerprint == reference.fingerprint
    assert data.ledger.counts()["kept"] == 3
    assert not data.manifest.synthetic


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_other_names_are_mapped_and_the_others_stay(tmp_path: Path, task: TaskSpec, suffix: str) -> None:
    rows: Rows = [{"n": 7, "body": "text", "title": "a title", "urgency": 2, "room": "attic"}]
    source = write(tmp_path / f"rows{suffix}", rows)
    data = Dataset.load(source, task=task, columns={"ticket": "body", "id": "n"}, split="test", into=tmp_path / "out")
    assert data.path == tmp_path / "out"
    assert data.splits == ("test",)
    table = data.table("test")
    assert table.column_names == ["id", "ticket", "title", "urgency", "room"]
    assert table.to_pylist() == [{"id": "7", "ticket": "text", "title": "a title", "urgency": "2", "room": "attic"}]
    assert data.manifest.how == {
        "step": "load",
        "files": {"test": source.name},
        "columns": {"ticket": "body", "id": "n"},
    }


def test_a_column_whose_name_the_dataset_needs_otherwise_is_kept_under_another(tmp_path: Path, task: TaskSpec) -> None:
    rows: Rows = [{"id": "x", "ticket": "raw", "clean": "text", "title": "a", "urgency": 2}] * 2
    source = write(tmp_path / "rows.jsonl", rows)
    data = Dataset.load(source, task=task, columns={"ticket": "clean"}, ids="make")
    assert data.table("train").column_names == [
        "id",
        "ticket",
        "title",
        "urgency",
        "original_id",
        "original_ticket",
    ]
    assert data["train"]["id"][:] == ["train-000000", "train-000001"]


def test_one_file_per_split_as_a_mapping_or_a_folder(tmp_path: Path, task: TaskSpec, make_rows: MakeRows) -> None:
    train = write(tmp_path / "train.csv", make_rows(4))
    validation = write(tmp_path / "val.jsonl", make_rows(2))
    write(tmp_path / "extra.csv", make_rows(1))
    mapped = Dataset.load({"train": train, "validation": str(validation)}, task=task)
    found = Dataset.load(tmp_path, task=task)
    assert mapped.counts == found.counts == {"train": 4, "validation": 2}
    assert mapped.fingerprint == found.fingerprint
    assert found.manifest.how["files_passed_over"] == ["extra.csv"]


def test_saved_hugging_face_datasets_load_with_their_splits_and_labels(
    tmp_path: Path, task: TaskSpec, make_rows: MakeRows
) -> None:
    import datasets

    one = datasets.Dataset.from_list(make_rows(3)).select([2, 0])
    one = one.add_column("kind", [1, 0]).cast_column("kind", datasets.ClassLabel(names=["lamp", "door"]))
    one.save_to_disk(str(tmp_path / "one"))
    data = Dataset.load(tmp_path / "one", task=task, split="test")
    assert data["test"]["title"][:] == ["lamp 2", "lamp 0"]
    assert data.table("test").column("kind").to_pylist() == ["door", "lamp"]
    datasets.DatasetDict(train=one, dev=one).save_to_disk(str(tmp_path / "two"))
    assert Dataset.load(tmp_path / "two", task=task).counts == {"train": 2, "dev": 2}
    assert Dataset.load({"test": tmp_path / "one"}, task=task).splits == ("test",)
    with pytest.raises(DataError, match="holds the splits train, dev; as the split 'a'"):
        Dataset.load({"a": tmp_path / "two"}, task=task)
    for file in (tmp_path / "one").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="one cannot be read as a saved dataset"):
        Dataset.load(tmp_path / "one", task=task)


def test_loading_the_same_content_again_reuses_the_folder(tmp_path: Path, task: TaskSpec, make_rows: MakeRows) -> None:
    source = write(tmp_path / "rows.csv", make_rows(2))
    one = Dataset.load(source, task=task)
    assert Dataset.load(str(source), task=task).path == one.path
    write(source, make_rows(3))
    assert Dataset.load(source, task=task).path != one.path


def test_ids_that_count_from_zero_in_each_file_are_prefixed(
    tmp_path: Path, task: TaskSpec, make_rows: MakeRows
) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.jsonl", [{"id": i, **row} for i, row in enumerate(make_rows(2))])
    data = Dataset.load(tmp_path, task=task)
    assert data["test"]["id"][:] == ["test-0", "test-1"]
    assert "prefixed" in data.manifest.how["ids"]
    assert Dataset.load(tmp_path / "test.jsonl", task=task)["train"]["id"][:] == ["0", "1"]


def test_facts_and_groups_come_along(tmp_path: Path, task: TaskSpec, make_rows: MakeRows) -> None:
    fact = {"field": "title", "kind": "thing", "value": "lamp", "start": 4, "end": 8, "source": "ticket"}
    rows = [{**row, "facts": [fact], "group": 5} for row in make_rows(2)]
    as_text = [{**row, "facts": json.dumps([fact])} for row in rows]
    for source in (
        write(tmp_path / "a.jsonl", rows),
        write(tmp_path / "a.parquet", rows),
        write(tmp_path / "a.csv", as_text),
    ):
        data = Dataset.load(source, task=task)
        assert data.facts("train")["train-000001"] == [Fact(**fact)]  # type: ignore[arg-type]
        assert data.table("train").column("group").to_pylist() == ["5", "5"]


def test_a_loaded_dataset_exported_as_json_lines_loads_as_the_same(
    tmp_path: Path, task: TaskSpec, make_rows: MakeRows
) -> None:
    data = Dataset.load(write(tmp_path / "a.jsonl", make_rows(3)), task=task)
    rows = [{**row, **task.outputs(row)} for row in data.table("train").to_pylist()]
    again = Dataset.load(write(tmp_path / "b.jsonl", rows), task=task)
    assert again.fingerprint == data.fingerprint


EXPORTS: dict[str, Callable[[Dataset, Path], object]] = {
    "file": lambda data, _: Path(data.path) / "train.parquet",  # type: ignore[attr-defined]
    "table": lambda data, _: data.table("train"),
    "frame": lambda data, _: data["train"].to_pandas(),
    "saved": lambda data, _: data["train"],
    "parquet": lambda data, path: (data["train"].to_parquet(path / "out.parquet"), path / "out.parquet")[1],
    "jsonl": lambda data, path: (data["train"].to_json(path / "out.jsonl"), path / "out.jsonl")[1],
    "csv": lambda data, path: (data["train"].to_csv(path / "out.csv"), path / "out.csv")[1],
}


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("people", [["7", None, '"x"', "null", ""], [None, None], ["seven"]])
def test_a_dataset_s_own_rows_load_as_the_same(tmp_path: Path, export: str, people: list[str | None]) -> None:
    rows = [{**ORDER, "people": text} for text in people]
    data = Dataset.load(write(tmp_path / "a.jsonl", rows), task=ORDERS, into=tmp_path / "data")
    again = Dataset.load(EXPORTS[export](data, tmp_path), task=ORDERS, into=tmp_path / "again")
    assert again.fingerprint == data.fingerprint


class Count(BaseModel):
    count: int
    note: str | int


COUNTS = Task(name="n", system_prompt="", user_template="{text}", output=Count, rubric={})


@pytest.mark.parametrize(("note", "stored"), [(5, "5"), ("5", '"5"')])
def test_a_dataset_s_own_file_is_known_where_its_texts_do_not_show_it(
    tmp_path: Path, note: object, stored: str
) -> None:
    data = Dataset.load([{"text": "t", "count": 3, "note": note}], task=COUNTS, into=tmp_path / "data")
    again = Dataset.load(tmp_path / "data" / "train.parquet", task=COUNTS, into=tmp_path / "again")
    assert again.fingerprint == data.fingerprint
    assert again["train"]["note"][:] == [stored]


def test_a_dataset_s_own_table_with_a_column_of_other_texts_is_read_as_these(tmp_path: Path) -> None:
    data = Dataset.load([{**ORDER, "people": None}] * 2, task=ORDERS, into=tmp_path / "data")
    table = data.table("train")
    place = table.column_names.index("people")
    other = table.set_column(place, "people", pa.array(["two", '"two"']))
    with pytest.raises(DataError, match="column 'table': allowed are '1', '2'"):
        Dataset.load(other, task=ORDERS)


class Item(BaseModel):
    name: str
    price: float
    unit: Literal["piece", "pound"] = "piece"


class Order(BaseModel):
    people: str | None
    table: Literal["1", "2"] | None
    paid: bool
    count: int
    share: float | None
    day: date | None
    items: list[Item]
    note: str | int = ""
    tags: list[str] = []


ORDERS = Task(
    name="orders",
    system_prompt="",
    user_template="{text}",
    output=Order,
    rubric=dict.fromkeys(Order.model_fields, "right"),
)
ORDER: dict[str, Any] = {
    "text": "t",
    "people": "7",
    "table": "1",
    "paid": True,
    "count": 3,
    "share": 1,
    "day": "2024-02-29",
    "items": [{"price": 2, "name": "tea"}, {"name": "rum", "price": 2.5, "unit": "pound"}],
    "note": "5",
    "tags": ["a"],
}


def orders(path: Path, *changes: dict[str, Any]) -> list[Order]:
    """Loads rows from a file of the suffix's format, and reads them as training would."""
    rows = [{key: value for key, value in {**ORDER, **change}.items() if value is not ...} for change in changes]
    data = Dataset.load(write(path, rows), task=ORDERS, into=path.with_suffix(""))
    return [ORDERS.parse(ORDERS.answer(ORDERS.outputs(row))) for row in data["train"]]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow", ".feather"])
def test_rows_with_types_keep_them(tmp_path: Path, suffix: str) -> None:
    texts = ["7", "true", "null", '"x"', "[]", "two", "", None]
    found = orders(tmp_path / f"a{suffix}", *({"people": text, "table": None} for text in texts))
    assert [order.people for order in found] == texts
    (order,) = orders(tmp_path / f"b{suffix}", {})
    assert order == Order.model_validate({key: value for key, value in ORDER.items() if key != "text"})
    assert order.note == "5"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_what_has_a_default_may_be_absent(tmp_path: Path, suffix: str) -> None:
    absent = {"note": ..., "tags": ...}
    assert orders(tmp_path / f"a{suffix}", absent) == orders(tmp_path / f"b{suffix}", {"note": "", "tags": []})
    found = orders(tmp_path / f"c{suffix}", {}, absent)
    assert [(order.note, order.tags) for order in found] == [("5", ["a"]), ("", [])]


def test_columns_with_types_of_arrow_are_read_as_the_task_has_them(tmp_path: Path) -> None:
    class Typed(BaseModel):
        day: date
        price: Decimal
        counts: dict[str, int]
        sizes: dict[str, int]

    task = Task(name="t", system_prompt="", user_template="{text}", output=Typed, rubric={})
    columns = {
        "text": ["a", "b"],
        "day": pa.array([date(2024, 2, 29)] * 2),
        "price": pa.array([Decimal("2.50")] * 2),
        "counts": pa.array([[("x", 1)], []], pa.map_(pa.string(), pa.int64())),
        "sizes": pa.array([{"x": 1}, {"y": 2}]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    data = Dataset.load(tmp_path / "a.parquet", task=task)
    found = [task.parse(task.answer(task.outputs(row))) for row in data["train"]]
    assert found[0] == Typed(day=date(2024, 2, 29), price=Decimal("2.50"), counts={"x": 1}, sizes={"x": 1})
    assert (found[1].counts, found[1].sizes) == ({}, {"y": 2})


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"paid": "True", "count": "7"}, {"paid": True, "count": 7}),
        ({"paid": "false", "count": "7.0"}, {"paid": False, "count": 7}),
        ({"people": "", "table": "", "share": "", "day": ""}, dict.fromkeys(["people", "table", "share", "day"])),
        ({"people": "null", "table": "2"}, {"people": "null", "table": "2"}),
        ({"people": "7", "share": "1e-1"}, {"people": "7", "share": 0.1}),
        ({"note": "", "tags": ""}, {"note": "", "tags": []}),
        ({"note": "5"}, {"note": 5}),
        ({"note": "five"}, {"note": "five"}),
        ({"items": '[{"name": "tea", "price": 2}]'}, {"items": [Item(name="tea", price=2)]}),
    ],
)
def test_cells_are_read_by_the_type_of_their_field(
    tmp_path: Path, cells: dict[str, str], expected: dict[str, Any]
) -> None:
    as_text = {"items": json.dumps(ORDER["items"]), "tags": '["a"]'}
    (order,) = orders(tmp_path / "a.csv", {**as_text, **cells})
    assert {key: getattr(order, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "7"}, "column 'count': an integer is needed, and this is text"),
        ({"count": None}, "column 'count': the value is null"),
        ({"count": ...}, "has no column 'count'"),
        ({"day": "2024-02-31"}, "column 'day': a date that exists, as YYYY-MM-DD is needed"),
        ({"table": "3"}, "column 'table': allowed are '1', '2'"),
        ({"items": [{"name": "a", "price": 1}] * 3 + [{"name": "b", "price": "secret"}]},
         r"column 'items': items\[3\]\.price: a number is needed, and this is text"),
        ({"items": [{"name": "a", "price": 1, "unit": "pounds"}]},
         r"items\[0\]\.unit: allowed are 'piece', 'pound' \(did you mean 'pound'\?\)"),
        ({"items": [{"name": "a", "Price": 1}]}, r"items\[0\]\.price: the field is missing"),
        ({"items": [{"name": "a", "price": 1, "secret": 1}]}, r"there are 'name', 'price', 'unit'"),
        ({"items": "secret"}, "JSON text is needed for a list or an object"),
    ],
)  # fmt: skip
def test_an_error_names_the_place_inside_of_a_record(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        orders(tmp_path / "a.jsonl", change)
    assert "secret" not in str(caught.value)


def test_the_class_s_own_validators_have_their_say_when_rows_are_loaded(tmp_path: Path) -> None:
    class Word(BaseModel):
        word: str

        @field_validator("word")
        @classmethod
        def _lower(cls, word: str) -> str:
            if " " in word:
                raise ValueError("secret")
            return word.lower()

    task = Task(name="w", system_prompt="", user_template="{text}", output=Word, rubric={"word": "one word"})
    rows: Rows = [{"text": "a", "word": "TEA"}, {"text": "b", "word": "two secrets"}]
    source = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"row 2 \(line 2\), column 'word'") as caught:
        Dataset.load(source, task=task)
    assert "secret" not in str(caught.value)
    assert Dataset.load(source, task=task, on_bad_row="ledger")["train"]["word"][:] == ["tea"]


@pytest.mark.parametrize(
    ("field", "stored"), [("people", "null"), ("items", "[]"), ("tags", "[]"), ("note", '""'), ("share", "null")]
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_any_field_that_has_an_empty_value_may_be_empty(tmp_path: Path, field: str, stored: str, suffix: str) -> None:
    row = {**ORDER, "items": json.dumps(ORDER["items"]), "tags": '["a"]'}
    empty = "" if suffix == ".csv" else None
    source = write(tmp_path / f"a{suffix}", [{**row, field: empty}, row])
    data = Dataset.load(source, task=ORDERS, allow_empty=[field])
    assert data["train"][field][0] == stored
    with pytest.raises(DataError, match="no value that stands for nothing"):
        Dataset.load(write(tmp_path / f"b{suffix}", [{**row, "count": empty}]), task=ORDERS, allow_empty=["count"])


def test_restaurant8k_keeps_all_its_rows(tmp_path: Path, shared_dir: Path) -> None:
    class Booking(BaseModel):
        people: str | None
        time: str | None

    task = Task(
        name="slots", system_prompt="", user_template="{text}", output=Booking, rubric={"people": "", "time": ""}
    )
    rows: Rows = []
    for turn in json.loads((shared_dir / "data" / "restaurant8k" / "train_5.json").read_text())[:256]:
        text = turn["userInput"]["text"]
        spans = {label["slot"]: label["valueSpan"] for label in turn.get("labels", ())}
        row = {"text": text, "people": None, "time": None}
        for slot, span in spans.items():
            if slot in row:
                row[slot] = text[span.get("startIndex", 0) : span["endIndex"]]
        rows.append(row)
    assert sum((row["people"] or "").isdigit() for row in rows) > 10
    for suffix in (".jsonl", ".parquet", ".csv"):
        data = Dataset.load(write(tmp_path / f"rows{suffix}", rows), task=task)
        assert data.counts == {"train": len(rows)}
        found = [task.parse(task.answer(task.outputs(row))) for row in data["train"]]
        assert [one.model_dump() for one in found] == [{"people": r["people"], "time": r["time"]} for r in rows]


def test_metadata_keeps_its_type_where_it_has_one(tmp_path: Path, task: TaskSpec, make_rows: MakeRows) -> None:
    more: Rows = [
        {"n": 1, "x": 1.5, "yes": True, "mixed": 1, "nested": {"a": []}, "huge": 2**70},
        {"n": None, "x": 2, "mixed": "a", "odd": "\ud800"},
    ]
    rows = [{**row, **extra} for row, extra in zip(make_rows(2), more, strict=True)]
    table = Dataset.load(write(tmp_path / "a.jsonl", rows), task=task).table("train")
    kept = table.select([name for name in table.column_names if name not in ("id", *task.fields)])
    assert kept.to_pylist() == [
        {"n": 1, "x": 1.5, "yes": True, "mixed": "1", "nested": '{"a": []}', "huge": str(2**70), "odd": None},
        {"n": None, "x": 2.0, "yes": None, "mixed": '"a"', "nested": None, "huge": None, "odd": '"\\ud800"'},
    ]


def test_json_wrapped_in_an_object_or_written_in_lines_is_read(
    tmp_path: Path, task: TaskSpec, make_rows: MakeRows
) -> None:
    texts = {
        "wrapped": json.dumps({"data": make_rows(2)}),
        "lines": "".join(json.dumps(row) + "\r\n\n" for row in make_rows(2)),
        "marked": "\ufeff" + json.dumps(make_rows(2), indent=2),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        assert Dataset.load(tmp_path / f"{name}.json", task=task).counts == {"train": 2}
    (tmp_path / "one.json").write_text(json.dumps(make_rows(1)[0]))
    assert Dataset.load(tmp_path / "one.json", task=task).counts == {"train": 1}


def test_csv_of_the_wild_is_read(tmp_path: Path, task: TaskSpec) -> None:
    long = "word " * 100_000
    text = f',ticket,title,urgency\r\n0,"one ""two""\nthree",a,1\r\n\r\n1,{long},b,2\r\n'
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    limit = csv.field_size_limit()
    data = Dataset.load(tmp_path / "a.csv", task=task)
    assert csv.field_size_limit() == limit
    assert data["train"]["ticket"][:] == ['one "two"\nthree', long]
    assert data.table("train").column("unnamed_1").to_pylist() == ["0", "1"]


def test_fields_may_be_empty_where_the_caller_says_so(tmp_path: Path, task: TaskSpec) -> None:
    rows: Rows = [{"ticket": "a", "title": "", "urgency": 1}, {"ticket": "b", "urgency": 1}]
    source = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"row 1 \(line 1\), column 'title': the value is empty\. 1 more row"):
        Dataset.load(source, task=task)
    assert Dataset.load(source, task=task, allow_empty=("title",))["train"]["title"][:] == ["", ""]
    (tmp_path / "b.csv").write_text("ticket,urgency\na,1\n")
    assert Dataset.load(tmp_path / "b.csv", task=task, allow_empty=["title"])["train"]["title"][:] == [""]


def test_numbers_may_be_inputs(tmp_path: Path, task: TaskSpec) -> None:
    rows: Rows = [{"ticket": 12, "title": "a", "urgency": 1}, {"ticket": 1.5, "title": "a", "urgency": 1}]
    assert Dataset.load(write(tmp_path / "a.jsonl", rows), task=task)["train"]["ticket"][:] == ["12", "1.5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"tickets": "a"}}, "columns= has 'tickets', no field of the task.*did you mean 'ticket'"),
        ({"columns": {"body": "ticket"}}, "The keys are the task's fields"),
        ({"columns": {"ticket": "body"}}, "no column 'body' for the field 'ticket'.*there are: 'ticket', 'title'"),
        ({"columns": {"id": "nr"}}, "no column 'nr' for the field 'id'"),
        ({"columns": {"id": "title"}, "ids": "make"}, "says not to take ids"),
        ({"allow_empty": ["tickets"]}, "allow_empty= has 'tickets'"),
        ({"allow_empty": "title"}, r"for one field: \('title',\)"),
    ],
)
def test_options_that_do_not_fit_are_told(
    tmp_path: Path, task: TaskSpec, make_rows: MakeRows, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.load(write(tmp_path / "a.jsonl", make_rows(1)), task=task, **options)


def test_sources_that_are_no_files_are_told(tmp_path: Path, task: TaskSpec, make_rows: MakeRows) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Dataset.load(tmp_path / "none.csv", task=task)
    with pytest.raises(DataError, match="not a local path"):
        Dataset.load("s3://bucket/a.csv", task=task)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"'\.txt' says no format.*\.jsonl"):
        Dataset.load(tmp_path / "a.txt", task=task)
    with pytest.raises(DataError, match="mapping from splits to files is empty"):
        Dataset.load({}, task=task)
    with pytest.raises(DataError, match=r"no file is named after a split.*none"):
        Dataset.load(tmp_path, task=task)
    write(tmp_path / "train.csv", make_rows(1))
    write(tmp_path / "Training.jsonl", make_rows(1))
    with pytest.raises(DataError, match=r"both Training\.jsonl and train\.csv look like the split 'train'"):
        Dataset.load(tmp_path, task=task)
    data = Dataset.load(tmp_path / "train.csv", task=task)
    with pytest.raises(DataError, match=r"open it with Dataset\.open"):
        Dataset.load(data.path, task=task)


def test_mts_dialog_loads_with_a_mapping_and_its_leak_is_found(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "mts-dialog"
    section = TaskSpec(
        name="section",
        system_prompt="Write the section.",
        user_template="{dialogue}",
        output_schema={"type": "object", "properties": {"text": {"type": "string"}}},
        output_fields=("text",),
        input_fields=("dialogue",),
    )
    data = Dataset.load(
        {
            "train": folder / "MTS-Dialog-TrainingSet.csv",
            "validation": folder / "MTS-Dialog-ValidationSet.csv",
        },
        task=section,
        columns={"text": "section_text", "id": "ID"},
    )
    assert data.counts == {"train": 1201, "validation": 100}
    assert len(data.leakage("validation")) == 2
    anew = data.split("80/10/10", seed=1)
    assert anew.counts == {"train": 1041, "validation": 130, "test": 130}
    assert anew.leakage("test") == anew.leakage("validation") == ()
    anew.ledger.reconcile(1301)
