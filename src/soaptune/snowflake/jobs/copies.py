"""Which jobs on a stage hold a dataset's text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from soaptune.handles.deletion import Copy
from soaptune.handles.location import Location, Tables
from soaptune.jobs.job import ENDED, Job
from soaptune.snowflake.tables.spec import table_of

__all__ = ["copies_of"]

_HELD = {
    "model": "a model that learned from it, the result",
    "report": "answers and inputs in the report",
}


def copies_of(data: Any, jobs: Iterable[Job[Any]]) -> list[Copy]:
    """What is left of a dataset in the folders of jobs on a stage.

    Known by the tables that a job's spec names and by the dataset's fingerprint. A job's own caches are gone with its
    container; tables elsewhere are not looked for.

    Args:
        data: The dataset.
        jobs: The jobs.
    """
    found: list[Copy] = []
    for job in jobs:
        if not any(_is_it(place, data) for place in job.spec.places.values()):
            continue
        running = job.status not in ENDED
        what = "the running job" if running else f"{_HELD.get(job.spec.kind, 'what was written by a reader of it,')} of"
        how = "cancel" if running else "delete"
        found.append(
            Copy(
                what=f"{what} {job.id}" if running else f"{what} the job {job.id}",
                where=job.output.location,
                remove=f"backend.job({job.id!r}).{how}()",
                job=job.id,
                running=running,
            )
        )
    return found


def _is_it(place: Location, data: Any) -> bool:
    if not isinstance(place, Tables):
        return False
    own = data.location
    parts = own.splits.values() if isinstance(own, Tables) else ()
    tables = [table for part in parts if (table := table_of(part)) is not None]
    return place.manifest.fingerprint == data.fingerprint or any(table_of(p) in tables for p in place.splits.values())
