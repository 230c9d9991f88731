"""Stages: the real connector puts files there and gets them back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from snowflake.snowpark import Session
from snowflake.snowpark.exceptions import SnowparkSQLException

from soaptune.testing.snowflake.account import Account

ODD = '"sta.ge ""ü"" x"'


@pytest.fixture
def stage(shared_session: Session) -> str:
    shared_session.sql(f"create or replace stage {ODD}").collect()
    return f"@{ODD}"


def _read(session: Session, place: str, **options: Any) -> bytes:
    with session.file.get_stream(place, **options) as stream:
        return stream.read()


def _names(session: Session, place: str) -> list[str]:
    return [row["name"] for row in session.sql(f"list '{place}'").collect()]


def test_files_come_back_as_they_were_put(shared_session: Session, stage: str, tmp_path: Path) -> None:
    source, target = tmp_path / "a folder", tmp_path / "back"
    source.mkdir()
    (source / "été.txt").write_text("ça va", "utf-8")
    (source / "empty").touch()
    (source / "big").write_bytes(bytes(range(256)) * 40_000)
    put = shared_session.file.put(str(source / "*"), f"{stage}/some dir/deep", auto_compress=False)
    assert {result.status for result in put} == {"UPLOADED"}
    got = shared_session.file.get(f"{stage}/some dir", str(target))
    assert {result.status for result in got} == {"DOWNLOADED"}
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }


def test_a_file_is_compressed_and_overwritten(shared_session: Session, stage: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    for text in ("first", "second, and longer"):
        file.write_text(text)
        [put] = shared_session.file.put(str(file), f"{stage}/x", overwrite=True)
        assert (put.target, put.status) == ("a.txt.gz", "UPLOADED")
        assert _read(shared_session, f"{stage}/x/a.txt.gz", decompress=True) == text.encode()


def test_who_reads_a_file_that_is_replaced_reads_the_old_one_to_its_end(
    shared_account: Account, shared_session: Session, stage: str, tmp_path: Path
) -> None:
    def put(text: bytes) -> None:
        shared_session.file.put_stream(io.BytesIO(text), f"{stage}/in/it.txt", auto_compress=False, overwrite=True)

    put(b"the old one")
    [path] = shared_account.root.rglob("it.txt")
    with path.open("rb") as file:
        put(b"something else")
        assert file.read() == b"the old one"
    assert _read(shared_session, f"{stage}/in/it.txt") == b"something else"


def test_a_path_on_a_stage_is_a_prefix(shared_session: Session, stage: str) -> None:
    for name in ("job1/a", "job10/b", "other/c"):
        shared_session.file.put_stream(io.BytesIO(b"x"), f"{stage}/{name}", auto_compress=False)
    shown = 'sta.ge "ü" x/'
    assert _names(shared_session, f"{stage}/job1") == [shown + "job1/a", shown + "job10/b"]
    shared_session.sql(f"remove '{stage}/job1/'").collect()
    assert _names(shared_session, stage) == [shown + "job10/b", shown + "other/c"]
    assert [row["name"] for row in shared_session.sql(f"list {stage} pattern='.*c'").collect()] == [shown + "other/c"]


def test_files_are_copied_from_stage_to_stage(shared_session: Session, stage: str) -> None:
    shared_session.sql("create or replace stage target").collect()
    for name in ("from/a/one.txt", "from/two.txt"):
        shared_session.file.put_stream(io.BytesIO(name.encode()), f"{stage}/{name}", auto_compress=False)
    copied = shared_session.file.copy_files(f"{stage}/from/", "@target/to/")
    assert sorted(copied) == ["to/a/one.txt", "to/two.txt"]
    shared_session.sql(f"copy files into @target/single/ from '{stage}/from/two.txt'").collect()
    assert _read(shared_session, "@target/single/two.txt") == b"from/two.txt"
    assert shared_session.file.copy_files(f"{stage}/from/", "@target/chosen/", files=["two.txt"]) == ["chosen/two.txt"]


def test_a_listing_tells_size_and_checksum(shared_session: Session, stage: str) -> None:
    shared_session.file.put_stream(io.BytesIO(b"hello"), f"{stage}/h", auto_compress=False)
    [found] = shared_session.file.list(stage)
    assert (found.size, found.md5) == (5, "5d41402abc4b2a76b9719d911017c592")


def test_a_stage_is_made_described_shown_and_dropped(session: Session) -> None:
    assert (
        session.sql("create stage a comment = 'it''s mine'").collect()[0].status == "Stage area A successfully created."
    )
    assert "already exists, statement succeeded" in session.sql("create stage if not exists a").collect()[0].status
    with pytest.raises(SnowparkSQLException, match="already exists"):
        session.sql("create stage a").collect()
    [shown] = session.sql("show stages like 'a' in schema TEST_DB.PUBLIC").collect()
    assert (shown["name"], shown["comment"], shown["owner"]) == ("A", "it's mine", "TEST_ROLE")
    assert session.sql("describe stage TEST_DB.PUBLIC.A").collect()
    session.file.put_stream(io.BytesIO(b"x"), "@a/x", auto_compress=False)
    session.sql("create or replace stage a").collect()
    assert session.sql("list @a").collect() == []
    session.sql("drop stage a").collect()
    for statement in ("drop stage a", "describe stage a", "list @a", "put file:///etc/hostname @a"):
        with pytest.raises(SnowparkSQLException, match=r"Stage 'TEST_DB.PUBLIC.A' does not exist or not authorized"):
            session.sql(statement).collect()
    session.sql("drop stage if exists a").collect()


def test_a_temporary_stage_goes_with_its_session(account: Account, session: Session) -> None:
    with Session.builder.configs(account.connection_parameters).create() as other:
        other.sql("create temporary stage passing").collect()
        other.file.put_stream(io.BytesIO(b"x"), "@passing/x", auto_compress=False)
        assert [row["type"] for row in session.sql("show stages").collect()] == ["INTERNAL TEMPORARY"]
    assert session.sql("show stages").collect() == []


def test_the_stage_of_the_user_and_of_a_table_are_there_without_being_made(shared_session: Session) -> None:
    shared_session.sql("create or replace table t (a int)").collect()
    for place in ("@~/mine", "@%t"):
        shared_session.file.put_stream(io.BytesIO(b"x"), f"{place}/x", auto_compress=False)
        assert _read(shared_session, f"{place}/x") == b"x"


def test_nobody_leaves_a_stage_by_a_path(shared_session: Session, stage: str) -> None:
    with pytest.raises(SnowparkSQLException, match="leaves its stage"):
        shared_session.sql(f"list '{stage}/../../'").collect()


def test_stages_go_with_their_schema(session: Session) -> None:
    session.sql("create schema passing").collect()
    session.sql("create stage s").collect()
    session.sql("drop schema TEST_DB.passing").collect()
    assert session.sql("show stages in account").collect() == []
