"""Models, reports and runs in an account: what lies on the stage, what comes back, and what is written once."""

import json

import pytest

from soaptune.common.files import write_json
from soaptune.errors import BackendError, CheckFailed, ConfigError, DataError, JobFailed
from soaptune.evaluate import Evaluator
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.report import EvalReport, Metric, ReportLineage
from soaptune.handles.weights import fingerprint_folder
from soaptune.jobs.spec import JobSpec
from soaptune.jobs.watch import watch
from soaptune.local.backend import LocalBackend
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.handles.model import StageModel, folder_at, open_model
from soaptune.snowflake.handles.report import open_report, read_report_table, write_report_table
from soaptune.snowflake.jobs.experiments import collect, track
from soaptune.tasks import SOAP


@pytest.fixture
def backend(account):
    made = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database="TEST_DB",
        schema="PUBLIC",
        connection_parameters=account.connection_parameters,
        stage='"my ""stage; x"',
    )
    yield made
    made.close()


def make_model(folder, *, method="full"):
    weights = folder / "model"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text("{}")
    (weights / "adapter_config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"weights")
    (weights / "optimizer.pt").write_bytes(b"a pickle")
    manifest = ModelManifest(
        method=method,
        base="soaptune/tiny",
        task=SOAP.spec(),
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={"optimizer": {"learning_rate": 0.5, "note": "$$; DROP"}, "epochs": 2},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(weights),
        training={"steps": 3.0},
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "tuned")


def make_report(**metrics):
    return EvalReport(
        n=7,
        metrics={name: Metric(value=value, low=0, high=1, n=7) for name, value in metrics.items()},
        predictions="predictions.parquet",
        synthetic=True,
        lineage=ReportLineage(
            model_fingerprint="sha256:m", data_fingerprint="sha256:d", split="test", task="soap", task_fingerprint="t"
        ),
    )


def test_a_model_goes_to_the_stage_and_comes_back_the_same(backend, model, tmp_path):
    there = model.copy_to(backend)
    assert isinstance(there, StageModel)
    assert there == model
    assert there.location.kind == "stage"
    assert str(there.location).startswith('@"TEST_DB"."PUBLIC"."my ""stage; x"/models/')
    assert there.copy_to(backend) is there
    back = there.download(tmp_path / "back")
    assert back.manifest.fingerprint == model.fingerprint
    assert sorted(file.name for file in back.weights.iterdir()) == [
        "adapter_config.json",
        "config.json",
        "model.safetensors",
    ]
    again = there.copy_to(LocalBackend(tmp_path / "runs"))
    assert again.location.kind == "folder"
    assert again == model


def test_a_model_is_uploaded_once(account, backend, model):
    model.copy_to(backend)
    before = len(account.statements)
    model.copy_to(backend)
    assert not any(statement.sql.startswith("PUT") for statement in account.statements[before:])


def test_a_model_on_a_stage_is_exported_by_bringing_it_here_once(account, backend, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = make_model(tmp_path / "lora", method="lora")
    there = here.copy_to(backend)
    folder = there.export(tmp_path / "first")
    assert (folder / "adapter" / "model.safetensors").read_bytes() == (here.weights / "model.safetensors").read_bytes()
    before = len(account.statements)
    there.export(tmp_path / "second")
    assert not any(statement.sql.startswith("GET") for statement in account.statements[before:])
    assert not hasattr(there, "path")
    assert not hasattr(there, "weights")
    assert "adapter for soaptune/tiny" in repr(there)
    assert "my &quot;" in there._repr_html_() or "my" in there._repr_html_()


def test_a_model_is_found_again_by_its_location(backend, model):
    there = model.copy_to(backend)
    for location in (there.location, str(there.location)):
        assert open_model(folder_at(backend.connection, location)) == model
    with pytest.raises(DataError, match="is not a model"):
        open_model(backend.files.folder("elsewhere"))
    with pytest.raises(DataError, match="not a folder on a stage"):
        folder_at(backend.connection, "@stage/x")


def test_weights_that_were_changed_are_not_given_out(backend, model, tmp_path):
    there = model.copy_to(backend)
    folder_at(backend.connection, there.location).write("model/model.safetensors", "others")
    with pytest.raises(DataError, match="is not what was written there"):
        there.download(tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_weights_that_are_not_those_of_the_manifest_are_not_uploaded(backend, model):
    (model.weights / "model.safetensors").write_bytes(b"others")
    with pytest.raises(DataError, match="are not those of the model"):
        model.copy_to(backend)
    assert backend.files.folder("models").list() == []


def test_only_datasets_and_models_are_copied(backend):
    with pytest.raises(ConfigError, match="EvalReport"):
        backend.receive(make_report(a=1))


def test_a_handle_of_this_machine_is_refused_with_the_way_to_copy_it(backend, model, tmp_path):
    import pyarrow as pa

    data = Dataset.write(
        tmp_path / "data",
        {"test": pa.table({"id": ["1"], "dialogue": ["a"], **{name: ["b"] for name in "SOAP"}})},
        task=SOAP,
        how={},
    )
    with pytest.raises(CheckFailed, match=r"other-backend.*handle\.copy_to\(backend\)"):
        Evaluator().submit(model, data, on=backend)


def test_a_reports_metrics_are_kept_in_a_table_once_for_each_job(backend):
    place = backend.schema_ref
    report = make_report(schema_valid=0.5, rouge_l=0.25)
    table = write_report_table(place, "EVALUATE", "JOB_1", report)
    assert table.name == "EVALUATE_REPORT"
    write_report_table(place, "EVALUATE", "JOB_1", report)
    write_report_table(place, "EVALUATE", "JOB_2", make_report(schema_valid=1.0))
    rows = read_report_table(place, "EVALUATE")
    assert [(row["JOB"], row["METRIC"], row["VALUE"], row["N"]) for row in rows] == [
        ("JOB_1", "rouge_l", 0.25, 7),
        ("JOB_1", "schema_valid", 0.5, 7),
        ("JOB_2", "schema_valid", 1.0, 7),
    ]
    assert all(row["MODEL"] == "sha256:m" and row["SYNTHETIC"] for row in rows)
    assert read_report_table(place, "NEVER") == []


def test_a_report_on_a_stage_leaves_the_answers_there_until_they_are_asked_for(backend, tmp_path):
    backend.files.make_stage()
    output = backend.files.folder("JOB", "output")
    report = make_report(schema_valid=0.5)
    output.write("report.json", json.dumps(report.model_dump(mode="json")))
    output.write("predictions.parquet", "rows")
    found = open_report(output)
    assert found == report
    assert found.predictions_path is None
    here = found.download(tmp_path / "report")
    assert here == report
    assert here.predictions_path is not None
    assert here.predictions_path.read_text() == "rows"


SPEC = JobSpec(name="train", kind="model", files={"config.yaml": "a: 1\n"}, entrypoint=("true",))


@pytest.fixture
def output(backend, model):
    """A job's output with 250 steps."""
    backend.files.make_stage()
    folder = backend.files.folder("SOAPTUNE_TRAIN_1", "output")
    folder.write("manifest.json", json.dumps(model.manifest.model_dump(mode="json")))
    lines = [{"done": step, "total": 250, "loss": 1 / step, "unit": "steps"} for step in range(1, 251)]
    lines.append({"done": 100, "eval_loss": 0.125})
    folder.write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    return folder


def known(backend, output):
    """Gives what is known of the job whose output that is."""
    app = backend.files.folder("SOAPTUNE_TRAIN_1", "app")
    app.write("config.yaml", SPEC.files["config.yaml"])
    return lambda: collect(SPEC.name, SPEC.kind, app, output)


def tracked(account):
    return [statement.sql for statement in account.statements if "EXPERIMENT" in statement.sql.upper()]


def test_a_run_has_params_metrics_by_step_and_artifacts_and_is_written_once(account, backend, output, model):
    place = backend.schema_ref
    assert track(place, "SOAPTUNE", "SOAPTUNE_TRAIN_1", known(backend, output))
    first = tracked(account)
    assert track(place, "SOAPTUNE", "SOAPTUNE_TRAIN_1", known(backend, output))
    assert not any("ADD METRICS" in sql or "PUT" in sql for sql in tracked(account)[len(first) :])

    from snowflake.ml.experiment import ExperimentTracking

    session = backend.session()
    reader = ExperimentTracking(session, database_name="TEST_DB", schema_name="PUBLIC")
    try:
        reader.set_experiment("SOAPTUNE")
        (params,) = reader.list_params("SOAPTUNE_TRAIN_1").collect()
        assert params["optimizer.learning_rate"] == "0.5"
        assert "$" not in params["optimizer.note"]
        assert params["base"] == str(model.base)
        history = {
            (row["name"], row["step"]): row["value"] for row in reader.get_metric_history("SOAPTUNE_TRAIN_1").collect()
        }
        assert history["loss", 1] == 1.0
        assert history["loss", 250] == 1 / 250
        assert history["eval_loss", 100] == 0.125
        assert history["training/steps", 250] == 3.0
        assert len([1 for name, _ in history if name == "loss"]) <= 201
        names = {info.name for info in reader.list_artifacts("SOAPTUNE_TRAIN_1")}
        assert {"config.yaml", "manifest.json"} <= names
    finally:
        ExperimentTracking._instance = None


def test_the_users_own_tracking_is_left_alone(backend, output):
    from snowflake.ml.experiment import ExperimentTracking

    own = ExperimentTracking(backend.session(), database_name="TEST_DB", schema_name="PUBLIC")
    try:
        own.set_experiment("MINE")
        own.start_run("RUN_OF_MINE")
        assert track(backend.schema_ref, "SOAPTUNE", "SOAPTUNE_TRAIN_1", known(backend, output))
        own.log_metric("mine", 1.0)
        assert [row["run_name"] for row in own.list_metrics().collect()] == ["RUN_OF_MINE"]
    finally:
        ExperimentTracking._instance = None


def test_a_run_that_failed_is_tracked_as_failed(account, backend):
    spec = JobSpec(name="train", kind="model", entrypoint=("python", "-c", "raise SystemExit(3)"))
    job = backend.submit(spec)
    with pytest.raises(JobFailed, match="exit status 3"):
        job.wait(60)
    assert tracked(account) == [], "who looks at a job writes nothing"
    assert job.sync()
    assert any("COMMIT RUN" in sql.upper() or '"status": "FAILED"' in sql for sql in tracked(account))
    assert any("FAILED" in sql for sql in tracked(account))


def test_a_run_that_is_waited_for_is_tracked_when_it_fails(account, backend):
    job = backend.submit(JobSpec(name="train", kind="model", entrypoint=("python", "-c", "raise SystemExit(3)")))
    with pytest.raises(JobFailed, match="exit status 3"):
        watch(job)
    written = [sql for sql in tracked(account) if job.id in sql]
    assert any("COMMIT RUN" in sql and "FAILED" in sql for sql in written), written
    with pytest.raises(JobFailed):
        job.result()
    assert [sql for sql in tracked(account) if job.id in sql] == written, "who asks for the result writes nothing"
    with pytest.raises(JobFailed):
        watch(backend.job(job.id))
    again = [sql for sql in tracked(account) if job.id in sql][len(written) :]
    assert not any("MODIFY RUN" in sql or "COMMIT RUN" in sql for sql in again), again


def test_what_cannot_be_tracked_is_a_warning(backend, output, caplog):
    place = backend.schema_ref
    assert not track(place, None, "JOB", known(backend, output))
    with caplog.at_level("WARNING", logger="soaptune"):
        assert not track(place, 'no "name', "JOB", known(backend, output))
    assert "could not be tracked" in caplog.text


def test_an_output_without_a_result_says_so(backend):
    backend.files.make_stage()
    with pytest.raises((DataError, BackendError)):
        open_report(backend.files.folder("NOTHING"))
