"""What the data and the training step compile to for Snowflake, without its packages and without a connection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from soaptune import tiny
from soaptune.data import DataGenerator
from soaptune.data.payload import GeneratePayload
from soaptune.errors import BackendError, CheckFailed
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.location import Folder, Query, Tables, TableSplit
from soaptune.jobs.output import FolderOutput, NamedTables
from soaptune.jobs.place import Place
from soaptune.local.backend import LocalBackend
from soaptune.runtime.generate import generate
from soaptune.runtime.snowflake import nodes
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.session import Connection
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.snowflake.tables.query import SchemaRef
from soaptune.snowflake.tables.spec import table_of
from soaptune.tasks import SOAP
from soaptune.train.spec import TrainSpec
from soaptune.train.trainer import Trainer

RECIPES = Path(__file__).parents[1] / "train" / "fixtures" / "llm_finetune_recipes.yaml"


def backend(**changes: Any) -> SnowflakeBackend:
    return SnowflakeBackend(**{"compute_pool": "GPU_POOL", "database": "llm_demo", "schema": "PUBLIC", **changes})


def tables(name: str = "SOAP_DATA") -> TableDataset:
    """The public sample's tables, as `backend.dataset("soap_data", task=SOAP)` finds them."""
    spec = SOAP.spec()
    columns = {field: field.upper() for field in spec.fields}
    splits = {
        split: TableSplit(table=("LLM_DEMO", "PUBLIC", f"{name}_{split.upper()}"), columns=columns, made_ids=True)
        for split in ("train", "validation", "test")
    }
    manifest = DatasetManifest(
        fingerprint="account-sha256:1", task=spec, counts=dict.fromkeys(splits, 9), split_fingerprints={}, how={}
    )
    source = Tables(database="LLM_DEMO", db_schema="PUBLIC", name=name, splits=splits, manifest=manifest)
    return TableDataset(SchemaRef(Connection(), "LLM_DEMO", "PUBLIC"), source)


@pytest.mark.parametrize("name", ["qwen3-1.7b-lora", "qwen3-1.7b-full"])
def test_the_recipes_of_the_public_sample_mean_the_same_on_tables(name: str) -> None:
    spec = TrainSpec.preset(name)
    data = tables()
    ours = yaml.safe_load(spec.to_yaml(data))
    folder = yaml.safe_load(spec.to_yaml())
    # It is the form on this machine, which another test compares with the sample's.
    assert ours == folder
    (source,) = ours["data"]["sources"]
    assert (source["type"], source["path"]) == ("soaptune_dataset", "../inputs/data")
    theirs = yaml.safe_load(RECIPES.read_text(encoding="utf-8"))[name]["data"]["sources"][0]["table_name"]
    place = table_of(data.source.splits[source["split"]])
    assert place is not None
    assert place.name == theirs.upper()


def test_a_training_job_is_told_of_tables_and_given_the_embedded_model() -> None:
    job = Trainer(spec=TrainSpec.preset("tiny-lora")).compile(tables(), on=backend())
    assert job.entrypoint == ("arctic_training", "config.yaml")
    assert job.inputs == {"data": tables().location, "base": Folder(path=str(tiny.path()))}
    assert Place.model_validate_json(job.files["place.json"]).inputs == job.inputs
    config = yaml.safe_load(job.files["config.yaml"])
    assert config["model"]["name_or_path"] == "../inputs/base"
    assert config["data"]["sources"][0]["path"] == "../inputs/data"
    assert json.loads(job.files["model.json"])["base"]["name"] == "soaptune/tiny"
    assert "USE_RAY" not in job.env


def test_a_model_of_the_hub_stays_a_name() -> None:
    job = Trainer(spec=TrainSpec.preset("qwen3-1.7b-lora")).compile(tables(), on=backend())
    assert "base" not in job.inputs
    assert yaml.safe_load(job.files["config.yaml"])["model"]["name_or_path"] == "Qwen/Qwen3-1.7B"


def test_several_nodes_train_as_a_ray_cluster_from_the_jobs_own_folder() -> None:
    job = Trainer(spec=TrainSpec.preset("qwen3-1.7b-lora")).compile(tables(), on=backend(target_instances=2))
    assert job.env["USE_RAY"] == "1"
    assert "os.chdir" in job.files["train.py"]
    compile(job.files["train.py"], "train.py", "exec")


def test_generated_tables_are_named_after_the_task_or_as_asked(tmp_path: Path) -> None:
    step = DataGenerator(task=SOAP)
    splits = ("train", "validation", "test")
    assert output_of(step) == NamedTables(name='"LLM_DEMO"."PUBLIC"."SOAP"', splits=splits)
    assert output_of(step.replace(table="notes")) == NamedTables(name='"LLM_DEMO"."PUBLIC"."NOTES"', splits=splits)
    asked = output_of(step.replace(table='other."My notes"', overwrite=True))
    assert asked == NamedTables(name='"LLM_DEMO"."OTHER"."My notes"', splits=splits, replace_existing=True)
    here = step.compile(on=LocalBackend(tmp_path))
    assert here.output == Place.model_validate_json(here.files["place.json"]).output == FolderOutput()


def test_where_rows_are_kept_is_no_part_of_how_they_were_made(tmp_path: Path) -> None:
    step = DataGenerator(task=SOAP)
    here = step.compile(on=LocalBackend(tmp_path)).files["step.json"]
    there = step.replace(table="x", overwrite=True)
    assert there.compile(on=backend()).files["step.json"] == here
    assert plan_of(there).how == GeneratePayload.model_validate_json(here).how


def test_cortex_rows_are_an_input_by_their_query() -> None:
    step = DataGenerator(task=SOAP, mode="cortex", model="m", source="SELECT * FROM CALLS")
    assert step.compile(on=backend()).inputs == {"source": Query(text="SELECT * FROM CALLS")}


def output_of(step: DataGenerator) -> Any:
    job = step.compile(on=backend())
    assert Place.model_validate_json(job.files["place.json"]).output == job.output
    return job.output


def plan_of(step: DataGenerator) -> GeneratePayload:
    return GeneratePayload.model_validate_json(step.compile(on=backend()).files["step.json"])


def test_results_of_nodes_come_in_the_order_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(nodes.over_nodes(divmod, [(7, 2), (9, 4)])) == [(3, 1), (2, 1)]
    monkeypatch.setenv("SNOWFLAKE_JOBS_COUNT", "2")
    monkeypatch.setattr(nodes, "_cluster", lambda: None)
    assert list(nodes.over_nodes(divmod, [(7, 2), (9, 4)])) == [(3, 1), (2, 1)]


def test_rows_made_in_ranges_are_the_rows_made_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(DataGenerator(task=SOAP, num_samples=50))
    whole = generate(plan, tmp_path / "whole")
    monkeypatch.setattr("soaptune.runtime.generate._CHUNK", 7)
    assert generate(plan, tmp_path / "ranges").fingerprint == whole.fingerprint


def test_cortex_on_another_backend_is_told(tmp_path: Path) -> None:
    generator = DataGenerator(task=SOAP, mode="cortex", model="m", source="ROWS", split={"train": 5_000, "test": 9})
    here = LocalBackend(tmp_path)

    needs = generator.plan(given=here.capabilities).needs
    assert [finding.code for finding in here.capabilities.unmet(needs)] == ["needs-snowflake"]
    assert backend().capabilities.unmet(needs) == []
    for ask in (generator.submit, generator.run, generator.estimate):
        with pytest.raises(CheckFailed, match="SnowflakeBackend"):
            ask(on=here)
    assert here.jobs() == []


def test_what_is_wrong_with_the_account_is_the_backends_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise BackendError("there is no such database")

    monkeypatch.setattr(SchemaRef, "there", refused)

    assert DataGenerator(task=SOAP).preflight(on=backend()) == []
