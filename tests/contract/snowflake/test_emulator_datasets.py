"""Datasets: the real SDK makes versions, and reads their files over the addresses that the account signs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from snowflake.ml import dataset
from snowflake.ml._internal.exceptions.dataset_errors import DatasetExistError, DatasetNotExistError
from snowflake.ml.data.data_connector import DataConnector
from snowflake.snowpark import Session
from snowflake.snowpark.exceptions import SnowparkSQLException

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
