"""What Snowflake is asked about the services behind jobs: where one stands, which there are, to stop one, to drop one.

A job is known by the name under which it was submitted; Snowflake runs it as a service whose name has a suffix of its
own. Names are quoted and values bound; the answers are read by column name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from soaptune.errors import BackendError
from soaptune.snowflake.names import Name, literal, quote
from soaptune.snowflake.session import NOT_FOUND, Connection, error_number

__all__ = ["PREFIX", "Control", "Service"]

PREFIX = "SOAPTUNE_"
"""How the names of our jobs begin; nothing else is ever listed or removed."""

_OVER = frozenset({"DONE", "FAILED", "INTERNAL_ERROR", "CANCELLED", "DELETING", "DELETED"})


@dataclass(frozen=True)
class Service:
    """A service as Snowflake describes it.

    Attributes:
        name: Its full name.
        status: Snowflake's word for where it stands.
        message: What Snowflake says about it.
        created: When it was made.
        ended: When it ended; None where it has not, or Snowflake does not say.
    """

    name: Name
    status: str
    message: str = ""
    created: datetime | None = None
    ended: datetime | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self.status not in _OVER


class Control:
    """Looks at the services of one schema."""

    def __init__(self, connection: Connection, database: str, schema: str) -> None:
        """Names the schema, by exact names.

        Args:
            connection: The way to the account.
            database: The database.
            schema: The schema.
        """
        self._connection = connection
        self._database = database
        self._schema = schema

    def describe(self, name: str) -> Service | None:
        """Where a service stands; None when neither it nor its history is there.

        Args:
            name: The service's exact name.

        Raises:
            BackendError: Snowflake cannot be asked.
        """
        full = self._full(name)
        try:
            rows = self._connection.rows(f"asking for the job {name}", "DESCRIBE SERVICE IDENTIFIER(?)", full.sql)
        except BackendError as error:
            if error_number(error) not in NOT_FOUND:
                raise
            return self._history(name)
        return self._service(_columns(rows[0])) if rows else self._history(name)

    def find(self, job: str) -> Service | None:
        """The service of a job; the oldest, should there be several.

        Args:
            job: The name under which the job was submitted.
        """
        return next(iter(self.all_of(job)), None)

    def all_of(self, job: str) -> list[Service]:
        """All services of a job, the oldest first. More than one is what two processes with one key leave.

        Args:
            job: The name under which the job was submitted.
        """
        found = [one for one in self.services(job) if one.name.name == job or one.name.name.startswith(f"{job}_")]
        return sorted(found, key=_created)

    def services(self, prefix: str = PREFIX) -> list[Service]:
        """The job services whose names begin with a prefix.

        Args:
            prefix: The prefix.

        Raises:
            BackendError: Snowflake cannot be asked.
        """
        pattern = literal(prefix + "%")
        sql = f"SHOW JOB SERVICES LIKE {pattern} IN SCHEMA {quote(self._database)}.{quote(self._schema)}"
        try:
            rows = self._connection.rows("listing the jobs", sql)
        except BackendError as error:
            if error_number(error) in NOT_FOUND:
                return []
            raise
        services = [self._service(_columns(row)) for row in rows]
        # In LIKE an underscore stands for any character.
        return [one for one in services if one.name.name.startswith(prefix)]

    def exit_of(self, name: str) -> str:
        """How a service's containers ended that did not end well, in words; empty where nothing is known.

        Args:
            name: The service's exact name.
        """
        try:
            rows = self._connection.rows(
                f"asking how the job {name} ended", f"SHOW SERVICE CONTAINERS IN SERVICE {self._full(name).sql}"
            )
        except BackendError:  # it says why a job has failed: what cannot be read must not stand in the way of that
            return ""
        for row in map(_columns, rows):
            code, message = str(row.get("last_exit_code") or ""), str(row.get("message") or "")
            if code.lstrip("-").isdigit() and int(code):
                return f"exit status {code}" + (f": {message}" if message else "")
        return ""

    def cancel(self, name: str) -> None:
        """Stops a service.

        Args:
            name: Its exact name.

        Raises:
            BackendError: It cannot be stopped.
        """
        self._connection.rows(f"cancelling the job {name}", f"CALL {self._full(name).sql}!SPCS_CANCEL_JOB()")

    def drop(self, name: str) -> None:
        """Removes a service with its log; one that is not there is no error.

        Args:
            name: Its exact name.

        Raises:
            BackendError: It cannot be removed.
        """
        try:
            self._connection.rows(f"removing the job {name}", "DROP SERVICE IDENTIFIER(?)", self._full(name).sql)
        except BackendError as error:
            if error_number(error) not in NOT_FOUND:
                raise

    def _full(self, name: str) -> Name:
        return Name(self._database, self._schema, name)

    def _history(self, name: str) -> Service | None:
        sql = (
            "select * from table(snowflake.spcs.get_job_history()) "
            "where database_name = ? and schema_name = ? and name = ?"
        )
        try:
            rows = self._connection.rows(
                f"asking for the history of the job {name}", sql, self._database, self._schema, name
            )
        except BackendError as error:
            if error_number(error) in {*NOT_FOUND, 2143, 2140}:  # the history is not switched on in every account
                return None
            raise
        return self._service(_columns(rows[0])) if rows else None

    def _service(self, row: Mapping[str, Any]) -> Service:
        status = str(row.get("status") or "PENDING").upper()
        return Service(
            name=self._full(str(row["name"])),
            status=status,
            message=str(row.get("message") or ""),
            created=_time(row.get("created_on") or row.get("created_time")),
            ended=_time(row.get("completed_time")),
        )


def _columns(row: Any) -> dict[str, Any]:
    """A row by column name, in small letters: SHOW writes them so, a table function in capitals."""
    return {str(name).strip('"').lower(): value for name, value in row.as_dict().items()}


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")) if value else None
    except ValueError:
        return None


def _created(service: Service) -> tuple[float, str]:
    return service.created.timestamp() if service.created is not None else 0.0, service.name.name
