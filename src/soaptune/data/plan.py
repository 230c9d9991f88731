"""What a generation job is told: pure data, written into the job's payload as ``step.json``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from soaptune.config import Config
from soaptune.handles.taskspec import TaskSpec
from soaptune.tasks.generation.protocol import Pools

__all__ = ["GeneratePlan", "Mode", "Shares"]

Mode = Literal["heuristic"]
"""Ways to make examples: ``heuristic`` fills templates."""

Shares = str | tuple[int | float, ...] | dict[str, int | float]
"""How large splits are; see `soaptune.handles.preparation.target_sizes`."""


class GeneratePlan(Config):
    """Everything that the rows of a generated dataset depend on."""

    task: TaskSpec
    """The task that the examples are of."""
    generator: str
    """Import path of the class that makes them."""
    mode: Mode
    """How they are made."""
    num_samples: int = Field(ge=1)
    """How many rows are made, before any is left out."""
    seed: int = Field(ge=0)
    """Fixes all rows and the split."""
    split: Shares
    """How large the splits are."""
    verbosity: dict[str, float] | None
    """Share of the rows at each verbosity level; None for the generator's own mix."""
    pools: Pools
    """Which values and templates are used."""
    deduplicate: bool
    """Whether rows that repeat an earlier one are left out."""
