"""`Trainer`: what it compiles to, and what it finds before anything starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from soaptune.errors import CheckFailed, ConfigError
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Folder
from soaptune.handles.model_manifest import ModelPlan
from soaptune.handles.model_ref import ModelRef
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.machine import Machine
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.tasks.spec import TaskSpec
from soaptune.train.finish import git_revision
from soaptune.train.options import OptimizerOptions
from soaptune.train.spec import TrainSpec
from soaptune.train.trainer import Trainer

pa = pytest.importorskip("pyarrow")

GOLDEN = Path(__file__).parents[2] / "golden" / "trainer_job.json"
TASK = TaskSpec(
    name="ticket",
    system_prompt="Sort the ticket.",
    user_template="Ticket: {text}",
    output_schema={"type": "object", "properties": {"label": {"type": "string"}, "why": {"type": "string"}}},
    output_fields=("label", "why"),
    input_fields=("text",),
)


class LaptopBackend(LocalBackend):
    """This machine, as if it had two cores and no GPU."""

    @property
    def capabilities(self) -> Capabilities:
        return super().capabilities.replace(machine=Machine(gpus=0, cpus=2, cpp_compiler=False))


class GpuBackend(LocalBackend):
    @property
    def capabilities(self) -> Capabilities:
        return super().capabilities.replace(machine=Machine(gpus=1, cpus=32, cpp_compiler=False))


class RemoteBackend(LocalBackend):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(reads=frozenset({"folder"}))


def rows(count: int, **columns: Any) -> Any:
    known = {
        "id": [f"r{i}" for i in range(count)],
        "text": [f"text {i}" for i in range(count)],
        "label": ["a"] * count,
        "why": ["b"] * count,
    }
    return pa.table({**known, **columns})


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    splits = {"train": rows(40), "validation": rows(2, id=["v0", "v1"])}
    return Dataset.write(tmp_path / "data", splits, task=TASK, how={"step": "test"}, synthetic=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without transformers: tests/contract/test_token_preflight.py looks at the rows with one."""
    monkeypatch.setattr("soaptune.train.tokens.NEEDS", ("no_such_package",))


def found(trainer: Trainer, data: Dataset, on: LocalBackend | None = None) -> dict[str, str]:
    on = on or LaptopBackend("unused")
    findings = [*trainer.preflight(data, on=on), *on.preflight(trainer.compile(data, on=on))]
    return {v.code: v.path for v in findings if v.code not in ("missing-extra", "no-such-model")}


def test_a_job_is_the_golden_one(data: Dataset) -> None:
    trainer = Trainer(spec=TrainSpec.preset("qwen3-1.7b-lora").replace(token="HF_TOKEN"))
    job = trainer.compile(data, on=LaptopBackend("unused"))
    text = json.dumps(job.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    text = text.replace(str(data.path), "/data").replace(data.fingerprint, "sha256:data")
    text = text.replace(trainer.plan(data, given=LaptopBackend("unused").capabilities).fingerprint, "sha256:plan")
    if os.environ.get("SOAPTUNE_UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_same_input_compiles_to_the_same_bytes(data: Dataset) -> None:
    trainer = Trainer(spec=TrainSpec.preset("tiny-lora"))
    first = trainer.compile(data, on=LaptopBackend("unused"))
    second = Trainer.model_validate_json(trainer.model_dump_json()).compile(data, on=LaptopBackend("elsewhere"))
    assert first == second
    assert JobSpec.model_validate_json(first.model_dump_json()) == first


def test_compiling_takes_milliseconds_and_writes_nothing(data: Dataset, tmp_path: Path) -> None:
    trainer, on = Trainer(spec=TrainSpec.preset("tiny-lora")), LaptopBackend(tmp_path / "runs")
    trainer.compile(data, on=on)
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        trainer.compile(data, on=on)
        best = min(best, time.process_time() - start)
    assert best < 0.1
    assert not (tmp_path / "runs").exists()


def test_the_plan_carries_where_the_model_will_come_from(data: Dataset) -> None:
    trainer = Trainer(spec=TrainSpec.preset("qwen3-1.7b-lora"))
    job = trainer.compile(data, on=LaptopBackend("unused"))
    plan = ModelPlan.model_validate_json(job.files["model.json"])
    assert plan.base == ModelRef(name="Qwen/Qwen3-1.7B")
    assert plan.task == TASK
    assert plan.synthetic
    assert plan.data_fingerprint == data.fingerprint
    assert TrainSpec.model_validate(plan.spec) == trainer.spec, "the spec as the user gave it, not as it was adapted"
    assert "dtype: bf16 -> fp32 (this machine has no GPU, and half precision is slower on a CPU)" in plan.changes


def test_what_is_changed_for_the_hardware_is_said_before_the_run(data: Dataset) -> None:
    trainer = Trainer(spec=TrainSpec.preset("qwen3-1.7b-full"))
    warned = [v for v in trainer.preflight(data, on=LaptopBackend("x")) if v.code == "changed-for-hardware"]
    assert {v.path for v in warned} >= {"spec.dtype", "spec.optimizer.name", "spec.deepspeed.stage"}
    assert all(v.level == "warning" for v in warned)
    assert [v.path for v in warned] == [f"spec.{c.path}" for c in trainer.changes(on=LaptopBackend("x"))]


def test_nothing_is_changed_for_machines_that_are_not_known(data: Dataset) -> None:
    trainer = Trainer(spec=TrainSpec.preset("qwen3-1.7b-lora"))
    job = trainer.compile(data, on=RemoteBackend("unused"))
    assert job.files["config.yaml"] == trainer.spec.to_yaml()
    assert job.env == {}


def test_a_compiler_is_asked_for_only_where_it_is_needed(data: Dataset) -> None:
    spec = TrainSpec.preset("qwen3-1.7b-lora")
    assert "needs-compiler" not in found(Trainer(spec=spec), data)
    assert found(Trainer(spec=spec), data, GpuBackend("x"))["needs-compiler"] == "spec.optimizer.name"
    as_given = Trainer(spec=spec.replace(dtype="fp16"), adapt_to_hardware=False)
    assert {"needs-compiler", "fp16-on-cpu"} <= set(found(as_given, data))


def test_a_base_model_in_a_folder_becomes_an_input(data: Dataset, base: Path) -> None:
    trainer = Trainer(spec=TrainSpec.preset("tiny-lora").replace(model=str(base)))
    job = trainer.compile(data, on=LaptopBackend("x"))
    assert job.inputs == {"data": Folder(path=str(data.path)), "base": Folder(path=str(base))}
    assert yaml.safe_load(job.files["config.yaml"])["model"]["name_or_path"] == "../inputs/base"
    assert trainer.preflight(data, on=LaptopBackend("x")) == []


def test_a_token_travels_by_name(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    trainer = Trainer(spec=TrainSpec.preset("qwen3-1.7b-lora").replace(token="MY_TOKEN"))
    job = trainer.compile(data, on=LaptopBackend("x"))
    assert job.secrets == {"HF_TOKEN": "MY_TOKEN"}
    assert "s3cret" not in job.model_dump_json()
    monkeypatch.delenv("MY_TOKEN")
    assert found(trainer, data)["secret-not-set"] == "secrets.HF_TOKEN"
    assert "MY_TOKEN" not in "".join(job.files.values()), "a token's name is the caller's"


def test_splits_that_are_not_there_are_found(data: Dataset) -> None:
    spec = TrainSpec.preset("tiny-lora").replace(train_split="learn", eval_split="test", eval_interval=5)
    violations = [v for v in Trainer(spec=spec).preflight(data, on=LaptopBackend("x")) if v.code == "no-such-split"]
    assert [v.path for v in violations] == ["spec.train_split", "spec.eval_split"]
    assert "it has train, validation" in violations[0].message


def test_rows_without_answers_are_found(tmp_path: Path) -> None:
    nothing = rows(3, label=["", " ", ""], why=["", "", ""])
    some = rows(3, id=["s1", "s2", "s3"], label=["", "a", "b"])
    data = Dataset.write(tmp_path / "d", {"train": nothing, "some": some}, task=TASK, how={})
    spec = TrainSpec.preset("tiny-lora").replace(per_device_batch_size=1)
    assert found(Trainer(spec=spec), data)["no-answers"] == "data['train']"
    assert found(Trainer(spec=spec.replace(train_split="some")), data)["empty-answers"] == "data['some']"


def test_an_empty_split_is_found(tmp_path: Path) -> None:
    data = Dataset.write(tmp_path / "d", {"train": rows(0)}, task=TASK, how={})
    assert found(Trainer(spec=TrainSpec.preset("tiny-lora")), data)["no-rows"] == "spec.train_split"


def test_a_step_that_takes_more_rows_than_there_are_is_a_warning(data: Dataset) -> None:
    spec = TrainSpec.preset("tiny-lora").replace(gradient_accumulation_steps=8, batch_tokens=0)
    findings = Trainer(spec=spec).preflight(data, on=LaptopBackend("x"))
    (finding,) = [one for one in findings if one.code == "fewer-rows-than-a-step"]
    assert (finding.path, finding.level) == ("spec.per_device_batch_size", "warning")
    assert "each epoch is one step of 40 rows" in finding.message


@pytest.mark.parametrize("nodes", [1, 5])
def test_fewer_rows_than_ranks_are_an_error(tmp_path: Path, nodes: int) -> None:
    """One rank would have nothing to train on, and the job would end with a message of ArcticTraining's."""

    class Cluster(LocalBackend):
        @property
        def capabilities(self) -> Capabilities:
            machine = Machine(gpus=4, cpus=32, cpp_compiler=False) if nodes == 1 else None
            return super().capabilities.replace(machine=machine, nodes=nodes)

    trainer = Trainer(spec=TrainSpec.preset("tiny-lora"))
    few, enough = (Dataset.write(tmp_path / str(n), {"train": rows(n)}, task=TASK, how={}) for n in (3, 5))
    (finding,) = [one for one in trainer.preflight(few, on=Cluster("x")) if one.code == "fewer-rows-than-ranks"]
    assert (finding.path, finding.level) == ("spec.train_split", "error")
    assert f"has 3 rows, and {4 if nodes == 1 else 5} GPUs or nodes" in finding.message
    assert "fewer-rows-than-ranks" not in {one.code for one in trainer.preflight(enough, on=Cluster("x"))}
    assert "fewer-rows-than-ranks" not in {one.code for one in trainer.preflight(few, on=LaptopBackend("x"))}


def test_a_base_model_without_weights_is_found(data: Dataset, base: Path) -> None:
    (base / "model.safetensors").unlink()
    spec = TrainSpec.preset("tiny-full").replace(model=str(base))
    assert found(Trainer(spec=spec), data)["incomplete-model"] == "spec.model"
    assert "incomplete-model" not in found(Trainer(spec=spec.replace(initialization="random")), data)
    gone = Trainer(spec=spec.replace(model=str(base / "nowhere")))
    assert "no-such-model" in [v.code for v in gone.preflight(data, on=LaptopBackend("x"))]


def test_a_folder_that_is_written_like_a_name_is_found(
    data: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    spec = TrainSpec.preset("tiny-lora").replace(model="base")
    (violation,) = (v for v in Trainer(spec=spec).preflight(data, on=LaptopBackend("x")) if v.level == "error")
    assert (violation.code, violation.path) == ("folder-without-dot", "spec.model")
    assert 'model="./base"' in violation.hint
    assert "folder-without-dot" not in found(Trainer(spec=spec.replace(model="./base")), data)


def test_a_spec_with_errors_does_not_start(data: Dataset, tmp_path: Path) -> None:
    spec = TrainSpec.preset("tiny-lora").replace(
        packing="next_fit", batch_tokens=0, optimizer=OptimizerOptions(muon_learning_rate=1.0)
    )
    trainer = Trainer(spec=spec)
    assert [v.path for v in trainer.check()] == ["spec.per_device_batch_size", "spec.optimizer.muon_learning_rate"]
    with pytest.raises(CheckFailed, match="2 thing"):
        trainer.run(data, on=LaptopBackend(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_name_that_backends_cannot_show_is_refused() -> None:
    with pytest.raises(ConfigError, match="name"):
        Trainer(spec=TrainSpec.preset("tiny-lora"), name="my job!")


def test_pretraining_needs_no_task(data: Dataset) -> None:
    job = Trainer(spec=TrainSpec.preset("tiny-pretrain")).compile(data, on=LaptopBackend("x"))
    assert "task.json" not in job.files
    assert ModelPlan.model_validate_json(job.files["model.json"]).task is None


def test_the_git_revision_is_that_of_the_working_tree(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*run, "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "file").write_text("1")
    subprocess.run([*run, "add", "file"], cwd=tmp_path, check=True)
    subprocess.run([*run, "commit", "-q", "-m", "m"], cwd=tmp_path, check=True)
    clean = git_revision(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "file").write_text("2")
    assert git_revision(tmp_path) == f"{clean}-dirty"


def test_the_step_loads_no_heavy_package() -> None:
    code = (
        "import sys; from soaptune.train.trainer import Trainer; from soaptune.train.spec import TrainSpec; "
        "Trainer(spec=TrainSpec.preset('tiny-lora')).check(); "
        "heavy = ('torch', 'transformers', 'datasets', 'pandas', 'numpy', 'pyarrow', 'peft'); "
        "print([m for m in heavy if m in sys.modules], [m for m in sys.modules if m.startswith('soaptune.runtime')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[] []"
