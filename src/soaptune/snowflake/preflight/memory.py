"""How much memory a job needs at least: an estimate from the model's name and the training config.

For training it counts the *model states* as Rajbhandari et al. do (ZeRO, 2020, arXiv:1910.02054, section 3.1), with the
bytes of DeepSpeed's own estimator (``estimate_zero2_model_states_mem_needs``; its sibling for stage 3 has 2 less):

    mixed precision: 2 bytes of weights, 2 of gradients, 16 of optimizer state (fp32 gradients, weights and two moments)
    fp32:            4 bytes of weights, 4 of gradients, 8 of optimizer state

per parameter; ZeRO spreads the optimizer state from stage 1 on, gradients from stage 2, weights at stage 3; what is
offloaded counts as main memory. With LoRA, gradients and state are those of the adapter only. `RESERVE_GB` on every GPU
is for what the formula leaves out: CUDA itself, gathered layers, activations, logits. Longer examples need more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["RESERVE_GB", "Needs", "inference_needs", "parameters", "training_needs"]

RESERVE_GB = 4.0
"""Memory of a GPU that model states cannot have."""

_LORA_SHARE_PER_RANK = 0.01 / 16
"""An adapter of rank 16 on all linear layers has about 1 % of the parameters of a model of 1 to 2 B, and less of a
larger one's."""

_SIZE = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)\s?([BbMm])(?![A-Za-z0-9])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a job needs at least.

    Attributes:
        parameters: How many parameters the model has, by its name.
        gpu_gb: Memory of each GPU, in GB, `RESERVE_GB` included.
        host_gb: Main memory of each node for what is offloaded, in GB.
        why: How the number comes about, for a person.
    """

    parameters: float
    gpu_gb: float
    host_gb: float
    why: str


def parameters(model: str) -> float | None:
    """The number of parameters that a model's name tells, or the size of its files.

    Args:
        model: A name on the hub (``"Qwen/Qwen3-1.7B"``) or a folder.

    Returns:
        The number, or None where the name does not tell. For a mixture of experts it is the size of all experts, for
        a folder of this machine what its weights hold at two bytes each: rather too many than too few.
    """
    weights = sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) if Path(model).is_dir() else 0
    if weights:
        return weights / 2
    found = _SIZE.search(model.rstrip("/").rsplit("/", 1)[-1].replace("_", "-"))
    if found is None:
        return None
    experts, number, unit = found.groups()
    return float(number) * int(experts or 1) * (1e9 if unit in "Bb" else 1e6)


def training_needs(config: Mapping[str, Any], *, gpus: int, nodes: int = 1) -> Needs | None:
    """Estimates the memory that an ArcticTraining config needs.

    Args:
        config: The config as a mapping.
        gpus: GPUs of each node, at least 1.
        nodes: How many nodes train together.

    Returns:
        The estimate, or None where the model's size is not known.
    """
    model: Mapping[str, Any] = config.get("model") or {}
    size = parameters(str(model.get("name_or_path", "")))
    if size is None:
        return None
    full_precision = str(model.get("dtype", "bf16")).lower() in ("fp32", "float32")
    weight, gradient, state = (4, 4, 8) if full_precision else (2, 2, 16)
    adapter: Mapping[str, Any] | None = model.get("peft_config")
    share = 1.0 if adapter is None else min(1.0, _LORA_SHARE_PER_RANK * float(adapter.get("r", 16)))
    deepspeed: Mapping[str, Any] = config.get("deepspeed") or {}
    zero: Mapping[str, Any] = deepspeed.get("zero_optimization") or {}
    stage = int(zero.get("stage", 0))
    offload, offload_weights = _offloads(zero, "offload_optimizer"), _offloads(zero, "offload_param")
    ranks = max(1, gpus * nodes)
    weights = weight / (ranks if stage >= 3 else 1)
    gradients = share * gradient / (ranks if stage >= 2 else 1)
    states = share * state / (ranks if stage >= 1 else 1)
    on_host = 0.0
    if offload:
        on_host += states * gpus
        states = 0.0
        gradients = 0.0 if stage >= 2 else gradients  # ZeRO-Offload moves them out as they are made
    if offload_weights and stage >= 3:
        on_host += weights * gpus
        weights = 0.0
    per_gpu = weights + gradients + states
    how = f"{'full' if adapter is None else 'LoRA'} training in {'fp32' if full_precision else 'half precision'}"
    spread = f", ZeRO stage {stage} over {ranks} GPU(s)" if stage else ""
    moved = ", optimizer state in main memory" if offload else ""
    return Needs(
        parameters=size,
        gpu_gb=_round_up(size * per_gpu / 1e9 + RESERVE_GB),
        host_gb=_round_up(size * on_host / 1e9) if on_host else 0.0,
        why=f"{size / 1e9:g} B parameters, {how}{spread}{moved}, and {RESERVE_GB:g} GB for all else",
    )


def inference_needs(model: str) -> Needs | None:
    """Estimates the memory that a model needs to answer, on one GPU in half precision.

    Args:
        model: Its name.

    Returns:
        The estimate, or None where the model's size is not known.
    """
    size = parameters(model)
    if size is None:
        return None
    why = f"{size / 1e9:g} B parameters at 2 bytes, and {RESERVE_GB:g} GB for all else"
    return Needs(parameters=size, gpu_gb=_round_up(2 * size / 1e9 + RESERVE_GB), host_gb=0.0, why=why)


def _offloads(zero: Mapping[str, Any], name: str) -> bool:
    options: Mapping[str, Any] = zero.get(name) or {}
    return str(options.get("device", "none")).lower() not in ("none", "")


def _round_up(value: float) -> float:
    return math.ceil(value * 10 - 1e-6) / 10
