"""The `Model` handle: what it opens, what it refuses, what it exports; and the last act of a training job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from soaptune.errors import DataError
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest, ModelPlan
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.weights import fingerprint_folder
from soaptune.tasks.spec import TaskSpec
from soaptune.train.finish import GIT_REVISION, finish_model
from soaptune.train.spec import TrainSpec

TASK = TaskSpec(
    name="ticket",
    system_prompt="Sort it.",
    user_template="{text}",
    output_schema={"type": "object", "properties": {"label": {"type": "string"}}},
    output_fields=("label",),
    input_fields=("text",),
)


def plan(**changes: Any) -> ModelPlan:
    spec = TrainSpec.preset("tiny-lora")
    known: dict[str, Any] = {
        "method": "lora",
        "base": ModelRef(name="org/base"),
        "task": TASK,
        "data_fingerprint": "sha256:d",
        "synthetic": True,
        "spec": spec.model_dump(mode="json"),
        "spec_fingerprint": spec.fingerprint,
        "yaml_fingerprint": "sha256:y",
        "changes": ("dtype: bf16 -> fp32 (no GPU)",),
    }
    return ModelPlan(**{**known, **changes})


def job(stage: Path, planned: ModelPlan) -> Path:
    """A job's folder as the trainer leaves it, before its last act; gives the checkpoint."""
    app, checkpoint = stage / "app", stage / "output" / "checkpoints" / "global_step_7"
    app.mkdir(parents=True)
    checkpoint.mkdir(parents=True)
    (app / "model.json").write_text(planned.model_dump_json())
    if planned.method == "lora":
        adapter = {"base_model_name_or_path": "../inputs/base", "r": 4, "target_modules": ["v_proj", "k_proj"]}
        (checkpoint / "adapter_config.json").write_text(json.dumps(adapter))
        (checkpoint / "adapter_model.safetensors").write_bytes(b"weights")
    else:
        (checkpoint / "config.json").write_text("{}")
        (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "tokenizer.json").write_text("{}")
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    (checkpoint / "training_args.bin").write_bytes(b"a pickle")
    return checkpoint


def finished(stage: Path, **changes: Any) -> Model:
    planned = plan(**changes)
    finish_model(
        job(stage, planned),
        output=stage / "output",
        plan=stage / "app" / "model.json",
        training={"steps": 7, "loss": 0.5},
    )
    return Model.open(stage / "output")


def test_a_finished_job_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GIT_REVISION, "abc123")
    model = finished(tmp_path)
    assert model.adapter == tmp_path / "output" / "model"
    assert model.base == ModelRef(name="org/base")
    assert model.task == TASK
    assert model.fingerprint == fingerprint_folder(model.weights)
    assert model.lineage["git_revision"] == "abc123"
    assert model.lineage["data"] == "sha256:d"
    assert model.lineage["changes"] == ["dtype: bf16 -> fp32 (no GPU)"]
    assert TrainSpec.model_validate(model.lineage["spec"]) == TrainSpec.preset("tiny-lora")
    assert "python" in model.lineage["versions"]
    assert model.manifest.training == {"steps": 7.0, "loss": 0.5}


def test_a_jobs_folder_opens_as_its_output_does(tmp_path: Path) -> None:
    model = finished(tmp_path)
    assert Model.open(tmp_path) == model
    assert hash(Model.open(tmp_path)) == hash(model)


def test_the_adapter_names_its_base_and_not_a_place_on_the_training_machine(tmp_path: Path) -> None:
    model = finished(tmp_path, base=ModelRef(name="org/base", revision="main"))
    config = json.loads((model.weights / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/base"
    assert config["revision"] == "main"
    assert config["target_modules"] == ["k_proj", "v_proj"]


def test_pickles_do_not_get_into_a_model(tmp_path: Path) -> None:
    model = finished(tmp_path)
    assert sorted(f.name for f in model.weights.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
    ]
    assert not (tmp_path / "output" / "checkpoints").exists()


def test_a_half_written_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = job(tmp_path, plan())
    (checkpoint / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match="not a whole model"):
        finish_model(checkpoint, output=tmp_path / "output", plan=tmp_path / "app" / "model.json")
    assert not (tmp_path / "output" / "manifest.json").exists()


def test_opening_something_else_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest.json"):
        Model.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "dataset"}')
    with pytest.raises(DataError, match="is not a model"):
        Model.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "model", "method": "lora"}')
    with pytest.raises(DataError, match="base"):
        Model.open(tmp_path)


def test_a_model_without_its_weights_is_not_opened(tmp_path: Path) -> None:
    model = finished(tmp_path)
    (model.weights / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match="not a whole model"):
        Model.open(tmp_path)


def test_a_pretrained_model_has_no_task(tmp_path: Path) -> None:
    model = finished(tmp_path, task=None, method="full")
    assert model.adapter is None
    assert model.merge() is model
    with pytest.raises(DataError, match="no task"):
        _ = model.task


def test_an_exported_adapter_lies_where_peft_and_vllm_look(tmp_path: Path) -> None:
    model = finished(tmp_path / "job")
    folder = model.export(tmp_path / "out")
    assert sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()) == [
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/chat_template.jinja",
        "adapter/tokenizer.json",
        "manifest.json",
    ]
    assert Model.open(folder) == model
    assert Model.open(folder).adapter == folder / "adapter"


def test_an_exported_whole_model_lies_in_the_folder_itself(tmp_path: Path) -> None:
    model = finished(tmp_path / "job", method="full")
    folder = model.export(tmp_path / "out")
    assert (folder / "model.safetensors").is_file()
    assert Model.open(folder) == model
    with pytest.raises(DataError, match="no adapter"):
        model.export(tmp_path / "other", content="adapter")


def test_an_export_never_overwrites(tmp_path: Path) -> None:
    model = finished(tmp_path / "job")
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        model.export(target)
    assert [f.name for f in target.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_model_card_says_whether_the_text_was_synthetic(tmp_path: Path, synthetic: bool) -> None:
    model = finished(tmp_path / "job", synthetic=synthetic)
    card = (model.export(tmp_path / "out") / "README.md").read_text()
    assert ("synthetic" in card) is synthetic
    assert card.startswith('---\nbase_model: "org/base"\nlibrary_name: peft\n')
    assert model.fingerprint in card


def test_a_manifest_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    manifest = finished(tmp_path).manifest
    assert ModelManifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_manifest_of_the_first_release_opens(tmp_path: Path) -> None:
    """It had the base in two fields, the name of a token, and no plan."""
    model = finished(tmp_path)
    file = tmp_path / "output" / "manifest.json"
    old = json.loads(file.read_text())
    old |= {"base": "org/base", "base_revision": "abc", "token": "HF_TOKEN"}
    del old["plan_fingerprint"]
    file.write_text(json.dumps(old))
    opened = Model.open(tmp_path / "output")
    assert opened.base == ModelRef(name="org/base", revision="abc")
    assert opened.manifest.plan_fingerprint == ""
    assert opened == model
    assert "HF_TOKEN" not in opened.manifest.model_dump_json()


def test_a_manifest_carries_its_plan_and_nothing_of_the_caller(tmp_path: Path) -> None:
    from soaptune.handles.dataset import Dataset
    from soaptune.local.backend import LocalBackend
    from soaptune.train.trainer import Trainer

    pa = pytest.importorskip("pyarrow")
    data = Dataset.write(
        tmp_path / "data", {"train": pa.table({"id": ["1"], "text": ["a"], "label": ["b"]})}, task=TASK, how={}
    )
    spec = TrainSpec.preset("tiny-lora").replace(token="MY_TOKEN", cache_dir="/models")
    backend = LocalBackend(tmp_path / "runs")
    trainer = Trainer(spec=spec)
    compiled = trainer.compile(data, on=backend)
    stage = tmp_path / "stage"
    checkpoint = job(stage, ModelPlan.model_validate_json(compiled.files["model.json"]))
    for name, text in compiled.files.items():
        (stage / "app" / name).write_text(text)
    finish_model(checkpoint, output=stage / "output", plan=stage / "app" / "model.json")
    text = (stage / "output" / "manifest.json").read_text()
    plan = trainer.plan(data, given=backend.capabilities)
    assert json.loads(text)["plan_fingerprint"] == plan.fingerprint
    assert not any(word in text for word in ("MY_TOKEN", "/models", '"token"', '"cache_dir"'))
    assert Model.open(stage / "output").base == spec.base
    assert spec.fingerprint == spec.replace(token=None, cache_dir=None).fingerprint


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "a"), finished(tmp_path / "b")
    assert first == second
    (second.weights / "adapter_model.safetensors").write_bytes(b"other")
    assert fingerprint_folder(second.weights) != first.fingerprint


def test_a_handle_shows_itself_in_text_and_in_a_notebook(tmp_path: Path) -> None:
    model = finished(tmp_path, base="<b>&")
    assert "adapter for" in repr(model)
    assert "&lt;b&gt;&amp;" in model._repr_html_()
