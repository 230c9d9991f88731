"""Data generated in the account, and datasets in tables as a job's input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soaptune.data import DataGenerator
from soaptune.errors import DataError, JobFailed
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.tasks import SOAP


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


@pytest.fixture(scope="module")
def generator() -> DataGenerator:
    return DataGenerator(task=SOAP, num_samples=200, seed=7)


def test_data_generated_in_snowflake_is_the_data_generated_here(
    backend: SnowflakeBackend, generator: DataGenerator, tmp_path: Path
) -> None:
    there = generator.run(on=backend)
    here = generator.run(on=LocalBackend(tmp_path / "runs"))
    assert isinstance(there, TableDataset)
    assert (there.fingerprint, there.counts) == (here.fingerprint, here.counts)
    assert there.manifest.how == here.manifest.how
    assert there.table("test").equals(here.table("test"))
    assert there.ledger.rows() == here.ledger.rows()
    names = backend.session().sql("SHOW TABLES LIKE 'SOAP_%'").collect()
    assert {"SOAP_TRAIN", "SOAP_VALIDATION", "SOAP_TEST", "SOAP_LEDGER"} <= {row["name"] for row in names}
    assert backend.dataset("SOAP").fingerprint == here.fingerprint
    columns = backend.session().sql("SELECT DIALOGUE, S, O, A, P FROM SOAP_TRAIN LIMIT 1").collect()
    assert columns[0]["DIALOGUE"]


def test_generating_again_changes_nothing_and_something_else_is_refused(
    backend: SnowflakeBackend, generator: DataGenerator
) -> None:
    step = generator.replace(num_samples=30, table="AGAIN")
    first = step.run(on=backend)
    assert step.run(on=backend).fingerprint == first.fingerprint
    other = step.replace(seed=8)
    found = backend.preflight(other.compile(on=backend))
    assert [(v.code, v.level) for v in found if v.path == "table"] == [("table-exists", "warning")]
    with pytest.raises(JobFailed) as caught:
        other.run(on=backend)
    assert any("overwrite=True" in line for line in caught.value.log_tail)
    assert backend.dataset("AGAIN").fingerprint == first.fingerprint
    replaced = other.replace(overwrite=True).run(on=backend)
    assert backend.dataset("AGAIN").fingerprint == replaced.fingerprint != first.fingerprint


def test_a_job_reads_its_input_from_tables(backend: SnowflakeBackend, generator: DataGenerator) -> None:
    data = generator.replace(num_samples=20, table="FOR_A_JOB").run(on=backend)
    script = (
        "from soaptune.runtime.inputs import open_dataset\n"
        "data = open_dataset('../inputs/data')\n"
        "print('read', type(data).__name__, data.fingerprint, data.table('train').num_rows, len(data.facts('test')))\n"
    )
    spec = JobSpec(
        name="read", entrypoint=("python", "main.py"), files={"main.py": script}, inputs={"data": data.location}
    )
    job = backend.submit(spec)
    job.wait(timeout=120)
    said = next(line for line in job.logs() if line.startswith("read "))
    assert said.split() == ["read", "TableDataset", data.fingerprint, "16", "2"]


def test_a_dataset_whose_writing_was_interrupted_is_not_opened(backend: SnowflakeBackend) -> None:
    backend.session().sql(
        "CREATE TABLE HALF_MANIFEST AS SELECT 'x' AS WRITE_ID, CAST(NULL AS VARCHAR) AS DOCUMENT"
    ).collect()
    with pytest.raises(DataError, match="not finished"):
        backend.dataset("HALF")
