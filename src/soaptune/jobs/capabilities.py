"""`Capabilities`: what a backend can do, as data. Steps read it in place of asking which backend it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from soaptune.config import Config
from soaptune.errors import Violation
from soaptune.handles.location import LocationKind
from soaptune.jobs.machine import Machine
from soaptune.jobs.needs import Needs

__all__ = ["Capabilities"]


class Capabilities(Config):
    """What a backend can do. Nothing is asked of anyone to make it."""

    reads: frozenset[LocationKind]
    """Where the handles lie that its jobs read."""

    machine: Machine | None = None
    """The machine that jobs run on; None where it is known only once the job runs."""

    nodes: int = Field(default=1, ge=1)
    """How many machines a job runs on."""

    datasets: Literal["folder", "tables"] = "folder"
    """Where its jobs write datasets."""

    endpoints: Literal["process", "service"] = "process"
    """What answers for a deployed model: the job itself, as a process that goes on, or a service that the job makes."""

    cortex: bool = False
    """Whether its jobs can ask models of Snowflake Cortex."""

    carries_embedded_model: bool = True
    """Whether the embedded base model is where jobs run; where it is not, it is an input of the job."""

    startup_seconds: float = Field(default=600.0, gt=0)
    """How long an endpoint may take until its first answer, where the `Deployer` does not say."""

    def unmet(self, needs: Needs) -> list[Violation]:
        """What of a job's needs the backend can never meet.

        Args:
            needs: What the job needs.
        """
        if needs.cortex and not self.cortex:
            return [
                Violation(
                    path="needs.cortex",
                    code="needs-snowflake",
                    message=f"Cortex is a part of Snowflake, and the job asks its model {needs.cortex[0].model}.",
                    hint="Run it on a SnowflakeBackend, or choose another engine.",
                )
            ]
        return []
