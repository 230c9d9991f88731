"""What a step wants is data: the same wherever its inputs lie, and no backend edits it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from soaptune.common.files import write_json
from soaptune.data import DataGenerator
from soaptune.deploy import Deployer
from soaptune.engines import VLLM, Cortex, Transformers
from soaptune.errors import ConfigError
from soaptune.evaluate import Evaluator
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Folder, Query, StagePath
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.weights import fingerprint_folder
from soaptune.jobs.lower import lowered
from soaptune.jobs.memory_need import inference_memory
from soaptune.jobs.needs import CortexNeed, Needs, Program
from soaptune.jobs.output import NamedTables
from soaptune.jobs.place import PLACE_FILE, Account, Place
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.tasks import SOAP
from soaptune.train.spec import TrainSpec
from soaptune.train.trainer import Trainer
from tests.unit.backends import ACCOUNT, FOLDERS

pa = pytest.importorskip("pyarrow")

STEPS = ("generate", "cortex", "train", "evaluate", "ask-cortex", "deploy")


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    def rows(split: str) -> Any:
        columns = {name: ["x"] * 40 for name in SOAP.spec().fields}
        return pa.table({"id": [f"{split}{i}" for i in range(40)], **columns})

    splits = {split: rows(split) for split in ("train", "test")}
    return Dataset.write(tmp_path / "data", splits, task=SOAP.spec(), how={})


def model_in(folder: Path) -> Model:
    (folder / "model").mkdir(parents=True)
    for name in ("adapter_config.json", "config.json"):
        (folder / "model" / name).write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"")
    manifest = ModelManifest(
        method="lora",
        base=ModelRef(name="org/base-1B", revision="abc"),
        task=SOAP.spec(),
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(folder / "model"),
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return model_in(tmp_path / "tuned")


def plan_of(step: str, data: Dataset, model: Model, *, given: Any = ACCOUNT, **how: Any) -> Plan:
    """The plan of each kind of step."""
    if step == "generate":
        return DataGenerator(task=SOAP, **how).plan(given=given)
    if step == "cortex":
        return DataGenerator(task=SOAP, mode="cortex", model="m", source="NOTES", **how).plan(given=given)
    if step == "train":
        spec = TrainSpec.preset("qwen3-1.7b-lora").replace(token="MY_TOKEN", cache_dir="/models")
        return Trainer(spec=spec, **how).plan(data, given=given)
    if step == "evaluate":
        return Evaluator(token="MY_TOKEN", **how).plan(model, data, given=given)
    if step == "ask-cortex":
        return Evaluator(engine=Cortex(model="m"), **how).plan(model, data, given=given)
    return Deployer(token="MY_TOKEN", **{"name": "notes", **how}).plan(model, given=given)


@pytest.mark.parametrize("step", STEPS)
def test_a_plan_is_the_same_wherever_its_inputs_lie(step: str, data: Dataset, model: Model, tmp_path: Path) -> None:
    for folder in (data.path, model.path):
        shutil.copytree(folder, tmp_path / "moved" / folder.name)
    there = (Dataset.open(tmp_path / "moved" / "data"), Model.open(tmp_path / "moved" / "tuned"))
    one, two = plan_of(step, data, model), plan_of(step, *there)
    if step in ("train", "evaluate", "ask-cortex", "deploy"):
        assert one.inputs != two.inputs
    assert one.fingerprint == two.fingerprint
    far = {name: StagePath(stage=("D", "S", "FILES"), path=name) for name in one.inputs}
    assert one.replace(inputs=far).fingerprint == one.fingerprint


@pytest.mark.parametrize("step", [step for step in STEPS if step != "deploy"])
def test_a_plans_name_and_where_code_lies_are_not_part_of_it(step: str, data: Dataset, model: Model) -> None:
    named = plan_of(step, data, model, name="another")
    assert named.name == "another"
    assert named.fingerprint == plan_of(step, data, model).fingerprint
    if step != "train":
        coded = plan_of(step, data, model, code_paths=("/somewhere",))
        assert coded.code_paths == ("/somewhere",)
        assert coded.fingerprint == named.fingerprint


def test_the_name_of_an_endpoint_is_what_it_serves_under(data: Dataset, model: Model) -> None:
    one, two = (plan_of("deploy", data, model, name=name) for name in ("a", "b"))
    assert one.fingerprint != two.fingerprint
    assert one.replace(name="c").fingerprint == one.fingerprint


def test_what_decides_the_result_is_part_of_a_plan(data: Dataset, model: Model) -> None:
    made = {
        plan_of("generate", data, model).fingerprint,
        plan_of("generate", data, model, seed=1).fingerprint,
        plan_of("evaluate", data, model).fingerprint,
        plan_of("evaluate", data, model, engine=Transformers(batch_size=2)).fingerprint,
        plan_of("evaluate", data, model, engine=VLLM()).fingerprint,
        plan_of("ask-cortex", data, model).fingerprint,
    }
    assert len(made) == 6


@pytest.mark.parametrize("step", STEPS)
def test_no_payload_names_a_token_or_a_cache_folder(step: str, data: Dataset, model: Model) -> None:
    plan = plan_of(step, data, model)
    if step in ("train", "evaluate", "deploy"):
        assert plan.needs.secrets == {"HF_TOKEN": "MY_TOKEN"}
    carried = {name: text for name, text in plan.files.items() if name != "config.yaml"}
    assert not any(word in text for text in carried.values() for word in ("MY_TOKEN", "/models"))
    assert "MY_TOKEN" not in plan.files.get("config.yaml", "")


def backends(tmp_path: Path) -> dict[str, Any]:
    far = SnowflakeBackend(database="db", schema="s", compute_pool="POOL", session=object())
    return {"local": LocalBackend(tmp_path / "runs"), "snowflake": far}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("where", ["local", "snowflake"])
def test_a_backend_adds_the_place_and_edits_nothing(
    step: str, where: str, data: Dataset, model: Model, tmp_path: Path
) -> None:
    on = backends(tmp_path)[where]
    plan = plan_of(step, data, model, given=on.capabilities)
    job = on.lower(plan)
    assert job.files == {**plan.files, PLACE_FILE: job.files[PLACE_FILE]}
    assert (job.name, job.kind, job.entrypoint, job.env) == (plan.name, plan.kind, plan.entrypoint, plan.env)
    assert (job.inputs, job.needs, job.resources, job.detach) == (plan.inputs, plan.needs, plan.resources, plan.detach)
    assert job.secrets == plan.needs.secrets
    assert job.code_paths == plan.code_paths
    place = Place.model_validate_json(job.files[PLACE_FILE])
    assert (place.kind, place.plan, place.backend) == (plan.kind, plan.fingerprint, where)
    assert (place.inputs, place.output) == (plan.inputs, job.output)
    assert (place.account is None) == (where == "local")
    assert on.lower(plan) == job
    assert not (tmp_path / "runs").exists(), "lowering writes nothing"


def test_a_backend_names_where_kept_folders_lie(tmp_path: Path) -> None:
    plan = Plan(name="ask", kind="report", files={"step.json": "{}"}, keeps={"answers": "v1.0"})
    places = {
        "local": Folder(path=str(tmp_path / "runs" / "keeps" / "answers" / "v1.0")),
        "snowflake": StagePath(stage=("DB", "S", "SOAPTUNE_STAGE"), path="keeps/answers/v1.0"),
    }
    for where, on in backends(tmp_path).items():
        job = on.lower(plan)
        assert job.keeps == plan.keeps
        assert Place.model_validate_json(job.files[PLACE_FILE]).keeps == {"answers": places[where]}
    assert plan.replace(keeps={}).fingerprint == plan.fingerprint, "a cache decides no result"
    with pytest.raises(ConfigError, match="fingerprint"):
        plan.replace(keeps={"answers": "../x"})


def test_a_place_round_trips_through_its_file(tmp_path: Path) -> None:
    plan = Plan(
        name="make",
        kind="data",
        files={"step.json": "{}"},
        inputs={
            "source": Query(text="select 1"),
            "parts": (Folder(path="/a"), StagePath(stage=("D", "S", "F"), path="b")),
        },
        output=NamedTables(name="T", splits=("train",), replace_existing=True),
    )
    account = Account(database="D", db_schema="the schema", compute_pool="P", integrations=("HUB",))
    job = lowered(plan, backend="snowflake", account=account, nodes=3)
    (tmp_path / PLACE_FILE).write_text(job.files[PLACE_FILE], encoding="utf-8")
    place = Place.read(tmp_path)
    assert place == Place(
        name="make",
        kind="data",
        plan=plan.fingerprint,
        backend="snowflake",
        nodes=3,
        inputs=plan.inputs,
        output=plan.output,
        account=account,
    )
    assert JobSpec.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize("text", ['{"format_version": 9, "kind": "data", "plan": "x", "backend": "local"}', "{}"])
def test_a_place_of_another_release_is_refused_by_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / PLACE_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"place\.json was not written by this version"):
        Place.read(tmp_path)


def test_what_can_never_be_met_is_told_once_for_a_job() -> None:
    needs = Needs(cortex=(CortexNeed(model="a"), CortexNeed(model="b")), packages=("torch",))
    (finding,) = FOLDERS.unmet(needs)
    assert (finding.path, finding.code, finding.level) == ("needs.cortex", "needs-snowflake", "error")
    assert ACCOUNT.unmet(needs) == FOLDERS.unmet(Needs(packages=("torch",))) == FOLDERS.unmet(Needs()) == []


def test_needs_add_up_and_name_each_thing_once() -> None:
    one = Needs(
        models=(ModelRef(name="a"),),
        hosts=("h",),
        packages=("torch", "numpy"),
        programs=(Program(command="vllm"),),
        secrets={"A": "X"},
        memory=(inference_memory("a-1B"),),
        cortex=(CortexNeed(model="m"),),
    )
    two = Needs(
        models=(ModelRef(name="a"), ModelRef(name="a", revision="r")),
        hosts=("h", "i"),
        packages=("numpy", "peft"),
        secrets={"B": "Y"},
        memory=(inference_memory("a-1B"), inference_memory("b-2B")),
        half_precision=True,
    )
    both = one + two
    assert both.models == (ModelRef(name="a"), ModelRef(name="a", revision="r"))
    assert (both.hosts, both.packages) == (("h", "i"), ("torch", "numpy", "peft"))
    assert both.programs == one.programs
    assert both.secrets == {"A": "X", "B": "Y"}
    assert [need.model for need in both.memory] == ["a-1B", "b-2B"]
    assert both.half_precision
    assert both.cortex == one.cortex
    assert one + Needs() == Needs() + one == one + one == one


def test_an_engine_states_what_it_needs() -> None:
    assert "torch" in Transformers().needs().packages
    assert VLLM().needs().programs == (Program(command="vllm", requirement=VLLM().requirement),)
    assert VLLM(command=("/opt/vllm",)).needs().programs == (Program(command="/opt/vllm"),)
    assert Cortex(model="m").needs() == Needs(cortex=(CortexNeed(model="m"),))


def test_a_job_of_the_first_release_opens() -> None:
    """Its format had no number, and inputs were paths."""
    first = {"name": "train", "kind": "model", "files": {}, "entrypoint": ["python"], "inputs": {"data": "/d"}}
    job = JobSpec.model_validate_json(json.dumps(first))
    assert job.inputs == {"data": Folder(path="/d")}
    assert job.needs is None
    assert JobSpec.model_validate_json(job.model_dump_json()) == job
