"""The memory of a training run: the bytes of DeepSpeed's estimator, for each stage of ZeRO."""

from __future__ import annotations

from typing import Any

import pytest

from soaptune.jobs.memory_need import RESERVE_GB, MemoryEstimate
from soaptune.train.memory import training_memory
from soaptune.train.options import DeepSpeedOptions, LoraOptions
from soaptune.train.spec import TrainSpec


def needs(*, gpus: int, nodes: int = 1, **choices: Any) -> MemoryEstimate:
    spec = TrainSpec(**{"model": "x/y-1B", "method": "full", "deepspeed": DeepSpeedOptions(stage=0), **choices})
    estimate = training_memory(spec).estimate(gpus=gpus, nodes=nodes)
    assert estimate is not None
    return estimate


@pytest.mark.parametrize(("stage", "gpu_bytes"), [(0, 20.0), (1, 8.0), (2, 6.5), (3, 5.0)])
def test_zero_spreads_more_with_every_stage(stage: Any, gpu_bytes: float):
    found = needs(gpus=4, deepspeed=DeepSpeedOptions(stage=stage))
    assert found.gpu_gb == pytest.approx(gpu_bytes + RESERVE_GB)
    assert found.host_gb == 0


def test_nodes_spread_like_gpus():
    one, two = (needs(gpus=4, nodes=n, deepspeed=DeepSpeedOptions(stage=3)) for n in (1, 2))
    assert two.gpu_gb - RESERVE_GB == pytest.approx((one.gpu_gb - RESERVE_GB) / 2)


def test_what_is_offloaded_counts_as_main_memory():
    found = needs(gpus=4, deepspeed=DeepSpeedOptions(stage=3, offload_optimizer=True, offload_param=True))
    assert found.gpu_gb == RESERVE_GB
    assert found.host_gb == pytest.approx(18.0)


def test_lora_needs_little_more_than_the_weights():
    assert 2.0 < needs(gpus=1, method="lora", lora=LoraOptions(r=16)).gpu_gb - RESERVE_GB < 2.5


def test_fp32_needs_sixteen_bytes_without_zero():
    assert needs(gpus=1, dtype="fp32").gpu_gb == pytest.approx(16 + RESERVE_GB)


@pytest.mark.parametrize("preset", ["qwen3-1.7b-lora", "qwen3-1.7b-full"])
def test_the_public_samples_recipes_fit_on_the_machines_it_runs_them_on(preset: str):
    found = training_memory(TrainSpec.preset(preset)).estimate(gpus=4)
    assert found is not None
    assert found.gpu_gb < 24
    assert found.host_gb < 178


def test_a_model_without_a_known_size_has_no_estimate():
    assert training_memory(TrainSpec(model="gpt2")).estimate(gpus=1) is None
