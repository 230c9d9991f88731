"""Memory as data: evaluated once the number of GPUs and nodes is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from soaptune.jobs.memory_need import RESERVE_GB, MemoryNeed, inference_memory, parameters


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


def test_a_folder_tells_its_size_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(2_000))
    assert parameters(str(tmp_path)) == 1_000


def test_answering_takes_two_bytes_a_parameter():
    estimate = inference_memory("Qwen/Qwen3-8B").estimate(gpus=1)
    assert estimate is not None
    assert estimate.gpu_gb == pytest.approx(16 + RESERVE_GB)
    assert estimate.host_gb == 0
    assert inference_memory("gpt2").estimate(gpus=1) is None


def test_several_gpus_do_not_share_what_is_not_spread():
    need = inference_memory("Qwen/Qwen3-8B")
    assert need.estimate(gpus=4, nodes=2) == need.estimate(gpus=1)


def test_weights_are_offloaded_at_stage_three_only():
    need = MemoryNeed(model="x", parameters=1e9, zero_stage=2, offload_weights=True)
    kept = need.estimate(gpus=2)
    moved = need.replace(zero_stage=3).estimate(gpus=2)
    assert kept is not None
    assert moved is not None
    assert (kept.gpu_gb, kept.host_gb) == (2 + RESERVE_GB, 0)
    assert (moved.gpu_gb, moved.host_gb) == (RESERVE_GB, 2)


def test_a_formula_goes_through_json():
    need = inference_memory("Qwen/Qwen3-8B")
    assert MemoryNeed.model_validate_json(need.model_dump_json()) == need
