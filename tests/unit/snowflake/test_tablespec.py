"""Where a dataset lies in an account, and the SQL over it: pure text, without Snowflake's packages."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from soaptune.errors import ConfigError, DataError
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.location import Tables, TableSplit
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.spec import read_schema, read_tables, write_schema, write_tables
from soaptune.snowflake.tables.types import as_text, from_table, sql_type
from soaptune.snowflake.tables.write import column_names, split_names
from soaptune.tasks.spec import TaskSpec

pa = pytest.importorskip("pyarrow")

TASK = TaskSpec(
    name="ticket",
    system_prompt="Sort the ticket.",
    user_template="Ticket: {text}",
    output_schema={"type": "object", "properties": {"label": {"type": "string"}}},
    output_fields=("label",),
    input_fields=("text",),
)


def source(**changes: Any) -> Tables:
    part = TableSplit(table=("DB", "S", "T_TRAIN"), columns={"id": "ID", "text": "TEXT", "label": "LABEL"})
    values: dict[str, Any] = {
        "database": "DB",
        "db_schema": "S",
        "name": "T",
        "splits": {"train": part},
        "fingerprints": {"train": "account-sha256:1"},
        "manifest": DatasetManifest(
            fingerprint="sha256:1", task=TASK, counts={"train": 1}, split_fingerprints={"train": "x"}, how={}
        ),
    }
    return Tables(**{**values, **changes})


def test_tables_come_back_from_their_text_and_are_the_same_text_each_time() -> None:
    made = source()
    text = write_tables(made)
    assert read_tables(text) == made
    assert write_tables(read_tables(text)) == text
    first_release = "tables:" + text.replace('"fingerprints":', '"prints":')
    assert first_release.count("prints") == 1 + first_release.count("split_fingerprints")
    assert read_tables(first_release) == made


@pytest.mark.parametrize("text", ["tables:", "tables:[]", "tables:{}", 'tables:{"database": 1, "new": 2}', "{", "[]"])
def test_another_text_is_told_to_be_none(text: str) -> None:
    with pytest.raises(DataError, match="dataset in tables"):
        read_tables(text)


def test_a_split_is_a_table_or_a_query() -> None:
    with pytest.raises(ConfigError, match="either a table or a query"):
        TableSplit(columns={})
    with pytest.raises(ConfigError, match="either a table or a query"):
        TableSplit(table=("a", "b", "c"), sql="SELECT 1", columns={})


def test_names_and_columns_are_quoted_whatever_they_are() -> None:
    part = TableSplit(table=("my db", 'S"; DROP', "select"), columns={"text": 'te"xt', "label": "größe"}, made_ids=True)
    sql = tablesql.rows("tr'ain", part, fields=TASK.fields)
    assert 'FROM "my db"."S""; DROP"."select" AS' in sql
    assert 'CAST("te""xt" AS VARCHAR) AS "text"' in sql
    assert "'tr''ain-'" in sql


def test_a_query_of_the_users_may_end_in_a_comment() -> None:
    part = TableSplit(sql="SELECT 1 AS ID -- all of them", columns={"id": "ID"})
    assert tablesql.relation(part) == "(\nSELECT 1 AS ID -- all of them\n)"


def test_the_fingerprint_of_rows_does_not_depend_on_their_order_but_on_all_else() -> None:
    texts = [tablesql.row_text(row) for row in (["a", "b"], ["c", None], ["", "d"])]
    found = tablesql.rows_fingerprint(texts)
    assert found == tablesql.rows_fingerprint(reversed(texts))
    assert found != tablesql.rows_fingerprint(texts[:2])
    assert tablesql.row_text(["a", "bc"]) != tablesql.row_text(["ab", "c"])
    assert tablesql.row_text([None]) != tablesql.row_text([""]) != tablesql.row_text(["-"])


def test_columns_are_named_in_capitals_and_never_twice() -> None:
    assert column_names(["id", "S", "s", "my text"]) == {"id": "ID", "S": "S", "s": "S_", "my text": "MY TEXT"}
    with pytest.raises(DataError, match="another name"):
        column_names(["soaptune_row"])


def test_two_splits_never_share_a_table() -> None:
    from soaptune.snowflake.tables.query import SchemaRef

    place: Any = SchemaRef(None, "DB", "S")  # type: ignore[arg-type]
    assert [str(n) for n in split_names(place, "T", ["train", "test"]).values()] == [
        '"DB"."S"."T_TRAIN"',
        '"DB"."S"."T_TEST"',
    ]
    for splits in (["train", "TRAIN"], ["manifest"], ["Ledger"]):
        with pytest.raises(DataError, match="two would be the same"):
            split_names(place, "T", splits)


@pytest.mark.parametrize(
    ("kind", "values", "sql"),
    [
        (pa.string(), ["a", None, "", "ä\n"], "VARCHAR"),
        (pa.int8(), [1, None, -128], "NUMBER(38, 0)"),
        (pa.float32(), [0.1, None, float("inf")], "FLOAT"),
        (pa.bool_(), [True, None, False], "BOOLEAN"),
        (pa.timestamp("ns"), [1, None, 10**18 + 1], "VARCHAR"),
        (pa.timestamp("us", tz="Europe/Zurich"), [1, None, 10**15], "VARCHAR"),
        (pa.date32(), [1, None, -4000], "VARCHAR"),
        (pa.decimal128(10, 2), None, "VARCHAR"),
        (pa.duration("ms"), [1, None, -5], "NUMBER(38, 0)"),
        (pa.time32("s"), [1, None, 86_399], "NUMBER(38, 0)"),
        (pa.list_(pa.string()), [["a"], None, []], "VARCHAR"),
        (pa.struct([("a", pa.int64()), ("b", pa.string())]), [{"a": 1, "b": None}, None], "VARCHAR"),
    ],
)
def test_a_column_of_any_type_comes_back_as_it_was(kind: Any, values: Any, sql: str) -> None:
    import decimal

    given = values if values is not None else [decimal.Decimal("1.50"), None]
    column = pa.chunked_array([pa.array(given, kind)])
    assert sql_type(kind, "c") == sql
    text = as_text(column, "c")
    assert text.type == pa.string()
    assert from_table(text, kind, "c").equals(column)


def test_a_type_that_no_table_holds_is_told() -> None:
    with pytest.raises(DataError, match="'blob' has the type binary"):
        sql_type(pa.binary(), "blob")


def test_types_travel_as_text() -> None:
    schema = pa.schema([("a", pa.list_(pa.int8())), ("b", pa.string())])
    assert read_schema(write_schema(schema)) == {"a": pa.list_(pa.int8()), "b": pa.string()}
    assert read_schema("") == {}
    with pytest.raises(DataError, match="manifest was changed"):
        read_schema("bm90aGluZw==")


def test_none_of_it_needs_snowflakes_packages() -> None:
    code = (
        "import sys\n"
        "import soaptune.snowflake.tables.dataset, soaptune.snowflake.tables.load, soaptune.snowflake.tables.prepare\n"
        "import soaptune.runtime.inputs, soaptune.runtime.generate\n"
        "assert not [m for m in sys.modules if m.startswith(('snowflake.', 'pandas', 'torch'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
