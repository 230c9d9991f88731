"""Datasets in tables, through the real Snowpark: they come back as they were, and their rows stay in the account."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from soaptune.errors import BackendError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.ledger import RowLedger
from soaptune.handles.location import Tables
from soaptune.local.backend import LocalBackend
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.snowflake.tables.spec import read_tables, write_tables
from soaptune.tasks import Task
from soaptune.tasks.spec import TaskSpec

TASK = TaskSpec(
    name="tickets",
    system_prompt="Say what the ticket is about.",
    user_template="{ticket}",
    output_schema={"type": "object", "properties": {"title": {"type": "string"}, "urgency": {"type": "integer"}}},
    output_fields=("title", "urgency"),
    input_fields=("ticket",),
)
TEXTS = [
    "plain",
    "two\nlines\tand\r\nmore",
    "umlaut ä, 漢字, 🙂",
    "quotes \" and ' and ; DROP",
    "back\\slash",
    "' OR 1=1 --",
]


@pytest.fixture(scope="module")
def backend(shared_account: Any) -> Iterator[SnowflakeBackend]:
    made = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database="TEST_DB",
        schema="PUBLIC",
        connection_parameters=shared_account.connection_parameters,
    )
    yield made
    made.close()


def rows(count: int, *, start: int = 0, prefix: str = "r", **columns: Any) -> pa.Table:
    numbers = range(start, start + count)
    return pa.table(
        {
            "id": [f"{prefix}{n}" for n in numbers],
            "ticket": [f"{TEXTS[n % len(TEXTS)]} {n}" for n in numbers],
            "title": [TEXTS[n % len(TEXTS)] for n in numbers],
            "urgency": [str(n % 5) for n in numbers],
            **columns,
        }
    )


def local(folder: Path, splits: dict[str, pa.Table], **options: Any) -> Dataset:
    return Dataset.write(folder, splits, task=TASK, how={"step": "test"}, **options)


@pytest.fixture
def small(tmp_path: Path) -> Dataset:
    return local(tmp_path / "small", {"train": rows(12), "test": rows(4, start=12)})


def texts_that_left(account: Any, since: int) -> list[str]:
    """The statements that asked for a column of text, whose rows went to the client."""
    asked = [s.sql for s in account.statements[since:] if s.sql.lstrip().upper().startswith("SELECT")]
    return [sql for sql in asked if sql.startswith(('SELECT "id", "ticket"', 'SELECT "ticket"', 'SELECT "title"'))]


def test_a_dataset_comes_back_from_tables_as_it_was(backend: SnowflakeBackend, tmp_path: Path) -> None:
    facts = [
        [{"field": "title", "kind": "k", "value": 'v "1"', "start": 1, "end": 2, "source": "ticket"}],
        [],
        None,
    ] * 2
    train = rows(
        6,
        facts=facts,
        group=["a", None, "a", "b", "", None],
        note=[None, "", "\n", "x", "ä", "null"],
        how_many=pa.array([1, None, -(2**62), 2**62, 0, 5], pa.int64()),
        share=pa.array([0.1, None, float("nan"), float("inf"), -1e-300, 1.0], pa.float64()),
        seen=pa.array([True, False, None, True, True, False]),
        day=pa.array([datetime.date(2020, 1, 1), None] * 3, pa.date32()),
        at=pa.array([datetime.datetime(2020, 1, 1, 1, 2, 3, 456789), None] * 3, pa.timestamp("us")),
        tags=pa.array([["x", "y"], [], None, ["ü"], ["\n"], ["'"]], pa.list_(pa.string())),
        kind=pa.array(["a", "b", "a", None, "b", "a"]).dictionary_encode(),
    )
    data = local(tmp_path / "data", {"train": train, "test": rows(2, start=6)}, synthetic=True)
    there = backend.save(data, name="round trip")
    assert isinstance(there, TableDataset)
    assert (there.fingerprint, there.counts, there.manifest.synthetic) == (data.fingerprint, data.counts, True)
    there.verify()
    back = there.download(tmp_path / "back")
    assert back.fingerprint == data.fingerprint
    assert back.table("train").column("facts").to_pylist() == data.table("train").column("facts").to_pylist()
    assert there.facts("train") == data.facts("train")
    assert there["test"].to_list() == data["test"].to_list()
    again = backend.dataset('"round trip"')
    assert again.source == there.source
    assert read_tables(write_tables(again.location)) == again.location == again.source


def test_columns_have_the_names_of_the_public_sample(backend: SnowflakeBackend, small: Dataset) -> None:
    backend.save(small, name="SOAP")
    found = backend.session().sql("SELECT ticket, title, urgency, id FROM SOAP_TEST ORDER BY SOAPTUNE_ROW").collect()
    assert [row["ID"] for row in found] == ["r12", "r13", "r14", "r15"]


@pytest.mark.parametrize("name", ['my"table; DROP', "Täglich", "select", "a.b"])
def test_any_name_is_quoted(backend: SnowflakeBackend, small: Dataset, name: str) -> None:
    written = '"' + name.replace('"', '""') + '"'
    there = backend.save(small, name=written)
    assert there.source.name == name
    assert backend.dataset(written).table("train").equals(small.table("train"))
    assert there.split("50/50").counts == {"train": 8, "validation": 8}


def test_columns_of_any_name_are_kept(backend: SnowflakeBackend, tmp_path: Path) -> None:
    names = {'we"ird; col': ["x"], "größe": ["z"], "select": ["w"]}
    data = local(tmp_path / "d", {"train": rows(1, **names)})
    there = backend.save(data, name="any columns")
    assert there.table("train").equals(data.table("train"))


def test_what_is_there_is_replaced_only_when_asked(backend: SnowflakeBackend, small: Dataset, tmp_path: Path) -> None:
    first = backend.save(small, name="kept")
    other = local(tmp_path / "other", {"train": rows(3, prefix="o")})
    with pytest.raises(DataError, match="overwrite=True"):
        backend.save(other, name="kept")
    assert backend.dataset("kept").fingerprint == first.fingerprint
    replaced = backend.save(other, name="kept", overwrite=True)
    assert backend.dataset("kept").fingerprint == replaced.fingerprint == other.fingerprint
    assert backend.dataset("kept").splits == ("train",)
    with pytest.raises(DataError, match="no dataset KEPT_TEST"):
        backend.dataset("kept_test")


def test_a_cloned_schema_is_a_dataset_of_its_own(backend: SnowflakeBackend, small: Dataset, tmp_path: Path) -> None:
    backend.save(small, name="production")
    session = backend.session()
    session.sql("CREATE SCHEMA IF NOT EXISTS CLONED").collect()
    session.sql("USE SCHEMA PUBLIC").collect()
    for table in ("TRAIN", "TEST", "LEDGER", "MANIFEST"):
        copy = f"CREATE TABLE CLONED.PRODUCTION_{table} AS SELECT * FROM PUBLIC.PRODUCTION_{table}"
        session.sql(copy).collect()

    same = backend.save(small, name="cloned.production")
    backend.save(local(tmp_path / "less", {"train": rows(3, prefix="o")}), name="cloned.production", overwrite=True)

    assert {part.table[1] for part in same.source.splits.values() if part.table} == {"CLONED"}
    assert backend.dataset("production").table("test").equals(small.table("test"))
    assert backend.dataset("cloned.production").splits == ("train",)


def test_a_dataset_never_replaces_the_tables_that_it_is_read_from(backend: SnowflakeBackend) -> None:
    session = backend.session()
    session.sql("CREATE TABLE OWN_TRAIN (TICKET VARCHAR, TITLE VARCHAR, URGENCY VARCHAR)").collect()
    session.sql("INSERT INTO OWN_TRAIN VALUES ('a', 't', '1'), ('b', NULL, '1')").collect()
    data = backend.load_dataset("OWN_TRAIN", task=TASK, on_bad_row="ledger")

    with pytest.raises(DataError, match="Choose another name"):
        backend.save(data, name="own", overwrite=True)

    assert session.sql("SELECT COUNT(*) FROM OWN_TRAIN").collect()[0][0] == 2


def test_a_result_that_is_lost_on_the_way_is_our_error(
    backend: SnowflakeBackend, small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snowflake.snowpark import DataFrame

    def lost(_: Any) -> Iterator[Any]:
        raise OSError("reset by peer")
        yield

    there = backend.save(small, name="lost_result")
    monkeypatch.setattr(DataFrame, "to_arrow_batches", lost)

    with pytest.raises(BackendError, match="reading the split train"):
        list(there.batches("train"))


def test_the_same_dataset_is_written_once(shared_account: Any, backend: SnowflakeBackend, small: Dataset) -> None:
    backend.save(small, name="once")
    before = len(shared_account.statements)
    assert backend.save(small, name="once").counts == small.counts
    assert not [s for s in shared_account.statements[before:] if s.sql.startswith(("CREATE", "PUT", "COPY"))]


class Booking(BaseModel):
    people: str | None
    size: int
    share: float | None
    day: datetime.date
    seen: bool
    tags: list[str]
    note: str | int = "none"


def test_typed_columns_of_a_users_table_are_read_as_in_a_file(backend: SnowflakeBackend, tmp_path: Path) -> None:
    rubric = dict.fromkeys(Booking.model_fields, "right")
    task = Task(name="b", system_prompt="", user_template="{ticket}", output=Booking, rubric=rubric)
    session = backend.session()
    session.sql(
        "CREATE TABLE TYPED_TRAIN (TICKET VARCHAR, PEOPLE VARCHAR, SIZE NUMBER, SHARE FLOAT, DAY DATE, SEEN BOOLEAN, "
        "TAGS VARIANT, NOTE VARCHAR)"
    ).collect()
    texts = ["7", "null", "'two'", None]
    for place, text in enumerate(texts):
        people = "NULL" if text is None else "'" + text.replace("'", "''") + "'"
        session.sql(
            f"INSERT INTO TYPED_TRAIN SELECT 't{place}', {people}, {place}, {'NULL' if text is None else '0.5'}, "
            f"'2024-02-29', TRUE, PARSE_JSON('[\"x\"]'), {'NULL' if place else people}"
        ).collect()
    data = backend.load_dataset("TYPED_TRAIN", task=task)
    assert data.counts == {"train": 4}
    saved = backend.save(data, name="typed copy")
    for there in (data, saved, data.download(tmp_path / "typed")):
        found = sorted(there.table("train").to_pylist(), key=lambda row: row["ticket"])
        answers = [task.parse(task.answer(task.outputs(row))) for row in found]
        day = datetime.date(2024, 2, 29)
        assert answers == [
            Booking(
                people=text,
                size=place,
                share=None if text is None else 0.5,
                day=day,
                seen=True,
                tags=["x"],
                note="none" if place else "7",
            )
            for place, text in enumerate(texts)
        ]


class Visit(BaseModel):
    title: str
    people: str | None
    tags: list[str]
    note: str = "none"
    size: int = 1


def test_a_missing_column_stands_for_its_default_as_in_a_file(backend: SnowflakeBackend, tmp_path: Path) -> None:
    rubric = dict.fromkeys(Visit.model_fields, "right")
    task = Task(name="v", system_prompt="", user_template="{ticket} {place}", output=Visit, rubric=rubric)
    backend.session().sql(
        "CREATE TABLE BARE AS SELECT 'a' AS ID, 't' AS TICKET, 'x' AS TITLE, CAST(NULL AS VARCHAR) AS PEOPLE "
        "UNION ALL SELECT 'b', 'u', 'y', '7'"
    ).collect()
    rows = [
        {"id": "a", "ticket": "t", "title": "x", "people": None},
        {"id": "b", "ticket": "u", "title": "y", "people": "7"},
    ]
    with pytest.raises(DataError, match="no column 'place'"):
        backend.load_dataset("BARE", task=task)
    with pytest.raises(DataError, match="no column 'SIZES'"):
        backend.load_dataset("BARE", task=task, allow_empty=["place", "tags"], columns={"size": "SIZES"})
    data = backend.load_dataset("BARE", task=task, allow_empty=["place", "tags"], on_bad_row="ledger")
    file = Dataset.load(rows, task=task, allow_empty=["place", "tags"], into=tmp_path / "file")
    assert data.counts == file.counts
    for there in (data, backend.save(data, name="bare copy"), data.download(tmp_path / "down"), data.deduplicate()):
        assert there.table("train").select(["id", *task.spec().fields]).to_pylist() == file.table("train").to_pylist()
    assert data.download(tmp_path / "again").fingerprint == file.fingerprint


def test_rows_that_lack_a_field_leave_and_those_with_a_default_stay(backend: SnowflakeBackend) -> None:
    rubric = dict.fromkeys(Visit.model_fields, "right")
    task = Task(name="v", system_prompt="", user_template="{ticket}", output=Visit, rubric=rubric)
    backend.session().sql(
        "CREATE TABLE PART AS SELECT 'a' AS ID, 't' AS TICKET, 'x' AS TITLE, 'p' AS PEOPLE, ' ' AS NOTE, '[]' AS TAGS "
        "UNION ALL SELECT 'b', NULL, 'y', NULL, 'n', '[]'"
    ).collect()
    data = backend.load_dataset("PART", task=task, on_bad_row="ledger")
    assert data.table("train").column("id").to_pylist() == ["a"]


def test_a_users_table_is_never_replaced_by_accident(backend: SnowflakeBackend, small: Dataset) -> None:
    backend.session().sql("CREATE TABLE MINE_TRAIN AS SELECT 1 AS X").collect()
    with pytest.raises(DataError, match="MINE_TRAIN already"):
        backend.save(small, name="mine")
    assert backend.session().sql("SELECT X FROM MINE_TRAIN").collect()[0][0] == 1


def test_a_failed_save_leaves_nothing(shared_account: Any, backend: SnowflakeBackend, small: Dataset) -> None:
    shared_account.faults.drop_connection(before=r'TABLE "TEST_DB"."PUBLIC"."BROKEN_LEDGER"', times=20)
    with pytest.raises(Exception, match="BROKEN_LEDGER"):
        backend.save(small, name="broken")
    shared_account.faults._ordered.clear()
    left = backend.session().sql("SHOW TABLES").collect()
    assert [row["name"] for row in left if row["name"].startswith(("BROKEN", "SOAPTUNE_LOAD"))] == []
    assert backend.save(small, name="broken").table("test").equals(small.table("test"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("statement", ["AS WRITE_ID", "COPY INTO", r'TABLE "TEST_DB"."PUBLIC"."\w+_TRAIN"', "UPDATE"])
def test_a_lost_connection_while_saving_changes_nothing(
    shared_account: Any, backend: SnowflakeBackend, small: Dataset, when: str, statement: str
) -> None:
    name = f"lost_{when}_{''.join(c for c in statement if c.isalpha())}"
    shared_account.faults.drop_connection(**{when: statement})
    there = backend.save(small, name=name)
    assert there.table("train").equals(small.table("train"))
    assert there.ledger.rows() == small.ledger.rows()


def test_tables_of_the_public_sample_work_unchanged(backend: SnowflakeBackend, small: Dataset) -> None:
    session = backend.session()
    backend.save(small, name="source")
    for split in ("TRAIN", "TEST"):
        session.sql(f"CREATE TABLE SAMPLE_{split} AS SELECT TICKET, TITLE, URGENCY FROM SOURCE_{split}").collect()
    data = backend.dataset("sample", task=TASK)
    assert data.counts == {"train": 12, "test": 4}
    assert set(data.table("test").column("ticket").to_pylist()) == set(small.table("test").column("ticket").to_pylist())
    assert data.table("train").column("id").to_pylist() == [f"train-{n:06d}" for n in range(12)]
    assert data.fingerprint.startswith("account-sha256:")
    assert data.fingerprint == backend.dataset("sample", task=TASK).fingerprint
    data.verify()
    session.sql("UPDATE SAMPLE_TEST SET TITLE = 'other' WHERE URGENCY = '2'").collect()
    with pytest.raises(DataError, match="test are not those"):
        data.verify()


def test_tables_without_a_task_ask_for_one(backend: SnowflakeBackend) -> None:
    backend.session().sql("CREATE TABLE BARE_TRAIN AS SELECT 'x' AS TICKET").collect()
    with pytest.raises(DataError, match="pass task="):
        backend.dataset("bare")
    with pytest.raises(DataError, match="no column 'title'"):
        backend.dataset("bare", task=TASK)
    with pytest.raises(DataError, match="no dataset NOWHERE"):
        backend.dataset("nowhere")


def test_queries_tables_and_columns_of_other_names(backend: SnowflakeBackend, tmp_path: Path) -> None:
    session = backend.session()
    session.sql(
        "CREATE TABLE OTHER AS SELECT 1 AS KEY, 'a' AS \"my text\", 'b' AS TITLE, 3 AS URGENCY, 'm' AS EXTRA "
        "UNION ALL SELECT 2, 'c', 'd', 4, NULL"
    ).collect()
    columns = {"id": "KEY", "ticket": "my text"}
    query = "SELECT * FROM OTHER WHERE KEY = 2 -- the second"
    data = backend.load_dataset({"train": "OTHER", "test": query}, task=TASK, columns=columns)
    assert data.table("train").to_pylist()[0] == {
        "id": "train-1",
        "ticket": "a",
        "title": "b",
        "urgency": "3",
        "EXTRA": "m",
    }
    assert data.table("test").column("id").to_pylist() == ["test-2"]
    exact = backend.load_dataset({"train": "OTHER"}, task=TASK, columns=columns, fingerprint="rows")
    assert exact.fingerprint == exact.download(tmp_path / "e").fingerprint
    assert data.download(tmp_path / "d").counts == data.counts


def test_rows_without_a_field_are_an_error_or_go_to_the_ledger(backend: SnowflakeBackend) -> None:
    backend.session().sql(
        "CREATE TABLE GAPS AS SELECT 'a' AS ID, 't' AS TICKET, 'x' AS TITLE, '1' AS URGENCY "
        "UNION ALL SELECT 'b', NULL, 'y', '2' UNION ALL SELECT 'c', 'u', ' ', '3'"
    ).collect()
    with pytest.raises(DataError, match="ticket in 1, title in 1"):
        backend.load_dataset("GAPS", task=TASK)
    data = backend.load_dataset("GAPS", task=TASK, on_bad_row="ledger")
    assert data.table("train").column("id").to_pylist() == ["a"]
    assert {row.id: row.fate for row in data.ledger} == {"a": "kept", "b": "dropped", "c": "dropped"}
    data.ledger.reconcile(3)


def test_an_id_that_stands_twice_is_an_error(backend: SnowflakeBackend) -> None:
    backend.session().sql(
        "CREATE TABLE TWICE AS SELECT 'a' AS ID, 't' AS TICKET, 'x' AS TITLE, '1' AS URGENCY "
        "UNION ALL SELECT 'a', 'u', 'y', '2'"
    ).collect()
    with pytest.raises(DataError, match="the id of another row"):
        backend.load_dataset("TWICE", task=TASK)


def test_a_split_in_the_account_keeps_families_together(
    shared_account: Any, backend: SnowflakeBackend, tmp_path: Path
) -> None:
    count = 40
    group = [f"g{n // 4}" if n < 20 else None for n in range(count)]
    table = rows(count, group=group)
    tickets = table.column("ticket").to_pylist()
    tickets[30], tickets[31] = "the same\u00a0 ticket", "  the same\nticket "
    table = table.set_column(1, "ticket", pa.array(tickets))
    ledger = RowLedger()
    ledger.add("r0", split="train", fate="cut", reason="long", tokens=3, step="x")
    ledger.extend([f"r{n}" for n in range(1, count)], split="train", fate="kept", step="x")
    ledger.add("gone", split="train", fate="dropped", reason="bad", step="x")
    there = backend.save(local(tmp_path / "d", {"train": table}, ledger=ledger), name="families")
    before = len(shared_account.statements)
    done = there.split("50/25/25", seed=7, into="parts")
    assert not texts_that_left(shared_account, before)
    assert done.counts == {"train": 20, "validation": 10, "test": 10}
    place = {row: split for split in done.splits for row in done.table(split).column("id").to_pylist()}
    assert sorted(place) == sorted(f"r{n}" for n in range(count))
    for n in range(0, 20, 4):
        assert len({place[f"r{m}"] for m in range(n, n + 4)}) == 1
    assert place["r30"] == place["r31"]
    assert done.ledger.in_use() == done.counts
    done.ledger.reconcile(count + 1)
    assert {row.fate for row in done.ledger if row.id in ("r0", "gone")} == {"cut", "dropped"}
    assert done.manifest.how["from"]["fingerprint"] == there.fingerprint
    again = there.split("50/25/25", seed=7, into="parts_again")
    assert again.fingerprint == done.fingerprint
    assert there.split("50/25/25", seed=8).fingerprint != done.fingerprint
    assert done.table("train").schema == there.table("train").schema
    assert done.leakage("test") == ()
    done.verify()


def test_repeated_rows_leave_in_the_account(backend: SnowflakeBackend, tmp_path: Path) -> None:
    first, second = rows(3), rows(3, prefix="s")
    there = backend.save(local(tmp_path / "d", {"train": first, "test": second}), name="repeated")
    assert there.leakage("test") == ("s0", "s1", "s2")
    unique = there.deduplicate()
    local_unique = there.download(tmp_path / "back").deduplicate(into=tmp_path / "unique")
    assert unique.counts == local_unique.counts == {"train": 3, "test": 0}
    assert unique.ledger.rows() == local_unique.ledger.rows()


def test_a_dataset_moves_between_backends_and_has_no_path(
    backend: SnowflakeBackend, small: Dataset, tmp_path: Path
) -> None:
    there = small.copy_to(backend)
    assert (there.location.kind, there.copy_to(backend)) == ("tables", there)
    assert not hasattr(there, "path")
    back = there.copy_to(LocalBackend(tmp_path / "runs"))
    assert (back.location.kind, back.fingerprint) == ("folder", small.fingerprint)


def test_a_dataset_in_tables_is_copied_inside_the_account(
    shared_account: Any, backend: SnowflakeBackend, small: Dataset
) -> None:
    there = small.copy_to(backend)
    before = len(shared_account.statements)
    copied = backend.save(there, name="DEMO_COPY")
    assert not texts_that_left(shared_account, before)
    assert copied.fingerprint == small.fingerprint
    assert copied.table("train").equals(small.table("train"))


def test_a_version_of_a_snowflake_dataset_is_read_where_it_lies(backend: SnowflakeBackend, small: Dataset) -> None:
    from snowflake.ml import dataset as datasets

    session = backend.session()
    backend.save(small, name="for_version")
    made = datasets.create_from_dataframe(
        session, "TICKETS", "v1", input_dataframe=session.table("FOR_VERSION_TRAIN").drop("SOAPTUNE_ROW")
    )
    assert made.selected_version is not None
    data = backend.load_dataset("snow://dataset/TICKETS/versions/v1", task=TASK)
    assert data.counts == {"train": 12}
    assert sorted(data.table("train").column("id").to_pylist()) == sorted(small.table("train").column("id").to_pylist())


def test_a_handle_travels_as_json(backend: SnowflakeBackend, small: Dataset) -> None:
    there = small.copy_to(backend)
    text = there.location.model_dump_json()
    assert json.loads(text)["splits"]["train"]["columns"]["ticket"] == "TICKET"
    assert "plain" not in text
    assert Tables.model_validate_json(text) == there.location


def test_the_training_steps_look_at_a_table_reads_no_rows(
    shared_account: Any, backend: SnowflakeBackend, tmp_path: Path
) -> None:
    from soaptune.train.spec import TrainSpec
    from soaptune.train.trainer import Trainer

    table = rows(4)
    table = table.set_column(2, "title", pa.array(["a", " ", "", "b"]))
    there = backend.save(local(tmp_path / "d", {"train": table}), name="looked_at")
    before = len(shared_account.statements)
    found = Trainer(spec=TrainSpec.preset("tiny-lora")).preflight(there, on=backend)
    assert [(v.code, v.message) for v in found if v.code == "empty-answers"] == [
        ("empty-answers", "of 4 rows, these answer fields are empty: title in 2")
    ]
    assert not texts_that_left(shared_account, before)
    assert there.empty_counts("train", ["ticket", "title"]) == {"ticket": 0, "title": 2}


def test_filter_select_and_map_bring_the_rows_here_and_say_where_they_come_from(
    backend: SnowflakeBackend, small: Dataset, tmp_path: Path
) -> None:
    there = small.copy_to(backend)
    assert there == small
    assert (list(there), len(there), there.num_rows) == (["train", "test"], 2, {"train": 12, "test": 4})
    for how in (
        lambda data, into: data.filter(lambda row: row["id"].endswith(("1", "2", "13")), into=into),
        lambda data, into: data.select({"train": [3, 1]}, into=into),
        lambda data, into: data.map(lambda row: {"title": row["title"].upper()}, into=into),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        found, wanted = how(there, folder / "there"), how(small, folder / "here")
        assert found == wanted
        assert found.manifest.how["from"]["fingerprint"] == small.fingerprint
        assert found.ledger.counts() == wanted.ledger.counts()
