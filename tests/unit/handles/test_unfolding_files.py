"""Small files that stand for very large tables are refused before they fill the memory; the error names the limit."""

from __future__ import annotations

import resource
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from soaptune.common import columnar
from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.readers import values
from soaptune.tasks.spec import TaskSpec

ROW = {"ticket": "a", "title": "b", "urgency": 1}


def refused(source: Any, task: TaskSpec) -> str:
    """Why the source is refused; reading it must not have taken more than 600 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as caught:
        Dataset.load(source, task=task)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000
    return str(caught.value)


def of_length(rows: int) -> pa.Table:
    return pa.table({name: pa.repeat(pa.scalar(value), rows) for name, value in ROW.items()})


def test_millions_of_rows_in_a_small_parquet_file(tmp_path: Path, task: TaskSpec) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(of_length(3_000_000), file, compression="zstd")
    assert file.stat().st_size < 113_000
    message = refused(file, task)
    assert "rows.parquet has more than 2,000,000 rows" in message
    assert "soaptune.common.columnar.MOST_ROWS" in message


def test_one_long_text_in_a_hundred_thousand_rows_of_parquet(tmp_path: Path, task: TaskSpec) -> None:
    long = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), 100_000), pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"ticket": long, "title": long, "urgency": [1] * 100_000}), tmp_path / "rows.parquet")
    # As other programs write it: nothing says that the column was a dictionary.
    pq.write_table(
        pa.table({"ticket": long, "title": long, "urgency": [1] * 100_000}),
        tmp_path / "plain.parquet",
        store_schema=False,
    )
    for name in ("rows", "plain"):
        assert (tmp_path / f"{name}.parquet").stat().st_size < 300_000
        assert "unfolds to more than 4,000,000,000 bytes" in refused(tmp_path / f"{name}.parquet", task)


def nulls(count: int) -> pa.Array:
    """Nulls that take no memory; those that `pa.nulls` makes do."""
    return pa.Array.from_buffers(pa.null(), count, [None], null_count=count)


@pytest.mark.parametrize("form", ["dictionary", "nulls", "rows", "views"])
def test_arrow_files_that_unfold(tmp_path: Path, task: TaskSpec, form: str) -> None:
    if form == "dictionary":
        texts = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), 100_000), pa.array(["x" * 100_000]))
        table = pa.table({"ticket": texts, "title": texts, "urgency": [1] * 100_000})
    elif form == "nulls":  # a list of two thousand million nulls takes 8 bytes
        lists = pa.ListArray.from_arrays(pa.array([0, 2_000_000_000], pa.int32()), nulls(2_000_000_000))
        table = pa.table({"ticket": ["a"], "title": ["b"], "urgency": [1], "more": lists})
    elif form == "rows":
        table = pa.table({"ticket": nulls(2_000_000_000)})
    else:
        one = struct.pack("<i4sii", 100_000, b"xxxx", 0, 0)  # a length, the first letters, a buffer and a place in it
        buffers = [None, pa.py_buffer(one * 100_000), pa.py_buffer(b"x" * 100_000)]
        views = pa.Array.from_buffers(pa.string_view(), 100_000, buffers)
        table = pa.table({"ticket": views, "title": views, "urgency": [1] * 100_000})
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    message = refused(tmp_path / "rows.arrow", task)
    assert "rows.arrow" in message
    assert "more than" in message


def test_text_files_have_the_same_limits_and_a_limit_is_lifted_by_its_name(
    tmp_path: Path, task: TaskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_text("ticket,title,urgency\n" + "a,b,1\n" * 20)
    monkeypatch.setattr(columnar, "MOST_ROWS", 19)
    assert "rows.csv has more than 19 rows" in refused(tmp_path / "rows.csv", task)
    monkeypatch.setattr(columnar, "MOST_ROWS", 20)
    assert Dataset.load(tmp_path / "rows.csv", task=task, ids="make").counts == {"train": 20}
    monkeypatch.setattr(columnar, "MOST_BYTES", 100)
    assert "unfolds to more than 100 bytes" in refused(tmp_path / "rows.csv", task)


def test_a_value_has_a_longest_text(tmp_path: Path, task: TaskSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "LONGEST_TEXT", 1_000)
    pq.write_table(
        pa.table({**{name: [value] for name, value in ROW.items()}, "ticket": ["x" * 1_001]}), tmp_path / "a.parquet"
    )
    message = refused(tmp_path / "a.parquet", task)
    assert "column 'ticket': the text has more than 1,000 characters" in message
    assert "LONGEST_TEXT" in message


def test_a_sparse_file_and_a_pipe_are_refused_unread(tmp_path: Path, task: TaskSpec) -> None:
    with (tmp_path / "rows.jsonl").open("wb") as stream:
        stream.truncate(1 << 40)
    assert "unfolds to more" in refused(tmp_path / "rows.jsonl", task)


def test_a_dataset_has_as_many_rows_as_its_manifest_says(tmp_path: Path, task: TaskSpec) -> None:
    made = Dataset.load([ROW], task=task, into=tmp_path / "made")
    pq.write_table(pa.concat_tables([made.table("train")] * 2), tmp_path / "made" / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet has 2 row\(s\), and its manifest says 1"):
        Dataset.open(tmp_path / "made").table("train")


@pytest.mark.parametrize(("column", "value"), [("tokens", -5), ("fate", "eaten"), ("id", None)])
def test_a_ledger_holds_rows_of_a_ledger(tmp_path: Path, task: TaskSpec, column: str, value: Any) -> None:
    made = Dataset.load([ROW], task=task, into=tmp_path / "made")
    file = tmp_path / "made" / "ledger.parquet"
    table = pq.read_table(file)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array([value], table.column(column).type)), file)
    with pytest.raises(DataError, match=r"ledger\.parquet, row 1: this is no row of a ledger"):
        Dataset.open(tmp_path / "made").ledger.counts()
    assert made.counts == {"train": 1}
