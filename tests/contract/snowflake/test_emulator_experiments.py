"""Experiments: the real ExperimentTracking logs, lists, downloads and deletes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from snowflake.ml.experiment import ExperimentTracking
from snowflake.ml.model import custom_model
from snowflake.snowpark import Session
from snowflake.snowpark.exceptions import SnowparkSQLException

from soaptune.testing.snowflake.account import Account
from soaptune.testing.snowflake.experiments import LIMIT
from soaptune.testing.snowflake.names import Name
from tests.contract.snowflake.emulator_models import ROWS, Adder


@pytest.fixture
def tracking(shared_session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # One instance for the whole process: another test's session would answer.
    monkeypatch.setattr(ExperimentTracking, "_instance", None)
    yield ExperimentTracking(session=shared_session, capture_source_info=False)
    ExperimentTracking._instance = None


@pytest.fixture
def experiment(tracking: Any, request: pytest.FixtureRequest) -> str:
    made: str = request.node.name.upper()
    tracking.set_experiment(made)
    return made


def test_every_step_of_a_metric_is_in_its_history(tracking: Any, experiment: str) -> None:
    with tracking.start_run("first"):
        for step, loss in enumerate([1.0, 0.5, 0.25]):
            tracking.log_metrics({"loss": loss, "lr": 0.1}, step=step)
        history = tracking.get_metric_history(metric_name="loss").to_pandas()
    assert history["step"].tolist() == [0, 1, 2]
    assert history["value"].tolist() == [1.0, 0.5, 0.25]
    assert history["timestamp"].is_monotonic_increasing
    assert len(tracking.get_metric_history("first").collect()) == 6


def test_metrics_are_listed_at_their_highest_step_and_params_as_text(tracking: Any, experiment: str) -> None:
    with tracking.start_run("a"):
        tracking.log_params({"lr": 0.1, "note": "it's \\ $ 5"})
        tracking.log_metric("loss", 0.1, step=7)
        tracking.log_metric("loss", 0.9, step=3)
    with tracking.start_run("b"):
        tracking.log_param("lr", 0.2)
        tracking.log_param("lr", 0.3)
    metrics = tracking.list_metrics().to_pandas().set_index("run_name")
    assert metrics["loss"]["A"] == 0.1
    params = tracking.list_params().to_pandas().set_index("run_name")
    assert params["lr"].to_dict() == {"A": "0.1", "B": "0.3"}
    assert params["note"]["A"] == "it's \\ $ 5"


def test_artifacts_are_listed_and_come_back(tracking: Any, experiment: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "a.txt").write_text("one", "utf-8")
    (source / "deep" / "er" / "b b.txt").write_text("zwö", "utf-8")
    with tracking.start_run("first"):
        tracking.log_artifact(str(source), "all")
        tracking.log_artifact(str(source / "a.txt"))
    names = {artifact.name for artifact in tracking.list_artifacts("first")}
    assert names == {"a.txt", "all/a.txt", "all/deep/er/b b.txt"}
    assert {artifact.name for artifact in tracking.list_artifacts("first", "all/deep")} == {"all/deep/er/b b.txt"}
    tracking.download_artifacts("first", target_path=str(target))
    assert (target / "all" / "deep" / "er" / "b b.txt").read_text("utf-8") == "zwö"
    assert (target / "a.txt").read_text("utf-8") == "one"


def test_a_run_ends_once_and_is_not_resumed(tracking: Any, experiment: str, shared_account: Account) -> None:
    tracking.start_run("first")
    tracking.end_run(status="FAILED")
    with pytest.raises(RuntimeError, match="cannot be resumed"):
        tracking.start_run("first")
    with pytest.raises(SnowparkSQLException, match="cannot be committed again"):
        tracking.end_run("first")
    run = shared_account.experiments[Name("TEST_DB", "PUBLIC", experiment)].run("first")
    assert (run.name, run.status) == ("FIRST", "FAILED")


def test_a_running_run_is_resumed_from_elsewhere(
    tracking: Any, experiment: str, shared_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking.start_run("first")
    tracking.log_metric("loss", 1.0)
    monkeypatch.setattr(ExperimentTracking, "_instance", None)
    elsewhere = ExperimentTracking(session=shared_session, capture_source_info=False)
    elsewhere.set_experiment(experiment)
    with elsewhere.start_run("first"):
        elsewhere.log_metric("loss", 0.5, step=1)
    assert len(elsewhere.get_metric_history("first").collect()) == 2


def test_a_model_is_attached_to_the_run_that_logged_it(tracking: Any, experiment: str) -> None:
    with tracking.start_run("first"):
        model = Adder(custom_model.ModelContext())
        tracking.log_model(model, model_name=f"{experiment}_MODEL", version_name="V1", sample_input_data=ROWS)
    (version,) = tracking.list_model_versions("first")
    assert (version.model_name, version.version_name) == (f"{experiment}_MODEL", "V1")
    (run,) = version.lineage(direction="upstream", domain_filter={"experiment"})
    assert (run.experiment_name, run.name) == (experiment, "FIRST")


def test_runs_and_experiments_are_deleted_with_their_files(
    tracking: Any, experiment: str, shared_account: Account, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("one", "utf-8")
    for name in ("first", "second"):
        with tracking.start_run(name):
            tracking.log_artifact(str(tmp_path / "a.txt"))
    tracking.delete_run("first")
    assert tracking.list_artifacts("first") == []
    assert len(tracking.list_artifacts("second")) == 1
    folder = shared_account.experiments.folder(Name("TEST_DB", "PUBLIC", experiment))
    tracking.delete_experiment(experiment)
    assert not folder.exists()


def test_a_run_that_holds_too_much_warns(tracking: Any, experiment: str) -> None:
    tracking.start_run("first")
    with pytest.warns(RuntimeWarning, match="no further metrics or parameters"):
        tracking.log_param("text", "x" * LIMIT)
    assert tracking.list_params("first").to_pandas().columns.tolist() == ["run_name"]


def test_what_is_not_known_is_an_error(shared_session: Session, tracking: Any, experiment: str) -> None:
    for sql, text in (
        (f"ALTER EXPERIMENT {experiment} RENAME RUN A TO B", "knows no such form"),
        (f"ALTER EXPERIMENT {experiment} COMMIT RUN NOPE", "Run 'NOPE' does not exist"),
        ("SHOW RUNS IN EXPERIMENT NOPE", "Experiment 'TEST_DB.PUBLIC.NOPE' does not exist"),
        ("DROP EXPERIMENT NOPE", "Experiment 'TEST_DB.PUBLIC.NOPE' does not exist"),
    ):
        with pytest.raises(SnowparkSQLException, match=text):
            shared_session.sql(sql).collect()
