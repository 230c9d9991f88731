"""`cleanup`: removes what jobs have left in the account, and nothing that soaptune did not put there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from soaptune.errors import BackendError, ConfigError
from soaptune.jobs.job import ENDED
from soaptune.snowflake.jobs.control import PREFIX, Service
from soaptune.snowflake.names import quote
from soaptune.snowflake.session import NOT_FOUND, error_number

if TYPE_CHECKING:
    from soaptune.snowflake.backend import SnowflakeBackend

__all__ = ["TEMPORARY", "cleanup"]

TEMPORARY = "SOAPTUNE_TMP_"
"""How the names of tables begin that the library makes for the moment."""


@dataclass(frozen=True)
class _Leftover:
    job: str
    services: tuple[Service, ...]
    location: str


def cleanup(
    backend: SnowflakeBackend,
    *,
    older_than: timedelta | float | None = None,
    jobs: Iterable[str] | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Removes jobs that have ended: their services with the logs, and their folders on the stage with all results.

    A job that runs is never touched. Neither is a table, a model or a service that a step has made on purpose.

    Args:
        backend: Where.
        older_than: Only what was submitted longer ago than this; seconds, when it is a number.
        jobs: Only these, by id.
        dry_run: Whether to list what would be removed, and leave it.

    Returns:
        What was removed.

    Raises:
        ConfigError: ``older_than`` is negative.
        JobNotFound: One of the jobs is not known.
        BackendError: Something could not be removed, or a job that is named still runs.
    """
    age = timedelta(seconds=older_than) if isinstance(older_than, (int, float)) else older_than
    if age is not None and age < timedelta(0):
        raise ConfigError("older_than must not be negative")
    chosen = None if jobs is None else {backend.job(one).id for one in jobs}
    removed: list[str] = []
    for leftover in _leftovers(backend, age, chosen):
        for service in leftover.services:
            removed.append(f"service {service.name.sql}")
            if not dry_run:
                backend.control.drop(service.name.name)
        removed.append(f"files {leftover.location}/")
        if not dry_run:
            backend.files.folder(leftover.job).remove()
            backend.records.forget(leftover.job)
    if chosen is None:
        removed += _temporary_tables(backend, age, dry_run=dry_run)
    return removed


def _leftovers(backend: SnowflakeBackend, age: timedelta | None, chosen: set[str] | None) -> list[_Leftover]:
    found: list[_Leftover] = []
    services = backend.control.services()
    names = set(backend.records.names())
    # A folder whose record is gone is what an interrupted cleanup has left.
    names |= {file.path.partition("/")[0] for file in backend.files.list() if file.path.startswith(PREFIX)}
    before = None if age is None else datetime.now(timezone.utc) - age
    for name in sorted(names if chosen is None else names & chosen):
        own = tuple(s for s in services if s.name.name == name or s.name.name.startswith(f"{name}_"))
        record = None
        with contextlib.suppress(BackendError):  # of another version; its age is not known
            record = backend.records.read(name)
        if before is not None and (record is None or record.time > before):
            continue
        # Of a job whose record cannot be read its services tell: it may be at work all the same.
        runs = backend.job(name).status not in ENDED if record is not None else any(s.is_at_work for s in own)
        if runs:
            if chosen is not None:
                raise BackendError(f"the job {name} has not ended: cancel() it first")
            continue
        found.append(_Leftover(name, own, backend.files.folder(name).location))
    return found


def _temporary_tables(backend: SnowflakeBackend, age: timedelta | None, *, dry_run: bool) -> list[str]:
    removed: list[str] = []
    where = f"{quote(backend.database_name)}.{quote(backend.schema_name)}"
    try:
        rows = backend.connection.rows("listing tables", f"SHOW TABLES LIKE '{TEMPORARY}%' IN SCHEMA {where}")
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
        table = backend.name_of(name).sql
        removed.append(f"table {table}")
        if not dry_run:
            backend.connection.rows(f"removing the table {table}", f"DROP TABLE IF EXISTS {table}")
    return removed


def _older(created: object, age: timedelta) -> bool:
    if not isinstance(created, datetime):
        return False
    now = datetime.now(timezone.utc)
    return now - (created if created.tzinfo else created.replace(tzinfo=timezone.utc)) > age
