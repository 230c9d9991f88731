"""Removing jobs and datasets in an account: what others need stays, and what still holds text is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soaptune.errors import BackendError, ConfigError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import StagePath
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.tasks.spec import TaskSpec

_HOME: dict[str, Any] = {"compute_pool": "GPU_POOL", "database": "TEST_DB", "schema": "PUBLIC"}
TASK = TaskSpec(
    name="ticket",
    system_prompt="Answer in JSON.",
    user_template="{text}",
    output_schema={"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]},
    output_fields=("who",),
    input_fields=("text",),
)


@pytest.fixture
def backend(account: Any) -> Iterator[SnowflakeBackend]:
    made = SnowflakeBackend(**_HOME, connection_parameters=account.connection_parameters)
    yield made
    for job in made.jobs():
        job.cancel()
    made.close()


def submitted(backend: SnowflakeBackend, code: str = "pass", **more: Any) -> Any:
    return backend.submit(JobSpec(**{"name": "try", "entrypoint": ("python", "-c", code), **more}))


def rows(folder: Path) -> Dataset:
    return Dataset.load([{"text": "text", "who": "Ann"}], task=TASK, into=folder)


def tables(backend: SnowflakeBackend) -> set[str]:
    return {row["name"] for row in backend.session().sql("SHOW TABLES IN SCHEMA PUBLIC").collect()}


def test_what_a_running_job_reads_stays_and_what_holds_the_text_is_named(
    backend: SnowflakeBackend, tmp_path: Path
) -> None:
    data = backend.save(rows(tmp_path / "data"), name="soap")
    made = submitted(backend, "open('../output/x', 'w').write('y')")
    made.wait(60)
    stage = backend.stage_name
    place = StagePath(stage=(stage.database, stage.schema, stage.name), path=f"{made.id}/output")
    reader = submitted(backend, "import time; time.sleep(600)", inputs={"made": place, "data": data.location})
    assert backend.cleanup() == []
    with pytest.raises(BackendError, match=rf"{reader.id} reads what the job {made.id}"):
        made.delete()
    with pytest.raises(BackendError, match=rf"is read by {reader.id}"):
        data.delete(on=backend)
    reader.cancel()
    before = tables(backend)

    planned = data.delete(on=backend, dry_run=True)
    assert tables(backend) == before
    deletion = data.delete(on=backend)
    assert deletion == planned
    parts = ("TRAIN", "LEDGER", "MANIFEST")
    assert deletion.removed == tuple(f'table "TEST_DB"."PUBLIC"."SOAP_{part}"' for part in parts)
    assert before - tables(backend) == {f"SOAP_{part}" for part in parts}
    assert [copy.job for copy in deletion.copies] == [reader.id]
    assert deletion.copies[0].remove == f"backend.job({reader.id!r}).delete()"
    assert data.delete(on=backend).removed == ()

    planned_files = made.delete(dry_run=True)
    assert f"files {made.stage.location}/" in planned_files
    assert made.stage.list()
    assert made.delete() == planned_files
    assert [job.id for job in backend.jobs()] == [reader.id]
    with pytest.raises(ConfigError, match="older_than"):
        backend.cleanup(older_than=float("nan"))


def test_tables_of_the_user_s_own_are_not_removed(backend: SnowflakeBackend) -> None:
    backend.session().sql("CREATE TABLE OWN_TRAIN (TEXT VARCHAR, WHO VARCHAR)").collect()
    backend.session().sql("INSERT INTO OWN_TRAIN VALUES ('a', 'b')").collect()
    data = backend.load_dataset("OWN_TRAIN", task=TASK)
    with pytest.raises(DataError, match="drop them yourself"):
        data.delete(on=backend)
    assert "OWN_TRAIN" in tables(backend)
