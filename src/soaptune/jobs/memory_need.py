"""How much memory a job needs at least, as data that is evaluated once the number of GPUs and nodes is known."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from soaptune.config import Config

__all__ = ["RESERVE_GB", "MemoryEstimate", "MemoryNeed", "inference_memory", "parameters"]

RESERVE_GB = 4.0
"""Memory of a GPU that model states cannot have: CUDA itself, gathered layers, activations, logits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """What a job needs at least.

    Attributes:
        gpu_gb: Memory of each GPU, in GB, `RESERVE_GB` included.
        host_gb: Main memory of each node for what is offloaded, in GB.
        why: How the number comes about, for a person.
    """

    gpu_gb: float
    host_gb: float
    why: str


_SIZE = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)\s?([BbMm])(?![A-Za-z0-9])")


class MemoryNeed(Config):
    """The memory of a model's states, by parameter, and how ZeRO spreads them.

    The terms are those of Rajbhandari et al., ZeRO (2020), arXiv:1910.02054, section 3.1: ZeRO spreads the optimizer's
    state from stage 1 on, gradients from stage 2, weights at stage 3; what is offloaded counts as main memory.
    """

    model: str
    """The model's name, for a person."""

    parameters: float | None = Field(default=None, gt=0)
    """How many parameters it has; None where nobody knows."""

    weights: float = 2
    """Bytes of weights, by parameter."""

    gradients: float = 0
    """Bytes of gradients, by parameter; an adapter has them for its own share of the parameters only."""

    state: float = 0
    """Bytes of the optimizer's state, by parameter."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    """ZeRO's stage."""

    offload_state: bool = False
    """Whether the optimizer's state lies in main memory."""

    offload_weights: bool = False
    """Whether the weights lie in main memory (at stage 3)."""

    what: str = "2 bytes each"
    """What is done with the parameters, for a person."""

    def estimate(self, *, gpus: int, nodes: int = 1) -> MemoryEstimate | None:
        """Evaluates the formula.

        Args:
            gpus: GPUs of each node, at least 1.
            nodes: How many nodes work together.

        Returns:
            The estimate, or None where the number of parameters is not known.
        """
        if self.parameters is None:
            return None
        ranks = max(1, gpus * nodes)
        weights = self.weights / (ranks if self.zero_stage >= 3 else 1)
        gradients = self.gradients / (ranks if self.zero_stage >= 2 else 1)
        state = self.state / (ranks if self.zero_stage >= 1 else 1)
        on_host = 0.0
        if self.offload_state:
            on_host += state * gpus
            state = 0.0
            # ZeRO-Offload moves gradients out as they are made.
            gradients = 0.0 if self.zero_stage >= 2 else gradients
        if self.offload_weights and self.zero_stage >= 3:
            on_host += weights * gpus
            weights = 0.0
        spread = f", ZeRO stage {self.zero_stage} over {ranks} GPU(s)" if self.zero_stage else ""
        moved = ", optimizer state in main memory" if self.offload_state else ""
        return MemoryEstimate(
            gpu_gb=_round_up(self.parameters * (weights + gradients + state) / 1e9 + RESERVE_GB),
            host_gb=_round_up(self.parameters * on_host / 1e9) if on_host else 0.0,
            why=f"{self.parameters / 1e9:g} B parameters, {self.what}{spread}{moved}, and {RESERVE_GB:g} GB for all "
            "else",
        )


def parameters(model: str) -> float | None:
    """The number of parameters that a model's name gives, or the size of its files.

    Args:
        model: A name on the hub (``"Qwen/Qwen3-1.7B"``) or a folder.

    Returns:
        The number, or None where the name does not give it. For a mixture of experts it is the size of all experts, for
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


def inference_memory(model: str) -> MemoryNeed:
    """The memory that a model needs to answer, on one GPU in half precision.

    Args:
        model: Its name, or a folder.
    """
    return MemoryNeed(model=model, parameters=parameters(model), what="2 bytes each")


def _round_up(value: float) -> float:
    return math.ceil(value * 10 - 1e-6) / 10
