"""What the account knows of a job: its specification, its instances, its log, its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake.inline import moment
from soaptune.testing.snowflake.names import Name

if TYPE_CHECKING:
    from pathlib import Path

    from soaptune.testing.snowflake.launcher import Container

TERMINAL = frozenset({"DONE", "FAILED", "CANCELLED", "INTERNAL_ERROR", "DELETED"})
"""The states in which a job stays; snowflake/ml/jobs/job.py:27."""

STAGE_MOUNT, RESULT_MOUNT = "/mnt/job_stage", "/mnt/job_result"
LOG_BYTES = 100 * 1024
"""How much of a log SYSTEM$GET_SERVICE_LOGS returns, by Snowflake's documentation."""


@dataclass(frozen=True)
class Login:
    """As whom the processes of a job log in: the token decides, as on the platform.

    Attributes:
        user: The user's name.
        role: The role.
        warehouse: The job's query warehouse, or None.
    """

    user: str
    role: str
    warehouse: str | None


@dataclass
class Instance:
    """One instance of a job: one container on one node.

    Attributes:
        index: Its number; instance 0 is the head.
        container: What runs in it.
        created: When the job was sent.
        started: When the container started, or None.
        exit_code: How its command ended, or None.
        lost: Why it was taken away, or None.
    """

    index: int
    container: Container
    created: float
    started: float | None = None
    exit_code: int | None = None
    lost: str | None = None

    @property
    def status(self) -> str:
        """What SHOW SERVICE INSTANCES says of it."""
        if self.exit_code is None:
            return "PENDING" if self.started is None else "READY"
        return "SUCCEEDED" if self.exit_code == 0 and not self.lost else "FAILED"

    @property
    def container_status(self) -> str:
        """What SHOW SERVICE CONTAINERS says of its container."""
        return {"PENDING": "PENDING", "READY": "READY", "SUCCEEDED": "DONE"}.get(self.status, "FAILED")

    @property
    def message(self) -> str:
        """What is said about that status."""
        if self.lost:
            return self.lost
        if self.status == "FAILED":
            return f"Container exited with code {self.exit_code}; check container logs."
        return {"PENDING": "Waiting to start.", "READY": "Running", "SUCCEEDED": "Completed successfully"}[self.status]

    def log(self, lag: float = 0.0, limit: int | None = None) -> str:
        """The end of its log.

        Args:
            lag: How many seconds the log lags behind.
            limit: The number of lines, at most.
        """
        lines = [line for at, line in self.container.lines if at <= time.time() - lag]
        size, first = 0, len(lines)
        while first and size <= LOG_BYTES and (limit is None or len(lines) - first < limit):
            first -= 1
            size += len(lines[first].encode()) + 1
        if size > LOG_BYTES:
            first += 1
        return "\n".join(lines[first:])


@dataclass
class Job:
    """A job, from when it was sent to when it was dropped.

    Attributes:
        name: Its full name.
        pool: The compute pool, unquoted.
        login: As whom its processes log in.
        options: The job options as the SDK sent them.
        spec: The service specification, as DESCRIBE SERVICE shows it.
        stage: The folder of its stage path, with ``app`` and ``system``.
        query_id: The statement that made it.
        env: What its containers find in their environment; secrets included, which the specification does not show.
        command: What runs in its containers.
        status: PENDING, RUNNING, CANCELLING or one of `TERMINAL`.
        message: What is said about the status.
        ending: What the job is going to end as, once something decided it; the first decision stands.
    """

    name: Name
    pool: str
    login: Login
    options: dict[str, Any]
    spec: dict[str, Any]
    stage: Path
    query_id: str
    env: dict[str, str] = field(repr=False)
    command: list[str]
    status: str = "PENDING"
    message: str = "Waiting for a free node of the compute pool."
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    deleted: float | None = None
    ending: tuple[str, str] | None = None
    instances: list[Instance] = field(default_factory=list[Instance])
    events: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])

    @property
    def id(self) -> str:
        """Its full name as SQL takes it, quoted only where it must be."""
        return self.name.dotted

    @property
    def target_instances(self) -> int:
        """On how many nodes it wants to run."""
        return int(self.options.get("TARGET_INSTANCES") or 1)

    @property
    def min_instances(self) -> int:
        """With how many nodes it starts."""
        return int(self.options.get("MIN_INSTANCES") or self.target_instances)

    @property
    def container_name(self) -> str:
        """The name of its container."""
        return str(self.spec["spec"]["containers"][0]["name"])

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status not in TERMINAL

    def turn(self, status: str, message: str) -> None:
        """Changes its status, and notes that in its events."""
        self.status, self.message = status, message
        self.events.append((time.time(), status, message))

    def decide(self, status: str, message: str) -> None:
        """Decides what it ends as, unless that is decided."""
        if self.ending is None and self.running:
            self.ending = (status, message)

    def service(self) -> dict[str, Any]:
        """What the rows about its instances and containers have in common."""
        return {
            "database_name": self.name.database,
            "schema_name": self.name.schema,
            "service_name": self.name.name,
            "service_status": self.status,
        }

    def instance_rows(self) -> list[dict[str, Any]]:
        """Its rows of SHOW SERVICE INSTANCES; an instance that waits for a node is PENDING and has no address."""
        made: list[dict[str, Any]] = []
        for index in range(self.target_instances):
            known = self.instances[index] if index < len(self.instances) else None
            made.append(
                {
                    **self.service(),
                    "instance_id": index,
                    "status": known.status if known else "PENDING",
                    "creation_time": moment(self.created),
                    "start_time": moment(known.started) if known else None,
                    "ip_address": "127.0.0.1" if known else None,
                }
            )
        return made

    def container_rows(self) -> list[dict[str, Any]]:
        """Its rows of SHOW SERVICE CONTAINERS."""
        image = self.spec["spec"]["containers"][0].get("image")
        return [
            {
                **self.service(),
                "instance_id": instance.index,
                "instance_status": instance.status,
                "container_name": self.container_name,
                "status": instance.container_status,
                "message": instance.message,
                "image_name": image,
                "restart_count": 0,
                "start_time": moment(instance.started),
                "last_exit_code": instance.exit_code,
            }
            for instance in self.instances
        ]
