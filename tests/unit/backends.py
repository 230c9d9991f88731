"""A backend that plans and lowers, and runs nothing: for what steps make of a backend's capabilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.lower import lowered
from soaptune.jobs.machine import Machine

FOLDERS = Capabilities(reads=frozenset({"folder"}), machine=Machine(gpus=0, cpus=2))
"""This machine, as if it had two cores and no GPU."""

ACCOUNT = Capabilities(
    reads=frozenset({"folder", "stage", "tables", "query"}),
    datasets="tables",
    endpoints="service",
    cortex=True,
    carries_embedded_model=False,
    startup_seconds=3600,
)
"""A Snowflake account, whose machines are known only once a job runs."""


@dataclass
class Elsewhere:
    """A backend that has nothing but its capabilities."""

    capabilities: Capabilities = FOLDERS
    name: str = "elsewhere"
    submitted: list[Any] = field(default_factory=list)
    job_made: Any = None

    def lower(self, plan):
        return lowered(plan, backend=self.name)

    def preflight(self, spec):
        return []

    def submit(self, spec, *, key=None, retry=False):
        self.submitted.append(spec)
        return self.job_made
