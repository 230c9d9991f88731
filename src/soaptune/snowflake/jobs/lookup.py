"""Finding a job by what people call it: its id, or the name of its service, bare or qualified."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from soaptune.errors import ConfigError, JobNotFound
from soaptune.snowflake.jobs.records import Record
from soaptune.snowflake.names import split

if TYPE_CHECKING:
    from soaptune.snowflake.backend import SnowflakeBackend

__all__ = ["find_record"]


def find_record(backend: SnowflakeBackend, job_id: str) -> Record:
    """Finds what was written down about a job.

    Args:
        backend: Where to look.
        job_id: Its id, or the name of its service; bare, or qualified with database and schema.

    Raises:
        JobNotFound: There is none of that id; the error names the nearest.
        BackendError: The job's record cannot be read.
    """
    known = backend.records.names()
    bare = _bare(backend, job_id)
    # Snowflake puts a suffix behind the name under which a job was submitted.
    fitting = [name for name in known if bare == name or bare.startswith(f"{name}_")]
    record = backend.records.read(max(fitting, key=len)) if fitting else None
    if record is None:
        near = difflib.get_close_matches(bare, known, n=3, cutoff=0.5) or known[:3]
        told = f"; near ones are {', '.join(near)}" if near else "; there are none yet"
        raise JobNotFound(f"there is no job {job_id!r} on {backend.stage_name.stage}{told}")
    return record


def _bare(backend: SnowflakeBackend, job_id: str) -> str:
    try:
        parts = split(job_id.removeprefix("snowflake:"))
    except ConfigError as error:
        raise JobNotFound(f"there is no job {job_id!r}: {error}") from error
    home = [backend.database_name, backend.schema_name]
    if len(parts) > 3 or parts[:-1] != home[len(home) - len(parts) + 1 :]:
        raise JobNotFound(f"there is no job {job_id!r} here: this backend looks into {'.'.join(home)}")
    return parts[-1].upper()
