"""`cleanup`: removes what jobs have left in the account, and nothing that soaptune did not put there."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from soaptune.errors import BackendError
from soaptune.handles.location import StagePath
from soaptune.jobs.cleanup import age_of
from soaptune.jobs.job import ENDED
from soaptune.snowflake.jobs.control import PREFIX, Control, Service
from soaptune.snowflake.jobs.job import SnowflakeJob
from soaptune.snowflake.jobs.records import Record, Records
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.names import Name, quote
from soaptune.snowflake.session import NOT_FOUND, error_number
from soaptune.snowflake.tables.query import SchemaRef

__all__ = ["TEMPORARY", "cleanup"]

TEMPORARY = "SOAPTUNE_TMP_"
"""How the names of tables begin that the library makes for the moment."""


@dataclass(frozen=True)
class _Leftover:
    job: str
    services: tuple[Service, ...]
    location: str


def cleanup(
    schema: SchemaRef,
    files: StageFolder,
    *,
    older_than: timedelta | float | None = None,
    jobs: set[str] | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Removes jobs that have ended: their services with the logs, and their folders on the stage with all results.

    A job that runs is never touched, nor one whose files on the stage a running job reads. Neither is a table, a model
    or a service that a step has made on purpose.

    Args:
        schema: The schema of the jobs.
        files: The stage with their files.
        older_than: Only what was submitted longer ago than this; seconds, when it is a number.
        jobs: Only these, by their full ids.
        dry_run: Whether to list what would be removed, and leave it.

    Returns:
        What was removed.

    Raises:
        ConfigError: ``older_than`` is negative.
        BackendError: Something could not be removed, or a job that is named still runs.
    """
    age = age_of(older_than)
    control, records = Control(schema.connection, schema.database, schema.schema), Records(files)
    removed: list[str] = []
    for leftover in _leftovers(schema, files, age, jobs):
        for service in leftover.services:
            removed.append(f"service {service.name.sql}")
            if not dry_run:
                control.drop(service.name.name)
        removed.append(f"files {leftover.location}/")
        if not dry_run:
            files.folder(leftover.job).remove()
            records.forget(leftover.job)
    if jobs is None:
        removed += _temporary_tables(schema, age, dry_run=dry_run)
    return removed


def _leftovers(
    schema: SchemaRef, files: StageFolder, age: timedelta | None, chosen: set[str] | None
) -> list[_Leftover]:
    found: list[_Leftover] = []
    records = Records(files)
    services = Control(schema.connection, schema.database, schema.schema).services()
    names = set(records.names())
    # A folder whose record is gone is what an interrupted cleanup has left.
    names |= {file.path.partition("/")[0] for file in files.list() if file.path.startswith(PREFIX)}
    before = None if age is None else datetime.now(timezone.utc) - age
    for name in sorted(names if chosen is None else names & chosen):
        own = tuple(s for s in services if s.name.name == name or s.name.name.startswith(f"{name}_"))
        record = None
        with contextlib.suppress(BackendError):  # of another version; its age is not known
            record = records.read(name)
        if before is not None and (record is None or record.time > before):
            continue
        # Of a job whose record cannot be read its services tell: it may be at work all the same.
        if record is None:
            runs = any(service.is_at_work for service in own)
        else:
            runs = SnowflakeJob(record, schema=schema, files=files).status not in ENDED
        if runs:
            if chosen is not None:
                raise BackendError(f"the job {name} has not ended: cancel() it first")
            continue
        found.append(_Leftover(name, own, files.folder(name).location))
    known = records.all() if found else []
    readers = {leftover.job: _reader(f"{leftover.location}/", known, schema, files) for leftover in found}
    for job, reader in readers.items():
        if reader is not None and chosen is not None:
            raise BackendError(f"the job {reader} reads what the job {job} has left: cancel() it first")
    return [leftover for leftover in found if readers[leftover.job] is None]


def _reader(location: str, known: list[Record], schema: SchemaRef, files: StageFolder) -> str | None:
    """A job that has not ended and reads what lies in a folder of the stage."""
    for record in known:
        places = [place for place in record.spec.places.values() if isinstance(place, StagePath)]
        reads = any(f"{place}/".startswith(location) for place in places)
        if reads and SnowflakeJob(record, schema=schema, files=files).status not in ENDED:
            return record.job
    return None


def _temporary_tables(schema: SchemaRef, age: timedelta | None, *, dry_run: bool) -> list[str]:
    removed: list[str] = []
    where = f"{quote(schema.database)}.{quote(schema.schema)}"
    try:
        rows = schema.connection.rows("listing tables", f"SHOW TABLES LIKE '{TEMPORARY}%' IN SCHEMA {where}")
    except BackendError as error:
        if error_number(error) not in NOT_FOUND:
            raise
        return removed
    for row in rows:
        values = {str(key).strip('"').lower(): value for key, value in row.as_dict().items()}
        name, created = str(values["name"]), values.get("created_on")
        # In LIKE an underscore stands for any character.
        if not name.startswith(TEMPORARY) or (age is not None and not _older(created, age)):
            continue
        table = Name(schema.database, schema.schema, name).sql
        removed.append(f"table {table}")
        if not dry_run:
            schema.connection.rows(f"removing the table {table}", f"DROP TABLE IF EXISTS {table}")
    return removed


def _older(created: object, age: timedelta) -> bool:
    if not isinstance(created, datetime):
        return False
    now = datetime.now(timezone.utc)
    return now - (created if created.tzinfo else created.replace(tzinfo=timezone.utc)) > age
