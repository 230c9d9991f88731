from __future__ import annotations

import datetime
import decimal
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soaptune.common.fingerprint import TableHasher, fingerprint, fingerprint_table
from soaptune.errors import DataError

FACTS = pa.list_(pa.struct([("kind", pa.string()), ("start", pa.int32())]))

rows = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=8),
            "number": st.none() | st.integers(-(2**31), 2**31 - 1),
            "share": st.none() | st.floats(allow_nan=False),
            "yes": st.none() | st.booleans(),
            "facts": st.none()
            | st.lists(
                st.none()
                | st.fixed_dictionaries({"kind": st.none() | st.text(max_size=3), "start": st.integers(0, 9)}),
                max_size=3,
            ),
        }
    ),
    max_size=12,
)
SCHEMA = pa.schema(
    [("text", pa.string()), ("number", pa.int64()), ("share", pa.float64()), ("yes", pa.bool_()), ("facts", FACTS)]
)


def table_of(found: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(found, schema=SCHEMA)


@settings(max_examples=40, deadline=None)
@given(rows, st.data())
def test_rows_alone_decide_not_how_they_are_laid_out(found: list[dict[str, Any]], data: st.DataObject) -> None:
    table = table_of(found)
    expected = fingerprint_table(table)
    order = data.draw(st.permutations(table.column_names))
    assert fingerprint_table(table.select(order)) == expected
    cut = data.draw(st.integers(0, len(found)))
    assert fingerprint_table(pa.concat_tables([table.slice(0, cut), table.slice(cut)])) == expected
    padded = pa.concat_tables([table, table]).combine_chunks().slice(len(found), len(found))
    assert fingerprint_table(padded) == expected
    other = {
        "text": table["text"].dictionary_encode(),
        "number": table["number"].cast(pa.int32()),
        "share": table["share"],
        "yes": table["yes"],
        "facts": table["facts"].cast(pa.large_list(FACTS.value_type)),
    }
    assert fingerprint_table(pa.table(other)) == expected
    assert fingerprint_table(table.set_column(0, "text", table["text"].cast(pa.large_string()))) == expected


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 5))
def test_a_trip_through_parquet_changes_nothing(found: list[dict[str, Any]], group: int) -> None:
    table = table_of(found)
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=group)
    again = pq.ParquetFile(file)
    hasher = TableHasher(again.schema_arrow)
    for piece in again.iter_batches(batch_size=group):
        hasher.update(piece)
    assert hasher.digest() == fingerprint_table(again.read()) == fingerprint_table(table)


@settings(max_examples=40, deadline=None)
@given(rows, rows)
def test_other_rows_have_another_fingerprint(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> None:
    # As text, since 0.0 is not -0.0; by name, since the columns' order does not matter.
    same = json.dumps(table_of(one).to_pylist(), sort_keys=True) == json.dumps(
        table_of(two).to_pylist(), sort_keys=True
    )
    assert (fingerprint_table(table_of(one)) == fingerprint_table(table_of(two))) == same


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": ["xy", "z"]}, {"a": ["x", "yz"]}),
        ({"a": ["", None]}, {"a": [None, ""]}),
        ({"a": [0, None]}, {"a": [None, 0]}),
        ({"a": [[1], [2, 3]]}, {"a": [[1, 2], [3]]}),
        ({"a": [[], None]}, {"a": [None, []]}),
        ({"a": [{"b": None}]}, {"a": pa.array([None], pa.struct([("b", pa.null())]))}),
        ({"a": ["1"]}, {"a": [1]}),
        ({"a": ["x"]}, {"b": ["x"]}),
        ({"a": ["x"], "b": ["y"]}, {"a": ["y"], "b": ["x"]}),
        ({"a": pa.array([], pa.string())}, {"a": pa.array([], pa.string()), "b": pa.array([], pa.string())}),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}),
    ],
)
def test_near_misses_are_told_apart(one: Any, two: Any) -> None:
    assert fingerprint_table(pa.table(one)) != fingerprint_table(pa.table(two))


def test_what_lies_below_a_null_does_not_matter() -> None:
    full = pa.array(["x", "secret"])
    hidden = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x01"), *full.buffers()[1:]])
    assert hidden.to_pylist() == ["x", None]
    assert fingerprint_table(pa.table({"a": hidden})) == fingerprint_table(pa.table({"a": ["x", None]}))


def test_dates_decimals_and_bytes_have_a_fingerprint() -> None:
    table = pa.table(
        {
            "day": [datetime.date(2024, 2, 29), None],
            "time": pa.array([datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc), None]),
            "price": [decimal.Decimal("1.50"), None],
            "bytes": [b"\xff", None],
            "nothing": pa.nulls(2),
            "small": pa.array([1.5, None], pa.float16()),
            "tick": pa.array([datetime.time(1, 2), None]),
        }
    )
    assert fingerprint_table(table) == fingerprint_table(pa.concat_tables([table.slice(0, 1), table.slice(1)]))


def test_a_column_that_stands_twice_or_is_a_map_is_refused() -> None:
    with pytest.raises(DataError, match="stands twice"):
        fingerprint_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))
    with pytest.raises(DataError, match="'a' has the type map"):
        fingerprint_table(pa.table({"a": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}))


def test_an_object_has_one_fingerprint_whatever_the_order_of_its_keys() -> None:
    assert fingerprint({"a": 1, "b": [True, "ä"]}) == fingerprint({"b": (True, "ä"), "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    assert fingerprint({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(DataError, match="no fingerprint"):
        fingerprint(float("inf"))
