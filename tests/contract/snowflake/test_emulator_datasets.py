"""Datasets: the real SDK makes versions, and reads their files over the addresses that the account signs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from snowflake.ml import dataset
from snowflake.ml._internal.exceptions.dataset_errors import DatasetExistError, DatasetNotExistError
from snowflake.ml.data.data_connector import DataConnector
from snowflake.snowpark import Session
from snowflake.snowpark.exceptions import SnowparkSQLException
from snowflake.snowpark.types import BooleanType, DoubleType, LongType, StringType

from soaptune.testing.snowflake.account import Account

ROWS = [[1, "it's ü", 1.5, True], [2, None, 2.5, False]]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).upper()


@pytest.fixture
def made(shared_session: Session, name: str) -> Any:
    frame = shared_session.create_dataframe(ROWS, schema=["ID", "TEXT", "SCORE", "GOOD"])
    return dataset.create_from_dataframe(
        shared_session, name, "v1", input_dataframe=frame, label_cols=["TEXT"], comment="it's the first"
    )


def test_rows_come_back_with_their_types(made: Any) -> None:
    frame = made.read.to_pandas()
    assert frame["ID"].tolist() == [1, 2]
    assert frame["TEXT"].tolist() == ["it's ü", None]
    assert frame["SCORE"].tolist() == [1.5, 2.5]
    assert frame["GOOD"].tolist() == [True, False]


def test_a_connector_reads_all_at_once_and_in_batches(made: Any) -> None:
    connector = DataConnector.from_dataset(made)
    assert connector.to_pandas(limit=1)["ID"].tolist() == [1]
    rows = list(connector.to_huggingface_dataset(streaming=True, batch_size=1))
    assert [row["ID"] for row in rows] == [1, 2]


def test_a_version_is_a_snowpark_frame(made: Any, name: str, shared_session: Session) -> None:
    frame = made.read.to_snowpark_dataframe()
    assert [(field.name, field.datatype) for field in frame.schema] == [
        ("ID", LongType()),
        ("TEXT", StringType()),
        ("SCORE", DoubleType()),
        ("GOOD", BooleanType()),
    ]
    assert [list(row) for row in frame.sort("ID").collect()] == ROWS
    assert [row["ID"] for row in frame.filter(frame["TEXT"].is_null()).select("ID").collect()] == [2]
    assert made.read.to_snowpark_dataframe(only_feature_cols=True).columns == ["ID", "SCORE", "GOOD"]
    frame.write.save_as_table(f"{name}_COPY")
    made.delete()
    assert [list(row) for row in shared_session.table(f"{name}_COPY").sort("ID").collect()] == ROWS


def test_versions_are_read_in_one_query(made: Any, name: str, shared_session: Session) -> None:
    second = made.create_version("v10", shared_session.create_dataframe([[3, 0.1]], schema=["ID", "it's ONE"]))
    assert [list(row) for row in second.read.to_snowpark_dataframe().collect()] == [[3, 0.1]]
    parts = [
        f'SELECT $1:ID::INT, $1:SCORE::REAL, $1:"it\'s ONE"::REAL FROM snow://dataset/{name}/versions/{version}/'
        "(FILE_FORMAT => 'p')"
        for version in ("v1", "v10")
    ]
    found = shared_session.sql(f"{' UNION ALL '.join(parts)} ORDER BY 1").collect()
    assert [list(row) for row in found] == [[1, 1.5, None], [2, 2.5, None], [3, None, 0.1]]


def test_parquet_on_a_stage_is_selected_where_it_lies(shared_session: Session, tmp_path: Path) -> None:
    pd.DataFrame({"id": [1], "tags": [["x", "ü"]], "at": [datetime(2020, 1, 2, 3, 4, 5, 6)]}).to_parquet(
        tmp_path / "a.parquet"
    )
    pd.DataFrame({"id": [2], "more": ["m"]}).to_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("id\n3\n", "utf-8")
    shared_session.sql("CREATE OR REPLACE STAGE LOOKED_INTO").collect()
    shared_session.file.put(str(tmp_path / "*"), "@LOOKED_INTO/in", auto_compress=False)
    query = 'SELECT $1:id::INT AS ID, $1:tags::ARRAY, $1:more::TEXT, $1:"ID"::INT, $1:at::TIMESTAMP_NTZ FROM'
    options = "(PATTERN => '.*[.]parquet', FILE_FORMAT => 'p')"
    found = shared_session.sql(f"{query} @LOOKED_INTO/in {options} ORDER BY 1").collect()
    assert [list(row) for row in found] == [
        [1, '["x","ü"]', None, None, datetime(2020, 1, 2, 3, 4, 5, 6)],
        [2, None, "m", None, None],
    ]
    quoted = f"SELECT COUNT(*), '@x (FILE_FORMAT => 1) $1:a' FROM '@LOOKED_INTO/in/b' {options}"
    assert list(shared_session.sql(quoted).collect()[0]) == [1, "@x (FILE_FORMAT => 1) $1:a"]
    (tmp_path / "b.parquet").unlink()
    shared_session.sql("REMOVE @LOOKED_INTO/in/b").collect()
    assert len(shared_session.sql(f"{query} @LOOKED_INTO/in {options}").collect()) == 1
    assert shared_session.sql(f"{query} @LOOKED_INTO/empty {options}").collect() == []
    for refused, why in (
        (f"{query} @LOOKED_INTO/in (FILE_FORMAT => 'p')", "c.csv is not Parquet"),
        (f"SELECT $1:tags[0] FROM @LOOKED_INTO/in {options}", "only whole fields"),
        (f"{query} snow://dataset/NOPE/versions/v1/ {options}", "No files were found"),
        (f"{query} @NOPE/in {options}", "does not exist"),
    ):
        with pytest.raises(SnowparkSQLException, match=why):
            shared_session.sql(refused).collect()


def test_the_files_are_listed_and_fetched(made: Any, shared_session: Session, tmp_path: Any) -> None:
    (url,) = made.read.files()
    assert url.startswith("snow://dataset/")
    assert url.endswith("/versions/v1/data_0_0_0.snappy.parquet")
    (listed,) = made.selected_version.list_files()
    assert listed["name"] == "versions/v1/data_0_0_0.snappy.parquet"
    shared_session.file.get(url, str(tmp_path))
    assert (tmp_path / "data_0_0_0.snappy.parquet").read_bytes()[:4] == b"PAR1"
    with made.read.filesystem().open(url) as file:
        file.seek(-4, 2)
        assert file.read() == b"PAR1"


def test_a_version_knows_what_it_was_made_of(made: Any, name: str, shared_session: Session) -> None:
    version = dataset.load_dataset(shared_session, name, "v1").selected_version
    assert version is not None
    assert (version.name, version.comment, version.label_cols) == ("v1", "it's the first", ["TEXT"])
    assert isinstance(version.created_on, datetime)


def test_versions_are_added_and_deleted(made: Any, shared_session: Session) -> None:
    second = made.create_version("v2", shared_session.create_dataframe([[3]], schema=["ID"]))
    assert second.read.to_pandas()["ID"].tolist() == [3]
    assert made.list_versions() == ["v1", "v2"]
    made.delete_version("v1")
    assert made.list_versions() == ["v2"]


def test_a_version_is_made_only_once(made: Any, shared_session: Session) -> None:
    with pytest.raises(DatasetExistError):
        made.create_version("v1", shared_session.create_dataframe([[3]], schema=["ID"]))


def test_what_does_not_exist_is_said_so(made: Any, name: str, shared_session: Session) -> None:
    with pytest.raises(DatasetNotExistError):
        dataset.load_dataset(shared_session, "NOPE", "v1")
    with pytest.raises(DatasetNotExistError):
        dataset.load_dataset(shared_session, name, "V1")
    with pytest.raises(SnowparkSQLException, match="does not exist"):
        shared_session.sql(f"ALTER DATASET {name} DROP VERSION 'nope'").collect()


def test_a_deleted_dataset_is_gone_with_its_files(made: Any, name: str, shared_account: Account) -> None:
    (full,) = [found.name for found in shared_account.datasets.all() if found.name.name == name]
    folder = shared_account.datasets.folder(full)
    assert folder.exists()
    made.delete()
    assert not folder.exists()
    assert full not in shared_account.datasets


def test_a_signed_address_gives_one_file_and_only_that(made: Any, shared_account: Account) -> None:
    import requests

    (url,) = made.read.files()
    place, _, file = url.rpartition("/")
    address = shared_account.datasets.presigned_url(place, file, 60)
    assert requests.get(address, timeout=5).content[:4] == b"PAR1"
    assert requests.get(address, headers={"Range": "bytes=1-2"}, timeout=5).content == b"AR"
    assert requests.get(address + "x", timeout=5).status_code == 404
    with pytest.raises(ValueError, match="leaves the stage"):
        shared_account.datasets.presigned_url(place, "../../../secret", 60)


def test_forms_that_are_not_known_are_refused(made: Any, name: str, shared_session: Session) -> None:
    for change in ("SET COMMENT = 'x'", "ADD VERSION 'v3' FROM (SELECT 1) PARTITION BY 1 METADATA=$${}$$"):
        with pytest.raises(SnowparkSQLException, match="knows no such form"):
            shared_session.sql(f"ALTER DATASET {name} {change}").collect()
