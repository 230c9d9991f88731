"""The step as config: what it compiles to and what it finds before it costs anything."""

import json

import pyarrow as pa
import pytest

from soaptune.common.files import write_json
from soaptune.errors import CheckFailed, ConfigError
from soaptune.evaluate import Evaluator, Facts
from soaptune.evaluate.evaluator import EvalPlan
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.local.backend import LocalBackend
from soaptune.tasks.spec import TaskSpec


def task(name="echo", field="out"):
    return TaskSpec(
        name=name,
        system_prompt="",
        user_template="{text}",
        output_schema={"type": "object", "properties": {field: {"type": "string"}}, "required": [field]},
        output_fields=(field,),
        input_fields=("text",),
    )


class Elsewhere(LocalBackend):
    """A backend of which nothing is known here."""

    name = "elsewhere"


ON = Elsewhere("runs")


@pytest.fixture
def data(tmp_path):
    table = pa.table({"id": [f"{i}" for i in range(40)], "text": ["x"] * 40, "out": ["y"] * 40})
    return Dataset.write(tmp_path / "data", {"test": table, "small": table.slice(0, 0)}, task=task(), how={})


def make_model(folder, *, base="soaptune/tiny", spec=None, task=task(), token=None):  # noqa: B008 - a frozen config
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"")
    manifest = ModelManifest(
        method="full",
        base=base,
        task=task,
        token=token,
        data_fingerprint="sha256:d",
        synthetic=False,
        spec=spec or {},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint="sha256:m",
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "m")


def codes(found):
    return {(violation.level, violation.code) for violation in found}


def test_it_compiles_to_a_job_of_a_plan_and_two_inputs(model, data):
    spec = Evaluator(max_samples=5).compile(model, data, on=ON)
    assert spec.kind == "report"
    assert spec.entrypoint == ("python", "-m", "soaptune.runtime.evaluate.job", "step.json")
    assert spec.inputs == {"model": str(model.path), "data": str(data.path)}
    plan = EvalPlan.model_validate(json.loads(spec.files["step.json"]))
    assert plan.evaluator == Evaluator(max_samples=5)
    assert (plan.base, plan.model_fingerprint) == ("soaptune/tiny", "sha256:m")


def test_the_same_input_compiles_to_the_same_bytes(model, data):
    assert Evaluator().compile(model, data, on=ON) == Evaluator().compile(model, data, on=ON)


def test_a_base_model_in_a_folder_travels_as_an_input_and_a_token_by_name(tmp_path, data):
    (tmp_path / "base").mkdir()
    spec = Evaluator().compile(make_model(tmp_path / "m", base=str(tmp_path / "base"), token="MY_TOKEN"), data, on=ON)
    assert spec.inputs["base"] == str(tmp_path / "base")
    assert json.loads(spec.files["step.json"])["base"] == "../inputs/base"
    assert spec.secrets == {"HF_TOKEN": "MY_TOKEN"}


def test_a_step_round_trips_through_json():
    step = Evaluator(judge=Facts(), split="unseen", constrained=True)
    assert Evaluator.model_validate_json(step.model_dump_json()) == step


def test_a_good_evaluation_has_no_findings(model, data):
    assert Evaluator().check() == []
    assert Evaluator().preflight(model, data, on=ON) == []


def test_missing_and_empty_splits_are_found_before_anything_runs(model, data):
    assert codes(Evaluator(split="tset").preflight(model, data, on=ON)) == {("error", "no-such-split")}
    assert codes(Evaluator(split="small").preflight(model, data, on=ON)) == {("error", "no-rows")}


def test_few_examples_are_warned_of(model, data):
    assert codes(Evaluator(max_samples=5).preflight(model, data, on=ON)) == {("warning", "few-examples")}


def test_data_of_another_task_is_refused_and_another_prompt_is_warned_of(tmp_path, data):
    other = make_model(tmp_path / "a", task=task(field="note"))
    assert codes(Evaluator().preflight(other, data, on=ON)) == {("error", "other-task")}
    renamed = make_model(tmp_path / "b", task=task(name="other"))
    assert codes(Evaluator().preflight(renamed, data, on=ON)) == {("warning", "other-prompt")}


def test_a_model_from_new_weights_has_no_base_to_compare_with(tmp_path, data):
    fresh = make_model(tmp_path / "fresh", spec={"initialization": "random"})
    assert codes(Evaluator().preflight(fresh, data, on=ON)) == {("warning", "no-base")}
    assert json.loads(Evaluator().compile(fresh, data, on=ON).files["step.json"])["base"] == ""


def test_too_few_resamples_for_an_interval_are_refused():
    with pytest.raises(ConfigError, match="resamples"):
        Evaluator(resamples=10)
    with pytest.raises(ConfigError, match="did you mean 'max_samples'"):
        Evaluator(max_sample=10)


class Snow(LocalBackend):
    name = "snowflake"
    database_name = "DB"
    schema_name = "the schema"


def test_a_cortex_model_is_asked_without_the_tuned_models_files(model, data):
    step = Evaluator(engine="cortex", cortex_model="some-model")
    spec = step.compile(model, data, on=Snow())
    assert spec.inputs == {"data": str(data.path)}
    assert "torch" not in spec.files["requirements.txt"]
    plan = EvalPlan.model_validate(json.loads(spec.files["step.json"]))
    assert (plan.model, plan.base, plan.model_fingerprint) == ("", "", "cortex:some-model")
    assert plan.evaluator == step.replace(base=False)
    assert plan.task == model.manifest.task
    assert plan.answers.startswith('"DB"."the schema"."SOAPTUNE_TMP_ANSWERS_')
    assert spec == step.compile(model, data, on=Snow())
    other = step.replace(seed=1).compile(model, data, on=Snow())
    assert EvalPlan.model_validate(json.loads(other.files["step.json"])).answers != plan.answers


def test_cortex_needs_a_model_and_snowflake(model, data):
    assert codes(Evaluator(engine="cortex").check()) == {("error", "cortex")}
    assert codes(Evaluator(cortex_model="some-model").check()) == {("error", "cortex")}
    step = Evaluator(engine="cortex", cortex_model="some-model")
    assert step.check() == []
    assert codes(step.preflight(model, data, on=ON)) == {("error", "backend")}
    assert step.preflight(model, data, on=Snow()) == []
    with pytest.raises(CheckFailed, match="part of Snowflake"):
        step.compile(model, data, on=ON)


def test_vllm_is_never_among_the_jobs_own_requirements(model, data):
    spec = Evaluator(engine="vllm").compile(model, data, on=Snow())
    assert "vllm" not in spec.files["requirements.txt"]
    assert spec.files["requirements.txt"] == Evaluator().compile(model, data, on=Snow()).files["requirements.txt"]


@pytest.mark.parametrize("text", ["vllm", "vllm>=0.32", "--index-url=http://x", "vllm==1 ; x", "git+https://x"])
def test_what_is_installed_of_vllm_is_one_version(text):
    with pytest.raises(ConfigError, match="vllm_requirement"):
        Evaluator(vllm_requirement=text)


def test_a_missing_vllm_is_told_before_the_job(model, data, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ("warning", "installs-vllm") in codes(Evaluator(engine="vllm").preflight(model, data, on=LocalBackend()))
    for step in (Evaluator(vllm_requirement=None), Evaluator(vllm_command=("/nowhere/vllm",))):
        assert ("error", "no-vllm") in codes(step.replace(engine="vllm").preflight(model, data, on=LocalBackend()))
        assert "no-vllm" not in str(codes(step.replace(engine="vllm").preflight(model, data, on=Snow())))
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    assert "vllm" not in str(codes(Evaluator(engine="vllm").preflight(model, data, on=LocalBackend())))
