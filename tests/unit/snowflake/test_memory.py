from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from soaptune.snowflake.preflight.memory import RESERVE_GB, inference_needs, parameters, training_needs

from soaptune.train import TrainSpec


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen3-1.7B", 1.7),
        ("meta-llama/Llama-3.1-8B-Instruct", 8),
        ("HuggingFaceTB/SmolLM2-135M", 0.135),
        ("mistralai/Mixtral-8x7B-v0.1", 56),
        ("Qwen/Qwen3-30B-A3B", 30),
        ("/home/me/models/my_model_0.6b/", 0.6),
    ],
)
def test_the_size_is_read_from_the_name(name: str, billions: float):
    assert parameters(name) == pytest.approx(billions * 1e9)


@pytest.mark.parametrize("name", ["microsoft/phi-2", "soaptune/tiny", "gpt2", "google/gemma-3n-E4B-it", "v1.5beta", ""])
def test_a_name_without_a_size_is_unknown(name: str):
    assert parameters(name) is None


def _config(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "model": {"name_or_path": "x/y-1B", "dtype": "bf16"},
        "deepspeed": {"zero_optimization": {"stage": 0}},
    }
    return {**config, **changes}


def _zero(stage: int, **more: Any) -> dict[str, Any]:
    return {"zero_optimization": {"stage": stage, **more}}


@pytest.mark.parametrize(("stage", "gpu_bytes"), [(0, 20.0), (1, 8.0), (2, 6.5), (3, 5.0)])
def test_zero_spreads_more_with_every_stage(stage: int, gpu_bytes: float):
    needs = training_needs(_config(deepspeed=_zero(stage)), gpus=4)
    assert needs is not None
    assert needs.gpu_gb == pytest.approx(gpu_bytes + RESERVE_GB)
    assert needs.host_gb == 0


def test_nodes_spread_like_gpus():
    one, two = (training_needs(_config(deepspeed=_zero(3)), gpus=4, nodes=n) for n in (1, 2))
    assert one is not None
    assert two is not None
    assert two.gpu_gb - RESERVE_GB == pytest.approx((one.gpu_gb - RESERVE_GB) / 2)


def test_what_is_offloaded_counts_as_main_memory():
    offload = _zero(3, offload_optimizer={"device": "cpu"}, offload_param={"device": "cpu"})
    needs = training_needs(_config(deepspeed=offload), gpus=4)
    assert needs is not None
    assert needs.gpu_gb == RESERVE_GB
    assert needs.host_gb == pytest.approx(18.0)


def test_lora_needs_little_more_than_the_weights():
    needs = training_needs(_config(model={"name_or_path": "x/y-1B", "peft_config": {"r": 16}}), gpus=1)
    assert needs is not None
    assert 2.0 < needs.gpu_gb - RESERVE_GB < 2.5


def test_fp32_needs_sixteen_bytes_without_zero():
    needs = training_needs(_config(model={"name_or_path": "x/y-1B", "dtype": "fp32"}), gpus=1)
    assert needs is not None
    assert needs.gpu_gb == pytest.approx(16 + RESERVE_GB)


@pytest.mark.parametrize("preset", ["qwen3-1.7b-lora", "qwen3-1.7b-full"])
def test_the_public_samples_recipes_fit_on_the_machines_it_runs_them_on(preset: str):
    needs = training_needs(TrainSpec.preset(preset).to_arctic(), gpus=4)
    assert needs is not None
    assert needs.gpu_gb < 24
    assert needs.host_gb < 178


def test_answering_takes_two_bytes_a_parameter():
    needs = inference_needs("Qwen/Qwen3-8B")
    assert needs is not None
    assert needs.gpu_gb == pytest.approx(16 + RESERVE_GB)
    assert inference_needs("gpt2") is None


def test_a_folder_tells_its_size_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(2_000))
    assert parameters(str(tmp_path)) == 1_000
