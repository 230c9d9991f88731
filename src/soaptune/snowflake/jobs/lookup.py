"""Finding a job by what people call it: its id, or the name of its service, bare or qualified."""

from __future__ import annotations

import difflib

from soaptune.errors import ConfigError, JobNotFound
from soaptune.snowflake.jobs.records import Record, Records
from soaptune.snowflake.names import split
from soaptune.snowflake.settings import SnowflakeSettings

__all__ = ["find_record"]


def find_record(job_id: str, *, records: Records, settings: SnowflakeSettings) -> Record:
    """Finds what was written down about a job.

    Args:
        job_id: Its id, or the name of its service; bare, or qualified with database and schema.
        records: The records of the jobs that are looked through.
        settings: Where they ran.

    Raises:
        JobNotFound: There is none of that id; the error names the nearest.
        BackendError: The job's record cannot be read.
    """
    known = records.names()
    bare = _bare(job_id, settings)
    # Snowflake puts a suffix behind the name under which a job was submitted.
    fitting = [name for name in known if bare == name or bare.startswith(f"{name}_")]
    record = records.read(max(fitting, key=len)) if fitting else None
    if record is None:
        near = difflib.get_close_matches(bare, known, n=3, cutoff=0.5) or known[:3]
        others = f"; near ones are {', '.join(near)}" if near else "; there are none yet"
        raise JobNotFound(f"there is no job {job_id!r} on {settings.stage_name.stage}{others}")
    return record


def _bare(job_id: str, settings: SnowflakeSettings) -> str:
    try:
        parts = split(job_id.removeprefix("snowflake:"))
    except ConfigError as error:
        raise JobNotFound(f"there is no job {job_id!r}: {error}") from error
    home = [settings.database_name, settings.schema_name]
    if len(parts) > 3 or parts[:-1] != home[len(home) - len(parts) + 1 :]:
        raise JobNotFound(f"there is no job {job_id!r} here: this backend looks into {'.'.join(home)}")
    return parts[-1].upper()
