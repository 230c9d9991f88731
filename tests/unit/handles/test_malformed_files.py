"""Files that are broken: each gives a `DataError` with file and row, or a ledger entry; never a row's text."""

from __future__ import annotations

import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.tasks.spec import TaskSpec

quick = settings(max_examples=40, deadline=None)
SECRET = "privatewords"
GOOD = {"ticket": f"the {SECRET}", "title": f"a {SECRET}", "urgency": 1}
LINE = json.dumps(GOOD).encode() + b"\n"
HEAD = b"ticket,title,urgency\n"
CELLS = f"the {SECRET},a {SECRET},1\n".encode()


def load(
    suffix: str, data: bytes, task: TaskSpec, on_bad_row: Literal["error", "ledger"] = "error"
) -> Dataset | DataError:
    """The dataset or the error; anything else that is raised fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"rows{suffix}"
        file.write_bytes(data)
        found: Dataset | DataError
        try:
            found = Dataset.load(file, task=task, on_bad_row=on_bad_row, into=Path(folder) / "out")
            found.verify()
            found.ledger.reconcile(sum(found.ledger.counts().values()))
        except DataError as error:
            found = error
    if isinstance(found, DataError):
        assert SECRET not in str(found)
        assert f"rows{suffix}" in str(found)
    return found


@pytest.mark.parametrize(
    ("suffix", "data", "message"),
    [
        (".jsonl", b"", r"rows\.jsonl is empty"),
        (".jsonl", b"\n \n", "has no rows"),
        (".jsonl", LINE + b"\n" + LINE[:-10], r"row 2 \(line 3\), not valid JSON \(column \d+"),
        (".jsonl", LINE + b'{"ticket": "\xff"}\n', r"row 2 \(line 2\), not UTF-8 text"),
        (".jsonl", LINE + b"[1]\n", "row 2 .*one list where an object is needed"),
        (".jsonl", LINE + LINE.replace(b"{", b'{"title": "x", '), "a key stands twice"),
        (".jsonl", LINE.replace(b"1", b"NaN"), "NaN is not JSON"),
        (".jsonl", LINE.replace(b"1", b"9" * 5000), "a number is too long"),
        (".jsonl", LINE.replace(b"1", b"[" * 100_000), "nested too deeply"),
        (".jsonl", LINE.replace(b"the ", b"\\u0000"), "column 'ticket': the text holds a NUL character"),
        (".jsonl", LINE.replace(b"the ", b"\\ud800"), "column 'ticket': .*not valid Unicode"),
        (".jsonl", LINE + b'{"ticket": "a", "urgency": 1}\n', r"row 2 \(line 2\), column 'title': .*missing"),
        (".jsonl", LINE + b'{"ticket": "a", "title": null, "urgency": 1}\n', "column 'title': the value is null"),
        (".jsonl", LINE + b'{"ticket": "a", "title": " ", "urgency": 1}\n', "column 'title': the value is empty"),
        (
            ".jsonl",
            LINE + b'{"ticket": "a", "title": 5, "urgency": 1}\n',
            "'title': text is needed, and this is an integer",
        ),
        (
            ".jsonl",
            LINE + b'{"ticket": ["a"], "title": "b", "urgency": 1}\n',
            "'ticket': text is needed, and this is a list",
        ),
        (
            ".jsonl",
            LINE + b'{"ticket": "a", "title": "b", "urgency": 1.5}\n',
            "'urgency': an integer is needed, and this is a number",
        ),
        (
            ".jsonl",
            LINE + b'{"ticket": "a", "title": "b", "urgency": "soon"}\n',
            "'urgency': an integer is needed, and this is text",
        ),
        (".jsonl", LINE.replace(b"}", b', "facts": 5}'), "'facts': a list of facts"),
        (".jsonl", b'{"text": "a"}\n', "no column 'ticket'.*there are: 'text'"),
        (".jsonl", LINE.decode().encode("utf-16"), "is UTF-16 text"),
        (".jsonl", LINE.replace(b"}", b', "id": 7}') * 2, r"row 2 .*column 'id': its id is that of row 1"),
        (".json", b"[", "not valid JSON"),
        (".json", b"[]", "has no rows"),
        (".json", b"5", "one number"),
        (".json", b"[" + LINE + b"," + LINE[:-8], r"row 2 \(line \d+, column \d+\): not valid JSON"),
        (".json", b"[" + LINE + LINE + b"]", "after row 1: not valid JSON: a comma or ']' is missing"),
        (".json", b"[" + LINE, "after row 1: .*ends in the middle"),
        (".json", b"[" + LINE + b"] x", "more text after the list"),
        (".json", b"[" + LINE + b",\n5]", r"row 2 \(line 3\), one number where an object"),
        (".json", b'[\n{"a": "\xff"}]', "line 2: not UTF-8"),
        (".csv", HEAD, "has no rows"),
        (".csv", HEAD + CELLS + b"a,b\n", r"row 2 \(line 3\), 2 field\(s\) where the header has 3"),
        (".csv", HEAD + CELLS + b'"a,b,1\n' + CELLS, r"row 2 \(from line 3\): not valid CSV"),
        (".csv", HEAD + b'"a"b,c,1\n', r"row 1 \(from line 2\): not valid CSV"),
        (".csv", HEAD + CELLS + b"a\xff,b,1\n", r"row 2 \(line 3\): not UTF-8"),
        (".csv", HEAD + b"a\0,b,1\n", r"row 1 \(line 2\): it holds NUL bytes"),
        (".csv", b"ticket,title,title\n", "the column 'title' twice"),
        (".csv", b"ticket;title;urgency\n", "semicolons"),
        (".csv", HEAD + b'"a\nb",c,1\na,,1\n', r"row 2 \(line 4\), column 'title': the value is empty"),
        (".csv", (HEAD + CELLS).decode().encode("utf-16"), "UTF-16"),
        (".parquet", b"PAR1", "cannot be read as Parquet"),
        (".arrow", b"ARROW1\0\0", "cannot be read as Arrow"),
        (".arrow", b"\xff", "cannot be read as Arrow"),
    ],
)
def test_the_error_names_file_row_and_column(task: TaskSpec, suffix: str, data: bytes, message: str) -> None:
    found = load(suffix, data, task)
    assert isinstance(found, DataError)
    assert re.search(message, str(found))


def test_bad_rows_go_to_the_ledger_when_asked(task: TaskSpec) -> None:
    Path("rows.jsonl").write_bytes(LINE + b"{\n" + LINE.replace(b"1", b'"x"') + LINE + b'{"ticket": "a"}\n')
    loaded = Dataset.load("rows.jsonl", task=task, on_bad_row="ledger")
    assert {row.id: (row.fate, row.reason) for row in loaded.ledger} == {
        "train-000000": ("kept", ""),
        "train#2": ("dropped", "not valid JSON (column 2: Expecting property name enclosed in double quotes)"),
        "train#3": ("dropped", "column 'urgency': an integer is needed, and this is text"),
        "train-000003": ("kept", ""),
        "train#5": ("dropped", "column 'title': the value is missing"),
    }
    assert loaded["train"]["id"][:] == ["train-000000", "train-000003"]


def test_a_file_without_a_usable_row_is_an_error_also_with_the_ledger(task: TaskSpec) -> None:
    result = load(".csv", HEAD + b"a,,1\n,b,1\n", task, "ledger")
    assert "none of its 2 row(s) can be used. The first: column 'title': the value is empty" in str(result)


def test_a_parquet_file_with_strings_that_are_not_utf8_names_the_row(task: TaskSpec) -> None:
    broken = pa.array([b"fine", b"\xff"], pa.binary()).view(pa.string())
    table = pa.table({"ticket": broken, "title": ["a", "b"], "urgency": [1, 2]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert "row 2, column 'ticket': the text is not UTF-8" in str(load(".parquet", sink.getvalue(), task))


def test_a_parquet_file_with_a_column_twice_is_told(task: TaskSpec) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["ticket", "ticket"]), sink)
    assert "the column 'ticket' twice" in str(load(".parquet", sink.getvalue(), task))


@quick
@given(st.data())
def test_a_file_cut_anywhere_is_an_error_or_loses_nothing_in_silence(task: TaskSpec, data: st.DataObject) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([GOOD] * 5), sink)
    whole = {
        ".jsonl": LINE * 5,
        ".json": b"[" + b",".join([LINE] * 5) + b"]",
        ".csv": HEAD + CELLS * 5,
        ".parquet": sink.getvalue(),
    }
    suffix = data.draw(st.sampled_from(sorted(whole)))
    cut = data.draw(st.integers(0, len(whole[suffix]) - 1))
    mode: Literal["error", "ledger"] = data.draw(st.sampled_from(["error", "ledger"]))
    result = load(suffix, whole[suffix][:cut], task, mode)
    if suffix in (".json", ".parquet"):
        assert isinstance(result, DataError)


@quick
@given(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow"]), st.binary(max_size=200))
def test_any_bytes_are_a_dataset_or_a_data_error(task: TaskSpec, suffix: str, data: bytes) -> None:
    load(suffix, data, task)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
any_rows = st.lists(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("id", "ticket", "title", "urgency", "facts", "group", "more"), values)
    ),
    max_size=5,
)


@quick
@given(any_rows, st.sampled_from(["error", "ledger"]))
def test_any_objects_reconcile(task: TaskSpec, rows: list[dict[str, Any]], mode: Literal["error", "ledger"]) -> None:
    good = {"id": "fine", **GOOD}
    data = "".join(json.dumps(row) + "\n" for row in [good, *rows]).encode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes(data)
        try:
            loaded = Dataset.load(file, task=task, on_bad_row=mode, into=Path(folder) / "out")
        except DataError:
            assert mode == "error"
            return
        loaded.verify()
        ledger = loaded.ledger
        ledger.reconcile(1 + len(rows))
        assert ledger.in_use() == loaded.counts
        assert loaded.table("train").column("id").to_pylist()[0] == "fine"
        for row in loaded.table("train").to_pylist():
            assert isinstance(task.outputs(row)["urgency"], int | float)
        _ = loaded.facts("train")
