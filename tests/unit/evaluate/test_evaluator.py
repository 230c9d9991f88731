"""The step as config: what it compiles to and what it finds before it costs anything."""

import json

import pyarrow as pa
import pytest

from soaptune.common.files import write_json
from soaptune.engines import VLLM, Cortex
from soaptune.errors import BackendError, CheckFailed, ConfigError
from soaptune.evaluate import Evaluator, Facts
from soaptune.evaluate.evaluator import EvalPayload
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Folder
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.weights import fingerprint_folder
from soaptune.jobs.place import Account, Place
from soaptune.local.backend import LocalBackend
from soaptune.tasks.spec import TaskSpec
from tests.unit.backends import ACCOUNT, Elsewhere


def task(name="echo", field="out"):
    return TaskSpec(
        name=name,
        system_prompt="",
        user_template="{text}",
        output_schema={"type": "object", "properties": {field: {"type": "string"}}, "required": [field]},
        output_fields=(field,),
        input_fields=("text",),
    )


ON = Elsewhere()
SNOW = Elsewhere(capabilities=ACCOUNT, name="snowflake")


@pytest.fixture
def data(tmp_path):
    table = pa.table({"id": [f"{i}" for i in range(40)], "text": ["x"] * 40, "out": ["y"] * 40})
    return Dataset.write(tmp_path / "data", {"test": table, "small": table.slice(0, 0)}, task=task(), how={})


def make_model(folder, *, base="soaptune/tiny", spec=None, task=task()):  # noqa: B008 - a frozen config
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"")
    manifest = ModelManifest(
        method="full",
        base=ModelRef(name=base),
        task=task,
        data_fingerprint="sha256:d",
        synthetic=False,
        spec=spec or {},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(folder / "model"),
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
    assert spec.entrypoint == ("python", "-m", "soaptune.runtime", "run")
    assert spec.inputs == {"model": Folder(path=str(model.path)), "data": Folder(path=str(data.path))}
    plan = EvalPayload.model_validate(json.loads(spec.files["step.json"]))
    assert plan.evaluator == Evaluator(max_samples=5)
    assert (plan.base, plan.model_fingerprint) == (ModelRef(name="soaptune/tiny"), model.fingerprint)


def test_the_same_input_compiles_to_the_same_bytes(model, data):
    assert Evaluator().compile(model, data, on=ON) == Evaluator().compile(model, data, on=ON)


def test_a_base_model_in_a_folder_travels_as_an_input_and_a_token_by_name(tmp_path, data):
    (tmp_path / "base").mkdir()
    model = make_model(tmp_path / "m", base=str(tmp_path / "base"))
    spec = Evaluator(token="MY_TOKEN").compile(model, data, on=ON)
    assert spec.inputs["base"] == Folder(path=str(tmp_path / "base"))
    assert json.loads(spec.files["step.json"])["base"] == {"name": "../inputs/base", "revision": None}
    assert spec.secrets == {"HF_TOKEN": "MY_TOKEN"}
    assert "MY_TOKEN" not in "".join(spec.files.values()), "a token's name is the caller's"


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
    assert json.loads(Evaluator().compile(fresh, data, on=ON).files["step.json"])["base"] is None


def test_too_few_resamples_for_an_interval_are_refused():
    with pytest.raises(ConfigError, match="resamples"):
        Evaluator(resamples=10)
    with pytest.raises(ConfigError, match="did you mean 'max_samples'"):
        Evaluator(max_sample=10)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"vllm_command": ("vllm",)}, r"engine=st\.engines\.VLLM\(command="),
        ({"vllm_requirement": None}, r"engine=st\.engines\.VLLM\(requirement="),
        ({"cortex_model": "m"}, r"engine=st\.engines\.Cortex\(model="),
        ({"batch_size": 2}, r"engine=st\.engines\.Transformers\(batch_size="),
    ],
)
def test_an_option_of_the_first_release_is_answered_with_what_it_is_now(old, new):
    with pytest.raises(ConfigError, match=new):
        Evaluator(**old)


def test_a_cortex_model_is_asked_without_the_tuned_models_files(model, data):
    step = Evaluator(engine=Cortex(model="some-model"))
    spec = step.compile(model, data, on=SNOW)
    assert spec.inputs == {"data": Folder(path=str(data.path))}
    assert "torch" not in spec.files["requirements.txt"]
    plan = EvalPayload.model_validate(json.loads(spec.files["step.json"]))
    assert (plan.base, plan.base_name, plan.model_fingerprint) == (None, "", "cortex:some-model")
    assert plan.evaluator == step.replace(base=False)
    assert plan.task == model.manifest.task
    assert spec == step.compile(model, data, on=SNOW)


def test_the_answers_of_a_cortex_model_have_a_table_for_each_plan(model, data):
    pytest.importorskip("snowflake.snowpark")
    from soaptune.runtime.engines.cortex import answers_table

    step = Evaluator(engine=Cortex(model="some-model"))
    account = Account(database="DB", db_schema="the schema", compute_pool="POOL")

    def table(evaluator):
        place = Place.model_validate_json(evaluator.compile(model, data, on=SNOW).files["place.json"])
        return answers_table(place.replace(account=account))

    assert table(step).startswith('"DB"."the schema"."SOAPTUNE_TMP_ANSWERS_')
    assert table(step) == table(step)
    assert table(step) != table(step.replace(seed=1))


def test_cortex_needs_a_model_and_snowflake(model, data, tmp_path):
    with pytest.raises(ConfigError, match=r"engine.*model"):
        Evaluator(engine="cortex")
    step = Evaluator(engine=Cortex(model="some-model"))
    assert step.check() == []
    for on in (ON, SNOW):
        assert step.preflight(model, data, on=on) == []
    needs = step.plan(model, data, given=SNOW.capabilities).needs
    assert codes(ON.capabilities.unmet(needs)) == {("error", "needs-snowflake")}
    assert SNOW.capabilities.unmet(needs) == []
    with pytest.raises(CheckFailed, match="part of Snowflake"):
        step.submit(model, data, on=ON)
    here = LocalBackend(tmp_path / "runs")
    with pytest.raises(BackendError, match="part of Snowflake"):
        here.submit(step.compile(model, data, on=here))


def test_vllm_is_never_among_the_jobs_own_requirements(model, data):
    spec = Evaluator(engine="vllm").compile(model, data, on=SNOW)
    assert "vllm" not in spec.files["requirements.txt"]
    assert spec.files["requirements.txt"] == Evaluator().compile(model, data, on=SNOW).files["requirements.txt"]


@pytest.mark.parametrize("text", ["vllm", "vllm>=0.32", "--index-url=http://x", "vllm==1 ; x", "git+https://x"])
def test_what_is_installed_of_vllm_is_one_version(text):
    with pytest.raises(ConfigError, match="requirement"):
        VLLM(requirement=text)


def test_a_missing_vllm_is_reported_before_the_job(model, data, monkeypatch, tmp_path):
    here = LocalBackend(tmp_path / "runs")

    def found(engine, on=here):
        step = Evaluator(engine=engine)
        return codes([*step.preflight(model, data, on=on), *on.preflight(step.compile(model, data, on=on))])

    monkeypatch.setenv("PATH", str(tmp_path))
    assert ("warning", "installs-program") in found(VLLM())
    for engine in (VLLM(requirement=None), VLLM(command=("/nowhere/vllm",))):
        assert ("error", "no-such-program") in found(engine)
        assert found(engine, SNOW) == set(), "what is on a machine elsewhere is known there only"
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    assert not {code for _, code in found(VLLM())} & {"installs-program", "no-such-program"}


def test_a_missing_package_is_reported_before_the_job(model, data, monkeypatch, tmp_path):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    here = LocalBackend(tmp_path / "runs")
    (finding,) = here.preflight(Evaluator().compile(model, data, on=here))
    assert (finding.path, finding.code) == ("needs.packages", "missing-extra")
    assert "soaptune[train]" in finding.hint
