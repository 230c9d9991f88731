"""What a generation job is given, as pure data: its ``step.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from soaptune.config import Config
from soaptune.generation.protocol import Pools
from soaptune.tasks.code import Hook
from soaptune.tasks.spec import TaskSpec

__all__ = ["CortexPayload", "GeneratePayload", "Mode", "Shares"]

Mode = Literal["heuristic", "cortex"]
"""Ways to make examples: ``heuristic`` fills templates, ``cortex`` has a model of Snowflake write the outputs."""

Shares = str | tuple[int | float, ...] | dict[str, int | float]
"""How large splits are; see `soaptune.handles.preparation.split.target_sizes`."""


class GeneratePayload(Config):
    """Everything that the rows of a generated dataset depend on."""

    task: TaskSpec
    """The task that the examples are of."""
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
    hook: Hook
    """The class that makes them: the task's hook that the caller allows to run."""

    @property
    def generator(self) -> str:
        """Import path of the class that makes them."""
        return self.hook.path

    @property
    def how(self) -> dict[str, Any]:
        """What the rows depend on, for the dataset's manifest: the same wherever they are made and kept."""
        return {
            "step": "generate",
            "generator": self.generator,
            **self.model_dump(mode="json", exclude={"task", "hook"}),
        }


class CortexPayload(Config):
    """What a generation job in mode ``cortex`` is given."""

    mode: Literal["cortex"] = "cortex"
    """How the rows are made."""
    task: TaskSpec
    """The task that the examples are of."""
    model: str
    """The Cortex model that writes the outputs."""
    source: str
    """Where the inputs are: a table, a query, or the address of a Dataset's version."""
    columns: dict[str, str] = Field(default_factory=dict[str, str])
    """The column for an input field, where it has another name."""
    num_samples: int | None = None
    """How many rows are asked at most; all of them when None."""
    seed: int = Field(ge=0)
    """Fixes the split."""
    split: Shares
    """How large the splits are."""
    deduplicate: bool
    """Whether rows that repeat an earlier one are left out."""
    temperature: float
    """How freely the model writes."""
    max_tokens: int
    """How long an answer may be."""

    @property
    def how(self) -> dict[str, Any]:
        """How the rows were made, for the dataset's manifest."""
        return {"step": "generate", **self.model_dump(mode="json", exclude={"task"})}
