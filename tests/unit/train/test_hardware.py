"""Hardware: what a machine changes, what it cannot do, and that looking at it loads no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from soaptune.jobs.machine import Machine
from soaptune.local.machine import detect
from soaptune.train.hardware import adapt, impossible
from soaptune.train.options import DeepSpeedOptions, OptimizerOptions
from soaptune.train.spec import TrainSpec

CPU = Machine(gpus=0, cpus=2)
GPU = Machine(gpus=1, cpus=8)


def test_without_a_gpu_only_what_depends_on_it_changes() -> None:
    spec = TrainSpec.preset("qwen3-1.7b-lora").replace(attn_implementation="flash_attention_2")
    adapted, changes = adapt(spec, CPU)
    assert {c.path: (c.before, c.after) for c in changes} == {
        "dtype": ("bf16", "fp32"),
        "attn_implementation": ("flash_attention_2", "sdpa"),
        "optimizer.name": ("cpu_adam", "adamw"),
        "deepspeed.stage": ("3", "0"),
        "deepspeed.offload_optimizer": ("True", "False"),
        "num_proc": ("16", "1"),
        "dataloader_num_workers": ("2", "1"),
    }
    assert adapted.optimizer == OptimizerOptions(name="adamw", learning_rate=5e-4)
    assert adapted.deepspeed == DeepSpeedOptions()
    same = ("model", "epochs", "max_length", "packing", "lora", "per_device_batch_size", "seed")
    assert all(getattr(adapted, name) == getattr(spec, name) for name in same)
    assert adapted.check() == []
    assert impossible(adapted, CPU) == []


def test_adapting_twice_changes_nothing_more() -> None:
    adapted, _ = adapt(TrainSpec.preset("qwen3-1.7b-full"), CPU)
    assert adapt(adapted, CPU) == (adapted, ())


def test_with_a_gpu_only_worker_counts_follow_the_cores() -> None:
    _, changes = adapt(TrainSpec.preset("qwen3-1.7b-lora"), GPU)
    assert [str(change) for change in changes] == ["num_proc: 16 -> 8 (this machine has 8 core(s))"]


def test_muon_stays_muon_on_a_cpu() -> None:
    spec = TrainSpec.preset("tiny-pretrain")
    assert adapt(spec, CPU)[0].optimizer.name == "muon"


@pytest.mark.parametrize("name", ["cpu_adam", "fused_adam"])
def test_a_missing_compiler_is_found_before_training(name: str) -> None:
    spec = TrainSpec.preset("tiny-lora").replace(optimizer=OptimizerOptions.model_validate({"name": name}))
    found = impossible(spec, Machine(gpus=1, cpus=8, cpp_compiler=False))
    assert [violation.code for violation in found] == ["needs-compiler"]
    assert "apt install g++" in found[0].hint
    assert impossible(spec, Machine(gpus=1, cpus=8, cpp_compiler=True)) == []


def test_what_a_cpu_cannot_compute_is_an_error_when_nothing_was_adapted() -> None:
    spec = TrainSpec(model="m", dtype="fp16", attn_implementation="flash_attention_2")
    assert [violation.code for violation in impossible(spec, CPU)] == ["fp16-on-cpu", "flash-attention-on-cpu"]


def test_hidden_gpus_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    detect.cache_clear()
    try:
        assert detect().gpus == 0
        assert detect().cpus >= 1
    finally:
        detect.cache_clear()


def test_looking_at_the_machine_loads_no_heavy_package() -> None:
    code = (
        "import sys; from soaptune.local.machine import detect; detect(); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
