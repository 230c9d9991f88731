"""The whole path on Snowflake: generate, train, evaluate, deploy, ask; undisturbed, and with a fault in each stage."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import soaptune as st
from examples.snowflake import DIALOGUE, Recipe, walk
from soaptune.errors import BackendError, GateError, JobFailed
from soaptune.handles.ledger import RowLedger
from soaptune.snowflake.handles.report import read_report_table
from tests.e2e.helpers import small

if importlib.util.find_spec("fakesnow") is None:
    pytest.skip("needs the extra 'testing'", allow_module_level=True)

RECIPE = Recipe(preset="tiny-lora", num_samples=40, max_steps=2, gpus=0)
SERVICE = st.ServiceOptions(gpus=0)


@pytest.fixture
def account() -> Iterator[Any]:
    from snowflake.snowpark import Session

    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake() as made:
        administrator = Session.builder.configs(made.connection_parameters).create()
        administrator.connection.execute_string(on(made).setup_sql(role=made.role))
        administrator.close()
        yield made


@pytest.fixture
def backend(account: Any) -> Iterator[st.SnowflakeBackend]:
    made = on(account)
    yield made
    made.close()


def on(account: Any) -> st.SnowflakeBackend:
    return st.SnowflakeBackend(
        compute_pool="GPU_POOL",
        database=account.database,
        schema=account.schema,
        warehouse=account.warehouse,
        external_access_integrations=["PYPI_HF_EAI"],
        connection_parameters=account.connection_parameters,
    )


def jobs_that_ran(account: Any) -> list[str]:
    """What each job of the account was for, whatever became of it."""
    return sorted(job.name.name.split("_")[1] for job in account.jobs.history())


def rows(backend: st.SnowflakeBackend, sql: str) -> list[Any]:
    return backend.session().sql(sql).collect()


def services(backend: st.SnowflakeBackend) -> list[str]:
    """The services that answer; the one that built an image is Snowflake's own and has ended."""
    return [row["name"] for row in rows(backend, "SHOW SERVICES IN SCHEMA PUBLIC") if row["status"] != "DONE"]


def nothing_is_left(backend: st.SnowflakeBackend) -> None:
    """Whether cleaning up takes all that is not a result that was asked for."""
    assert backend.cleanup(), "there was something to remove"
    assert backend.cleanup() == []
    assert backend.jobs() == []
    assert rows(backend, "LIST @SOAPTUNE_STAGE") == []
    assert rows(backend, "SHOW JOB SERVICES IN SCHEMA PUBLIC") == []
    assert rows(backend, "SHOW TABLES LIKE 'SOAPTUNE%' IN SCHEMA PUBLIC") == []


def trained_as_here(backend: st.SnowflakeBackend, data: st.Dataset, folder: Path) -> None:
    """Whether the training job read the tables, every row, and made the losses that this machine makes of them."""
    (job,) = (job for job in backend.jobs() if job.spec.kind == "model")
    left = folder / "left"
    job.output.get(left)
    assert {row.id for row in RowLedger.read(left / "ledger.parquet")} == set(data.table("train")["id"].to_pylist())
    log = "\n".join(job.logs())
    assert "reading the split train from Snowflake" in log
    assert not [text for text in data.table("train")["dialogue"].to_pylist() if text[:60] in log]

    here = st.LocalBackend(folder / "runs")
    spec = st.TrainSpec.preset(RECIPE.preset).replace(max_steps=RECIPE.max_steps)
    local = st.Trainer(spec=spec).submit(data.copy_to(here), on=here)
    local.wait(600)
    found = [losses((place / "metrics.jsonl").read_text(encoding="utf-8")) for place in (left, local.output.path)]
    assert len(found[0]) == RECIPE.max_steps
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def losses(lines: str) -> list[float]:
    return [row["loss"] for row in map(json.loads, lines.splitlines()) if "loss" in row]


def evaluated_and_served_once(backend: st.SnowflakeBackend, account: Any, model: st.Model, report: Any) -> None:
    """Whether the report's table holds its figures, a gate holds, and what serves already is found."""
    (job,) = (job for job in backend.jobs() if job.spec.kind == "report")
    table = read_report_table(backend.schema_ref, job.spec.name)
    assert {row["METRIC"]: row["VALUE"] for row in table} == {k: m.value for k, m in report.metrics.items()}
    assert backend.job(job.id).result() == report  # and the table is as it was
    assert len(read_report_table(backend.schema_ref, job.spec.name)) == len(table)

    deployer = st.Deployer(name="soap-notes", task=st.tasks.SOAP, service=SERVICE)
    with pytest.raises(GateError, match="schema_valid"):
        deployer.replace(require=st.Gates(schema_valid=0.99)).run(model, report, on=backend)
    start = len(account.statements)
    deployer.run(model, report, on=backend)
    assert not any("DEPLOY_MODEL" in statement.sql for statement in account.statements[start:])


def test_the_walkthrough_makes_one_of_each_and_leaves_nothing_behind(
    backend: st.SnowflakeBackend, account: Any, tmp_path: Path
) -> None:
    done = walk(backend, RECIPE)

    assert isinstance(done.note, st.tasks.SOAP.output)
    assert done.report.metrics["schema_valid"].n == done.data.counts["test"]
    assert done.model.lineage["data"] == done.data.fingerprint
    assert done.report.lineage.model_fingerprint == done.model.fingerprint
    assert jobs_that_ran(account) == ["EVALUATE", "GENERATE", "SOAP", "TRAIN"]
    # No row of the data passed the client on its way from one step to the next.
    text = done.data.table("test").column("dialogue")[0].as_py()
    assert not any(text[:80] in repr((one.sql, one.binds)) for one in account.statements)

    trained_as_here(backend, done.data, tmp_path)
    evaluated_and_served_once(backend, account, done.model, done.report)

    done.endpoint.stop()
    with pytest.raises(BackendError, match="SOAP_NOTES"):
        done.endpoint.health()
    nothing_is_left(backend)
    assert services(backend) == []
    # The data, the version in the registry, the report's table and the tracked runs are what was asked for.
    assert len(rows(backend, "SELECT * FROM SOAP_DATA_TRAIN")) == done.data.counts["train"]
    assert [row["name"] for row in rows(backend, "SHOW MODELS IN SCHEMA PUBLIC")] == ["SOAP_NOTES"]


@pytest.mark.soak
def test_a_fault_in_each_stage_loses_nothing_and_runs_nothing_twice(backend: st.SnowflakeBackend, account: Any) -> None:
    faults = account.faults

    # The job is sent, and the answer is lost.
    faults.drop_connection(after=r"SYSTEM\$EXECUTE_ML_JOB")
    generator = st.DataGenerator(task=st.tasks.SOAP, num_samples=40, seed=5, table="SOAP_DATA")
    data = generator.run(on=backend)
    assert jobs_that_ran(account) == ["GENERATE"]
    assert sum(data.counts.values()) == 40

    # The node is lost while the job trains; then a file does not go up, and the session is gone.
    trainer = st.Trainer(spec=small("tiny-lora").replace(max_steps=2))
    faults.preempt_node("TRAIN", after=1.0)
    with pytest.raises(JobFailed, match="preempted"):
        trainer.run(data, on=backend)
    faults.fail_put(4)
    faults.expire_session(renewable=False)
    model = trainer.run(data, on=backend, key="the second try")
    assert jobs_that_ran(account) == ["GENERATE", "TRAIN", "TRAIN"]
    # Who does not know whether it was sent asks again under the same key.
    assert trainer.run(data, on=backend, key="the second try") == model
    assert jobs_that_ran(account) == ["GENERATE", "TRAIN", "TRAIN"]

    # Snowflake is busy, and the connection drops while the job is watched.
    faults.throttle(times=2)
    faults.drop_connection(before="DESCRIBE SERVICE")
    faults.delay_logs(1.0)
    report = st.Evaluator(base=False).run(model, data, on=backend)
    assert report.metrics["schema_valid"].n == data.counts["test"]
    faults.delay_logs(0.0)

    # The job is killed after it began to deploy; the next one takes over what is there.
    deployer = st.Deployer(name="soap-notes", task=st.tasks.SOAP, service=SERVICE)
    faults.kill_job("SOAP_NOTES", after=6.0)
    with pytest.raises(JobFailed):
        deployer.run(model, report, on=backend)
    endpoint = deployer.run(model, report, on=backend)
    assert set(endpoint.generate(dialogue=DIALOGUE).model_dump()) == {"S", "O", "A", "P"}
    assert services(backend) == ["SOAP_NOTES"]
    assert len(rows(backend, "SHOW VERSIONS IN MODEL SOAP_NOTES")) == 1

    endpoint.stop()
    nothing_is_left(backend)
    assert backend.dataset("SOAP_DATA").fingerprint == data.fingerprint
