"""Evaluating a Cortex model in place of the tuned one: each row asked once, failures told, a report of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snowflake.ml.experiment import ExperimentTracking

import soaptune as st
from soaptune import tiny
from soaptune.common.files import write_json
from soaptune.engines import VLLM, Cortex
from soaptune.errors import BackendError, CheckFailed, GateError, JobFailed
from soaptune.evaluate import Evaluator
from soaptune.evaluate.evaluator import EvalPayload
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.handles.weights import fingerprint_folder
from soaptune.jobs.place import Place
from soaptune.jobs.requirements import requirements
from soaptune.runtime.engines.cortex import CortexEngine
from soaptune.runtime.evaluate import job
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.handles.report import read_report_table
from soaptune.snowflake.session import Connection
from tests.contract.test_evaluate_job import NAMES, TASK
from tests.contract.test_vllm_engine import STAND_IN
from tests.unit.evaluate.test_evaluator import make_model

STEP = Evaluator(engine=Cortex(model="some-model"), resamples=1000)
TEXTS = [f"{name} pays {i} euros" for i, name in enumerate(NAMES)]


def answer(model: str, prompt: str, response_format: dict[str, Any] | None) -> str | None:
    number = int(prompt.rsplit(" ", 2)[1])
    if number == 2:
        raise RuntimeError("the prompt was flagged")
    if number == 3:
        return None
    if number == 4:
        return 'Sure! {"who": "Eva"}'
    return json.dumps({"who": NAMES[number], "what": f"pays {number} euros"})


@pytest.fixture
def account() -> Iterator[Any]:
    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake(ai_complete=answer) as made:
        yield made


@pytest.fixture
def backend(account: Any) -> Iterator[SnowflakeBackend]:
    made = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database="TEST_DB",
        schema="PUBLIC",
        connection_parameters=account.connection_parameters,
    )
    yield made
    made.close()


@pytest.fixture
def data(backend: SnowflakeBackend, tmp_path: Path) -> Any:
    rows = {
        "id": [f"r{i}" for i in range(6)],
        "text": TEXTS,
        "who": NAMES,
        "what": [f"pays {i} euros" for i in range(6)],
    }
    local = Dataset.write(tmp_path / "data", {"test": pa.table(rows)}, task=TASK, how={"step": "test"})
    return local.copy_to(backend)


@pytest.fixture
def model(backend: SnowflakeBackend, tmp_path: Path) -> Any:
    made = make_model(tmp_path / "m", task=TASK)
    (made.weights / "model.safetensors").write_bytes(b"weights that no job needs")
    manifest = made.manifest.replace(fingerprint=fingerprint_folder(made.weights))
    write_json(made.path / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(made.path).copy_to(backend)


def plan_of(step: Evaluator, model: Any, data: Any, backend: SnowflakeBackend) -> tuple[EvalPayload, Place]:
    files = step.compile(model, data, on=backend).files
    return EvalPayload.model_validate_json(files["step.json"]), Place.model_validate_json(files["place.json"])


def evaluate(
    plan: tuple[EvalPayload, Place], output: Path, backend: SnowflakeBackend, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The job's own code in this process, with this process's way to the account."""
    monkeypatch.setattr("soaptune.runtime.engines.cortex.Connection", lambda: backend.connection)
    payload, place = plan
    app, data = output.parent / "app", output.parent / "inputs" / "data"
    app.mkdir(exist_ok=True)
    data.parent.mkdir(exist_ok=True)
    if not data.exists():
        data.symlink_to(place.inputs["data"].path)
    monkeypatch.chdir(app)
    return job.evaluate(payload, place, output)


def test_a_job_asks_each_row_once_and_reports_the_cortex_model(
    account: Any, backend: SnowflakeBackend, data: Any, model: Any
) -> None:
    report = STEP.run(model, data, on=backend)
    assert sorted(call.prompt for call in account.ai.calls) == sorted(f"Answer in JSON.\n\n{text}" for text in TEXTS)
    assert {call.model for call in account.ai.calls} == {"some-model"}
    assert all(call.response_format is None for call in account.ai.calls), "it is not held to the schema"
    assert account.ai.calls[0].parameters == {"temperature": 0.0, "max_tokens": 2048}
    assert report.metrics["schema_valid"].value == 3 / 6
    assert report.errors == {"model": {"no-answer": 2, "surrounding-text": 1}}
    assert report.lineage.model_fingerprint == "cortex:some-model"
    assert report.lineage.base_model == ""
    assert report.lineage.evaluator["base"] is False
    assert "perplexity" not in report.metrics
    assert not any(name.startswith("base/") for name in report.metrics)
    said = " ".join(report.notes)
    assert "Cortex model some-model, as an alternative to the tuned model" in said
    assert "no perplexity" in said
    assert "nothing to count: perplexity" not in said
    assert "2 prompts got no answer" in said
    assert backend.connection.rows("looking", "SHOW TABLES LIKE 'SOAPTUNE_TMP%' IN SCHEMA PUBLIC") == []
    # The job has written its metrics and its run; who looks at its result writes nothing.
    (job_done,) = backend.jobs()
    rows = read_report_table(backend.schema_ref, "evaluate", job_done.id)
    assert {row["METRIC"]: row["VALUE"] for row in rows} == {name: m.value for name, m in report.metrics.items()}
    assert report.table is not None
    assert report.table.name == "EVALUATE_REPORT"
    runs = ExperimentTracking(backend.session(), database_name="TEST_DB", schema_name="PUBLIC")
    try:
        runs.set_experiment("SOAPTUNE")
        assert job_done.id in {row["run_name"] for row in runs.list_params().collect()}
    finally:
        ExperimentTracking._instance = None
    before = len(account.statements)
    assert job_done.result() == report
    writes = ("INSERT", "MERGE", "CREATE", "UPDATE", "ALTER", "PUT", "CALL SYSTEM$")
    assert not [one.sql for one in account.statements[before:] if one.sql.lstrip().upper().startswith(writes)]


def test_the_reasons_of_failures_are_beside_the_answers_and_nowhere_else(
    account: Any,
    backend: SnowflakeBackend,
    data: Any,
    model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of(STEP, model, Dataset.open(tmp_path / "data"), backend)
    report = evaluate(plan, tmp_path / "output", backend, monkeypatch)
    table = pq.read_table(tmp_path / "output" / "predictions.parquet").to_pylist()
    reasons = {row["id"]: row["reason"] for row in table if row["reason"]}
    assert reasons == {
        "r2": "some-model gave no answer: the prompt was flagged",
        "r3": "some-model gave no answer: no reason given",
    }
    assert "flagged" not in report.model_dump_json()
    assert report.n == len(account.ai.calls) == 6


def test_constrained_decoding_asks_for_the_schema(
    account: Any,
    backend: SnowflakeBackend,
    data: Any,
    model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = STEP.replace(constrained=True, max_new_tokens=77, max_samples=2)
    plan = plan_of(step, model, Dataset.open(tmp_path / "data"), backend)
    report = evaluate(plan, tmp_path / "output", backend, monkeypatch)
    assert report.n == len(account.ai.calls) == 2
    sent = account.ai.calls[0]
    assert sent.response_format == {"type": "json", "schema": TASK.output_schema}
    assert sent.parameters == {"temperature": 0.0, "max_tokens": 77}
    assert any("constrained" in note for note in report.notes)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_connection_asks_nothing_twice(
    account: Any,
    backend: SnowflakeBackend,
    data: Any,
    model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    account.faults.drop_connection(**{when: "AI_COMPLETE"})
    plan = plan_of(STEP, model, Dataset.open(tmp_path / "data"), backend)
    report = evaluate(plan, tmp_path / "output", backend, monkeypatch)
    assert report.n == len(account.ai.calls) == 6


def test_an_interrupted_evaluation_goes_on_where_it_was(
    account: Any,
    backend: SnowflakeBackend,
    data: Any,
    model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soaptune.snowflake.tables.cortex._BATCH", 2)
    plan = plan_of(STEP, model, Dataset.open(tmp_path / "data"), backend)
    with monkeypatch.context() as patch:
        connection = backend.connection
        calls: list[str] = []

        def fails_late(what: str, function: Any, **how: Any) -> Any:
            calls.append(what)
            if calls.count("asking some-model") == 3:
                raise BackendError("the warehouse is gone")
            return Connection.call(connection, what, function, **how)

        patch.setattr(connection, "call", fails_late)
        with pytest.raises(BackendError, match="warehouse"):
            evaluate(plan, tmp_path / "1", backend, patch)
    assert len(account.ai.calls) == 4
    assert evaluate(plan, tmp_path / "2", backend, monkeypatch).n == len(account.ai.calls) == 6


def test_a_model_that_answers_nothing_fails_and_can_be_asked_again(
    account: Any, backend: SnowflakeBackend, data: Any, model: Any
) -> None:
    account.ai.function = lambda *_: None
    with pytest.raises(JobFailed) as caught:
        STEP.run(model, data, on=backend)
    assert any("some-model answered none of the 6 prompts" in line for line in caught.value.log_tail)
    assert backend.connection.rows("looking", "SHOW TABLES LIKE 'SOAPTUNE_TMP%' IN SCHEMA PUBLIC") == []


def test_a_deployer_does_not_take_the_report_for_the_tuned_model(tmp_path: Path) -> None:
    made = make_model(tmp_path / "m", task=TASK)
    lineage = st.handles.report.ReportLineage(
        model_fingerprint="cortex:some-model",
        data_fingerprint="sha256:d",
        split="test",
        task=TASK.name,
        task_fingerprint=TASK.fingerprint,
    )
    report = st.EvalReport(n=1, metrics={}, lineage=lineage)
    with pytest.raises(GateError, match="cortex:some-model"):
        st.Deployer(name="tickets", require=None).submit(made, report, on=st.LocalBackend(tmp_path / "runs"))


def test_the_job_needs_nothing_that_runs_a_model() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft'): sys.modules[name] = None\n"
        "import soaptune.runtime.evaluate.job, soaptune.runtime.engines.cortex"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "torch" not in requirements("data")


def test_it_is_refused_where_there_is_no_cortex(tmp_path: Path, data: Any) -> None:
    made, here = make_model(tmp_path / "m", task=TASK), st.LocalBackend(tmp_path / "runs")
    local = Dataset.open(tmp_path / "data")
    with pytest.raises(CheckFailed, match="part of Snowflake"):
        STEP.run(made, local, on=here)
    job = STEP.compile(made, local, on=here)
    with pytest.raises(BackendError, match="part of Snowflake"):
        here.submit(job)


def test_the_table_is_forgotten_by_its_full_name(account: Any, backend: SnowflakeBackend) -> None:
    backend.connection.rows("making", 'CREATE TABLE TEST_DB.PUBLIC."odd name" (A INT)')
    CortexEngine("m", 'TEST_DB.PUBLIC."odd name"', connection=backend.connection).forget()
    assert backend.connection.rows("looking", "SHOW TABLES LIKE 'odd%' IN SCHEMA PUBLIC") == []


@pytest.mark.timeout(300)
def test_a_job_on_snowflake_evaluates_behind_a_server_of_its_own(
    backend: SnowflakeBackend, data: Any, tmp_path: Path
) -> None:
    made = make_model(tmp_path / "tiny", task=TASK)
    shutil.rmtree(made.weights)
    shutil.copytree(tiny.path(), made.weights)
    manifest = made.manifest.replace(fingerprint=fingerprint_folder(made.weights))
    write_json(made.path / "manifest.json", manifest.model_dump(mode="json"))
    tuned = Model.open(made.path).copy_to(backend)
    step = Evaluator(engine=VLLM(command=STAND_IN), max_samples=2, max_new_tokens=8, resamples=1000)
    report = step.run(tuned, data, on=backend)
    assert report.n == 2
    assert {"perplexity", "base/perplexity", "schema_valid", "base/schema_valid"} <= set(report.metrics)
    # The two are the same model.
    assert report.metrics["perplexity"] == report.metrics["base/perplexity"]
    assert report.lineage.model_fingerprint == tuned.fingerprint
    assert "vllm" not in step.compile(tuned, data, on=backend).files["requirements.txt"]
