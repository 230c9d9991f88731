"""What a generation job is told: pure data, written into the job's payload as ``step.json``."""

from __future__ import annotations

from typing import Any, Literal

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
    table: str | None = None
    """On Snowflake the full name, as SQL, that the tables begin with; without it the dataset is a folder."""
    overwrite: bool = False
    """Whether tables that are there already are replaced."""

    @property
    def how(self) -> dict[str, Any]:
        """What the rows depend on, for the dataset's manifest: the same wherever they are made and kept."""
        said = self.model_dump(mode="json", exclude={"task", "table", "overwrite"})
        return {"step": "generate", **said}
