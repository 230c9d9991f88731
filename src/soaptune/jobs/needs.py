"""`Needs`: what a job needs of the world around it, as data. Steps and engines state theirs, and they add up."""

from __future__ import annotations

from pydantic import Field

from soaptune.config import Config
from soaptune.handles.model_ref import ModelRef
from soaptune.jobs.memory_need import MemoryNeed

__all__ = ["CortexNeed", "Needs", "Program"]


class Program(Config):
    """A program that a job starts."""

    command: str
    """Its name or path."""

    requirement: str | None = None
    """What the job installs with pip where the program is not there; None for nothing."""


class CortexNeed(Config):
    """Questions to a model of Snowflake Cortex, as far as they can be counted before they are asked."""

    model: str
    """The model, as ``AI_COMPLETE`` names it."""

    source: str = ""
    """The name of the job's input whose rows are asked; empty where the questions are made in the job."""

    fields: tuple[str, ...] = ()
    """The columns of the rows that stand in a question."""

    columns: dict[str, str] = Field(default_factory=dict[str, str])
    """The source's own name for a column, where it is another one."""

    fixed_text: str = ""
    """What stands in every question."""

    max_tokens: int = Field(default=2_048, ge=1)
    """How many tokens an answer may have."""


class Needs(Config):
    """What a job needs. Of a job that somebody wrote by hand nothing is known: its `JobSpec.needs` is None."""

    models: tuple[ModelRef, ...] = ()
    """Base models that it loads."""

    hosts: tuple[str, ...] = ()
    """Hosts that it talks to beside those that `models` and packages imply."""

    packages: tuple[str, ...] = ()
    """Modules that it imports, by import name, beside those of the bare install."""

    programs: tuple[Program, ...] = ()
    """Programs that it starts beside its entrypoint."""

    secrets: dict[str, str] = Field(default_factory=dict[str, str])
    """Environment variables whose values are secret, by the name under which the submitter has them."""

    memory: tuple[MemoryNeed, ...] = ()
    """The memory of the models that it holds."""

    half_precision: bool = False
    """Whether it trains in half precision, which is slow without a GPU."""

    cortex: tuple[CortexNeed, ...] = ()
    """What it asks of models of Snowflake Cortex."""

    def __add__(self, other: Needs) -> Needs:
        return Needs(
            models=(*self.models, *(one for one in other.models if one not in self.models)),
            hosts=tuple(dict.fromkeys((*self.hosts, *other.hosts))),
            packages=tuple(dict.fromkeys((*self.packages, *other.packages))),
            programs=(*self.programs, *(one for one in other.programs if one not in self.programs)),
            secrets={**self.secrets, **other.secrets},
            memory=(*self.memory, *(one for one in other.memory if one not in self.memory)),
            half_precision=self.half_precision or other.half_precision,
            cortex=(*self.cortex, *(one for one in other.cortex if one not in self.cortex)),
        )
