"""What others may write into a shared schema or stage never becomes part of a statement."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soaptune.errors import DataError, SoaptuneError
from soaptune.handles.dataset import Dataset
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.jobs.experiments import Run, track
from soaptune.tasks.spec import TaskSpec

TASK = TaskSpec(
    name="tickets",
    system_prompt="Say what the ticket is about.",
    user_template="{ticket}",
    output_schema={"type": "object", "properties": {"title": {"type": "string"}}},
    output_fields=("title",),
    input_fields=("ticket",),
)
PLANTED = [
    '"; DROP TABLE VICTIM; --',
    "' || (select secret from VICTIM) || '",
    "$$; DROP TABLE VICTIM; $$",
    "\\'; DROP",
]


@pytest.fixture(scope="module")
def backend(shared_account: Any) -> Iterator[SnowflakeBackend]:
    made = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database="TEST_DB",
        schema="PUBLIC",
        connection_parameters=shared_account.connection_parameters,
    )
    made.session().sql("CREATE OR REPLACE TABLE VICTIM (SECRET VARCHAR)").collect()
    made.session().sql("INSERT INTO VICTIM VALUES ('hidden')").collect()
    yield made
    made.close()


@pytest.fixture(scope="module")
def saved(backend: SnowflakeBackend, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The manifest of a dataset that stands in the tables ``SOAP_...``."""
    rows = [{"id": f"r{n}", "ticket": f"the lamp {n}", "title": f"lamp {n}"} for n in range(3)]
    made = Dataset.load(rows, task=TASK, into=tmp_path_factory.mktemp("made") / "data")
    backend.save(made, name="SOAP")
    return json.loads(backend.session().sql("SELECT DOCUMENT FROM SOAP_MANIFEST").collect()[0][0])


def plant(backend: SnowflakeBackend, document: dict[str, Any]) -> None:
    backend.session().sql("UPDATE SOAP_MANIFEST SET DOCUMENT = ?", params=[json.dumps(document)]).collect()


def victim(backend: SnowflakeBackend) -> list[Any]:
    return [tuple(row) for row in backend.session().sql("SELECT SECRET FROM VICTIM").collect()]


def test_a_query_in_a_manifest_is_not_run(
    backend: SnowflakeBackend, saved: dict[str, Any], shared_account: Any
) -> None:
    split = {**saved["splits"]["train"], "sql": "SELECT SECRET AS ID, SECRET AS TICKET, SECRET AS TITLE FROM VICTIM"}
    plant(backend, {**saved, "splits": {"train": {key: value for key, value in split.items() if key != "table"}}})
    since = len(shared_account.statements)
    with pytest.raises(DataError, match=r"a query that somebody else has written down.*backend\.load_dataset"):
        backend.dataset("SOAP").table("train")
    assert not any("VICTIM" in statement.sql for statement in shared_account.statements[since:])
    plant(backend, saved)
    assert backend.dataset("SOAP").table("train").num_rows == 3


@pytest.mark.parametrize("text", PLANTED)
@pytest.mark.parametrize("place", ["column", "name", "table", "order", "absent", "split", "ledger"])
def test_names_in_a_manifest_stay_names(
    backend: SnowflakeBackend, saved: dict[str, Any], place: str, text: str
) -> None:
    made = json.loads(json.dumps(saved))
    split = made["splits"]["train"]
    if place == "column":
        split["columns"]["ticket"] = text
    elif place == "name":
        split["columns"][text] = split["columns"].pop("ticket")
    elif place == "table":
        split["table"][2] = text
    elif place == "order":
        split["order"] = text
    elif place == "absent":
        split.update(columns={**split["columns"], "title": ""}, absent={"title": text})
    elif place == "split":
        made["splits"] = {text: split}
        made["manifest"]["counts"] = {text: 3}
    else:
        made["ledger"] = [*made["ledger"][:2], text]
    plant(backend, made)
    for look in (
        lambda: backend.dataset("SOAP").ledger.counts(),
        lambda: [backend.dataset("SOAP").table(one) for one in backend.dataset("SOAP").splits],
        lambda: backend.dataset("SOAP").verify(),
        lambda: backend.dataset("SOAP").deduplicate(into="SOAP_OTHER"),
    ):
        try:
            look()
        except SoaptuneError:
            continue
    assert victim(backend) == [("hidden",)]
    plant(backend, saved)


def test_what_is_replaced_is_named_by_us_and_not_by_a_manifest(
    backend: SnowflakeBackend, saved: dict[str, Any], tmp_path: Path
) -> None:
    made = json.loads(json.dumps(saved))
    made["splits"]["test"] = {**made["splits"]["train"], "table": ["TEST_DB", "PUBLIC", "VICTIM"]}
    plant(backend, made)
    rows = [{"id": "a", "ticket": "another", "title": "b"}]
    backend.save(Dataset.load(rows, task=TASK, into=tmp_path / "new"), name="SOAP", overwrite=True)
    assert victim(backend) == [("hidden",)]
    backend.session().sql("UPDATE SOAP_MANIFEST SET DOCUMENT = '{\"damaged'").collect()
    with pytest.raises(DataError, match="not valid JSON"):
        backend.dataset("SOAP")
    made = Dataset.load([{"id": "a", "ticket": "third", "title": "b"}], task=TASK, into=tmp_path / "third")
    backend.save(made, name="SOAP", overwrite=True)
    assert backend.dataset("SOAP").counts == {"train": 1}


def test_one_bad_record_hides_no_other_job(backend: SnowflakeBackend, caplog: pytest.LogCaptureFixture) -> None:
    backend.files.make_stage()
    good = backend.records.write("SOAPTUNE_GOOD_000000000000", JobSpec(name="good", entrypoint=("true",)), {})
    folder = backend.files.folder("jobs")
    whole = json.loads(good.to_json())
    bad = ["[" * 5_000, "[]", "\ufeff", '{"time": ' + "9" * 6_000 + "}", json.dumps({**whole, "spec": [1]})]
    bad += [json.dumps({**whole, key: value}) for key in ("time", "settings") for value in (5, [1], "x")]
    bad += [json.dumps({**whole, "time": "2026-01-01T00:00:00"})]
    for number, text in enumerate(bad):
        folder.write(f"SOAPTUNE_BAD_{number:012}.json", text)
    folder.write("SOAPTUNE_$$; DROP.json", json.dumps(whole))
    with caplog.at_level(logging.WARNING, logger="soaptune"):
        assert [job.id for job in backend.jobs()] == ["SOAPTUNE_GOOD_000000000000"]
    assert all(f"SOAPTUNE_BAD_{number:012}" in caplog.text for number in range(len(bad)))
    for number in range(len(bad)):
        with pytest.raises(SoaptuneError, match=r"is damaged|not written by this version"):
            backend.job(f"SOAPTUNE_BAD_{number:012}")


def test_a_note_on_the_stage_makes_no_other_service_a_jobs_own(backend: SnowflakeBackend) -> None:
    backend.records.write("SOAPTUNE_GOOD_000000000001", JobSpec(name="good", entrypoint=("true",)), {})
    state = backend.files.folder("SOAPTUNE_GOOD_000000000001", "state")
    state.write("service.json", '{"service": "SOMEBODY_ELSES"}')
    assert backend.job("SOAPTUNE_GOOD_000000000001").service is None  # pyright: ignore[reportAttributeAccessIssue]
    state.write("ended.json", '{"state": ["done"]}')
    assert backend.job("SOAPTUNE_GOOD_000000000001").status == "pending"


@pytest.mark.parametrize("text", PLANTED)
def test_dollars_in_the_names_of_an_experiment(backend: SnowflakeBackend, shared_account: Any, text: str) -> None:
    known = Run({f"a{text}": f"b{text}", "name": text}, {1: {f"loss{text}": 0.5}}, {})
    since = len(shared_account.statements)
    job = f"SOAPTUNE_RUN_{PLANTED.index(text):012}"
    assert track(backend.schema_ref, "SOAPTUNE", job, lambda: known)
    sent = [s.sql for s in shared_account.statements[since:] if "PARAMETERS=" in s.sql or "METRICS=" in s.sql]
    assert len(sent) == 2
    assert all(sql.count("$$") == 2 for sql in sent)
    assert victim(backend) == [("hidden",)]
