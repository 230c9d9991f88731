"""Tables through Snowpark and the connector: written, read, split, loaded, and looked up."""

from __future__ import annotations

import datetime
from typing import Any

import pandas as pd
import pytest
from snowflake.snowpark import Session, functions
from snowflake.snowpark.exceptions import SnowparkSQLException
from snowflake.snowpark.types import LongType, StringType, VariantType

ODD = '"my""table; DROP"'


def test_rows_come_back_as_they_were_given(shared_session: Session) -> None:
    given = [[1, "ü'\"\\", 1.5, True, None], [2, "", 2.5, False, {"a": [1]}]]
    frame = shared_session.create_dataframe(given, schema=["A", "b c", "C", "D", "V"])
    rows = frame.collect()
    assert [list(row)[:4] for row in rows] == [row[:4] for row in given]
    assert rows[0]["V"] is None
    assert rows[1]["V"].replace(" ", "").replace("\n", "") == '{"a":[1]}'


def test_many_rows_are_sent_as_arrays_of_values(shared_session: Session) -> None:
    given = [[number, None if number == 3 else str(number), {"n": number}, number / 2] for number in range(1500)]
    frame = shared_session.create_dataframe(given, schema=["I", "S", "V", "F"])
    assert frame.count() == 1500
    assert [type(field.datatype) for field in frame.schema.fields][:2] == [LongType, StringType]
    frame.write.mode("overwrite").save_as_table("MANY")
    row = shared_session.sql("select i, s, v:n::int as n, f from many where i in (3, 700) order by i").collect()
    assert [list(one) for one in row] == [[3, None, 3, 1.5], [700, "700", 700, 350.0]]


@pytest.mark.parametrize("name", ["SAVED", ODD, '"sélect"', '"with.dot"'])
def test_save_as_table_knows_its_modes(shared_session: Session, name: str) -> None:
    frame = shared_session.create_dataframe([[1, "x"]], schema=["A", '"order"'])
    frame.write.mode("overwrite").save_as_table(f"TEST_DB.PUBLIC.{name}")
    frame.write.mode("append").save_as_table(name)
    assert shared_session.table(name).count() == 2
    frame.write.mode("ignore").save_as_table(name)
    with pytest.raises(SnowparkSQLException, match="already exists"):
        frame.write.mode("errorifexists").save_as_table(name)
    frame.write.mode("truncate").save_as_table(name)
    assert [row.as_dict() for row in shared_session.table(name).collect()] == [{"A": 1, "order": "x"}]
    shared_session.sql(f"drop table {name}").collect()


def test_a_split_loses_and_doubles_no_row(shared_session: Session) -> None:
    numbers = shared_session.create_dataframe([[number] for number in range(200)], schema=["I"])
    numbers.write.mode("overwrite").save_as_table("NUMBERS")
    parts = shared_session.table("NUMBERS").random_split([0.8, 0.1, 0.1], seed=3)
    found = [{row.I for row in part.collect()} for part in parts]
    assert len(set.union(*found)) == sum(len(part) for part in found) == 200
    assert len(found[0]) > len(found[1])


def test_a_temporary_table_is_gone_after_its_session(account: Any, session: Session) -> None:
    with Session.builder.configs(account.connection_parameters).create() as other:
        other.create_dataframe([[1]], schema=["A"]).write.save_as_table("TEST_DB.PUBLIC.T1", table_type="temporary")
        other.create_dataframe([[2]], schema=["A"]).write.save_as_table("T2", table_type="temporary")
        cached = other.table("T1").cache_result()
        assert (cached.collect()[0].A, other.table("T2").collect()[0].A) == (1, 2)
    assert session.sql("show tables").collect() == []


@pytest.mark.filterwarnings("ignore:is_datetime64tz_dtype is deprecated:DeprecationWarning")
def test_pandas_frames_are_loaded_with_their_types_and_gaps(shared_session: Session) -> None:
    frame = pd.DataFrame(
        {
            "A": [1.5, 2, None],
            "lower case": ["x", "it's ü", None],
            "L": [[1], [], None],
            "T": pd.to_datetime(["2020-01-01 10:00", "2021-01-01 00:00", None]),
        }
    )
    table = shared_session.write_pandas(frame, "LOADED", auto_create_table=True, overwrite=True, use_logical_type=True)
    rows = table.collect()
    assert [list(row) for row in rows] == [
        [1.5, "x", "[1]", datetime.datetime(2020, 1, 1, 10)],
        [2.0, "it's ü", "[]", datetime.datetime(2021, 1, 1)],
        [None, None, None, None],
    ]
    assert type(table.schema.fields[2].datatype) is VariantType
    shared_session.write_pandas(frame, "LOADED", use_logical_type=True)
    assert shared_session.table("LOADED").count() == 6


@pytest.mark.filterwarnings("ignore:is_datetime64tz_dtype is deprecated:DeprecationWarning")
def test_pandas_frames_are_loaded_into_a_table_that_is_there(shared_session: Session) -> None:
    shared_session.sql('create or replace table there (A int, "b" varchar, V variant)').collect()
    shared_session.write_pandas(pd.DataFrame({"A": [1], "b": ["x"]}), "THERE")
    shared_session.write_pandas(pd.DataFrame({"A": [2], "b": ["y"], "V": [{"k": 1}]}), "THERE", overwrite=True)
    assert [list(row) for row in shared_session.table("there").collect()] == [[2, "y", '{"k":1}']]
    with pytest.raises(Exception, match="columns do not match"):
        shared_session.write_pandas(pd.DataFrame({"NOT_THERE": [1]}), "THERE")


def test_parquet_on_a_stage_is_described_and_loaded(shared_session: Session, tmp_path: Any) -> None:
    pd.DataFrame({"ID": [1, 2], "TEXT": ["a", "b"], "OK": [True, False]}).to_parquet(tmp_path / "x.parquet")
    shared_session.sql("create or replace stage files").collect()
    shared_session.file.put(str(tmp_path / "x.parquet"), "@files/in", auto_compress=False)
    found = shared_session.sql(
        "select column_name, type from table(infer_schema(location => '@files/in', file_format => 'f'))"
    ).collect()
    assert [list(row) for row in found] == [["ID", "NUMBER(38, 0)"], ["TEXT", "TEXT"], ["OK", "BOOLEAN"]]
    shared_session.sql("create or replace table from_files (id int, text varchar, ok boolean)").collect()
    [copied] = shared_session.sql(
        "copy into from_files from @files/in file_format = (type = parquet) match_by_column_name = case_insensitive"
    ).collect()
    assert (copied["file"], copied["rows_loaded"]) == ("files/in/x.parquet", 2)
    assert shared_session.table("from_files").filter("ok").collect()[0].TEXT == "a"


def test_csv_on_a_stage_is_loaded(shared_session: Session, tmp_path: Any) -> None:
    (tmp_path / "x.csv").write_text('id,text\n1,é\n2,"b,c"\n', "utf-8")
    shared_session.sql("create or replace stage files").collect()
    shared_session.file.put(str(tmp_path / "x.csv"), "@files", auto_compress=True)
    shared_session.sql("create or replace table from_csv (id int, text varchar)").collect()
    shared_session.sql("copy into from_csv from @files file_format = (type = csv skip_header = 1)").collect()
    assert [list(row) for row in shared_session.table("from_csv").collect()] == [[1, "é"], [2, "b,c"]]


def test_values_are_bound_and_names_too(shared_session: Session) -> None:
    shared_session.sql(f"create or replace table {ODD} (A int, B varchar)").collect()
    shared_session.sql(f"insert into {ODD} values (?, ?)", params=[1, "it's ? \\ ;"]).collect()
    found = shared_session.sql("select B from identifier(?) where A = ?", params=[ODD, 1]).collect()
    assert [row.B for row in found] == ["it's ? \\ ;"]
    cursor = shared_session.connection.cursor()
    cursor.execute("describe table identifier(?)", (ODD,))
    assert [row[0] for row in cursor.fetchall()] == ["A", "B"]


def test_variants_are_parsed_and_taken_apart(shared_session: Session) -> None:
    shared_session.sql("""create or replace table v as select parse_json('{"a": {"b": [1, 2]}}') as v""").collect()
    assert shared_session.sql("select v:a.b[1]::int as x from v").collect()[0].X == 2
    flat = shared_session.sql("select f.value::int as x from v, lateral flatten(input => v:a:b) f order by x").collect()
    assert [row.X for row in flat] == [1, 2]
    assert shared_session.sql("select try_parse_json('{') as x").collect()[0].X is None


def test_a_table_is_found_and_described(session: Session) -> None:
    session.sql('create table described (id int not null, "Text" varchar(20), v variant)').collect()
    assert [row["name"] for row in session.sql("show tables like 'DESC%' in schema TEST_DB.PUBLIC").collect()] == [
        "DESCRIBED"
    ]
    assert session.sql("show tables like 'nothing'").collect() == []
    found = session.sql("describe table TEST_DB.PUBLIC.DESCRIBED").collect()
    assert [(row["name"], row["type"], row["null?"]) for row in found] == [
        ("ID", "NUMBER(38,0)", "N"),
        ("Text", "VARCHAR(20)", "Y"),
        ("V", "VARIANT", "Y"),
    ]
    listed = session.sql(
        "select column_name from TEST_DB.information_schema.columns where table_name = ? order by ordinal_position",
        params=["DESCRIBED"],
    ).collect()
    assert [row.COLUMN_NAME for row in listed] == ["ID", "Text", "V"]
    with pytest.raises(SnowparkSQLException, match="does not exist or not authorized"):
        session.sql("describe table not_here").collect()


def test_rows_are_changed_merged_and_deleted(shared_session: Session) -> None:
    shared_session.create_dataframe([[1, "a"], [2, "b"]], schema=["K", "V"]).write.mode("overwrite").save_as_table("KV")
    table = shared_session.table("KV")
    assert table.update({"V": functions.lit("z")}, table["K"] == 1).rows_updated == 1
    news = shared_session.create_dataframe([[2, "B"], [3, "C"]], schema=["K", "V"])
    merged = table.merge(
        news,
        table["K"] == news["K"],
        [
            functions.when_matched().update({"V": news["V"]}),
            functions.when_not_matched().insert({"K": news["K"], "V": news["V"]}),
        ],
    )
    assert (merged.rows_inserted, merged.rows_updated) == (1, 1)
    assert table.delete(table["K"] == 1).rows_deleted == 1
    assert [list(row) for row in table.sort("K").collect()] == [[2, "B"], [3, "C"]]


def test_a_data_connector_reads_a_table_in_batches(shared_session: Session) -> None:
    from snowflake.ml.data import DataConnector

    shared_session.create_dataframe([[number, str(number)] for number in range(50)], schema=["I", "S"]).write.mode(
        "overwrite"
    ).save_as_table("FED")
    connector = DataConnector.from_dataframe(shared_session.table("FED"))
    assert sorted(connector.to_pandas().I) == list(range(50))
    by_sql = DataConnector.from_sql("select * from FED where I < 10", session=shared_session)
    batches = list(
        by_sql.to_hf_dataset(streaming=True)
        if hasattr(by_sql, "to_hf_dataset")
        else by_sql.to_huggingface_dataset(streaming=True)
    )
    assert sorted(row["S"] for row in batches) == [str(number) for number in range(10)]
