"""A job on Snowflake: its state and log are the service's, its spec, records and output lie on the stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote as url_quote

from soaptune.common.files import MANIFEST
from soaptune.common.json_text import parse_lines, parse_object
from soaptune.common.results import MANIFEST_KINDS, NO_MANIFEST
from soaptune.errors import BackendError, DataError, JobNotFound
from soaptune.jobs.job import ENDED, Event, Job, JobStatus
from soaptune.snowflake.jobs.control import Control, Service
from soaptune.snowflake.jobs.hints import hint_for
from soaptune.snowflake.jobs.logs import Reader
from soaptune.snowflake.jobs.records import Record
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.jobs.submission import jobs_module
from soaptune.snowflake.names import Name
from soaptune.snowflake.tables.query import SchemaRef

__all__ = ["SnowflakeJob"]

_STATES: dict[str, JobStatus] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "READY": "running",
    "DONE": "done",
    "FAILED": "failed",
    "INTERNAL_ERROR": "failed",
    "CANCELLED": "cancelled",
    "CANCELLING": "cancelled",
}

_SENT_WITHIN = timedelta(minutes=15)
"""How long after its last file a submission without a service may still get one."""

_LATE = 15.0
"""Seconds by which a log may lag behind what happens in the job."""

_START_LINE = "ML job started"
"""What the SDK's launcher writes between the installation and the command."""

_PROGRESS_EVERY = 3.0


class SnowflakeJob(Job[Any]):
    """A job on Snowflake. ``backend.job(id)`` finds it again from any process that can connect."""

    MAX_POLL_INTERVAL = 3.0

    def __init__(self, record: Record, *, schema: SchemaRef, files: StageFolder, experiment: str | None = None) -> None:
        """Use ``backend.submit`` or ``backend.job`` instead.

        Args:
            record: What was written down about the submission.
            schema: The schema that the job runs in.
            files: The stage with the files of all jobs.
            experiment: The experiment that gets a run for the job.
        """
        super().__init__(record.job, record.spec)
        self._schema = schema
        self._experiment = experiment
        self._record = record
        self._connection = schema.connection
        self._control = Control(schema.connection, schema.database, schema.schema)
        self._files = files
        self._folder = files.folder(record.job)
        self._service_name: str | None = None
        self._ended: dict[str, Any] | None = None
        self._started: dict[str, Any] = {}
        self._progress: tuple[float, dict[str, Any]] = (0.0, {})

    @property
    def stage(self) -> StageFolder:
        """The job's folder on the stage."""
        return self._folder

    @property
    def output(self) -> StageFolder:
        """What the job has written; ``job.output.get("here")`` downloads it."""
        return self._folder.folder("output")

    @property
    def service(self) -> str | None:
        """The full name of the service behind the job, quoted for SQL; None while there is none."""
        name = self._service()
        return None if name is None else Name(self._schema.database, self._schema.schema, name).sql

    @property
    def url(self) -> str:
        """The job in Snowsight."""
        organization, account = self._connection.account
        name = self._service() or self.id
        path = [self._schema.database, self._schema.schema, name]
        at = "/".join(url_quote(part, safe="") for part in path)
        return f"https://app.snowflake.com/{organization}/{account}/#/compute/jobs/{at}"

    @property
    def status(self) -> JobStatus:
        """Where the job stands."""
        return cast("JobStatus", self._state()["state"])

    @property
    def reason(self) -> str:
        """Why the job ended."""
        return str(self._state().get("reason", ""))

    def events(self) -> list[Event]:
        """What has happened so far: the states, and before the last one its progress."""
        state = self._state()
        at = self._record.time.isoformat(timespec="milliseconds")
        history = [Event(kind="state", data={"state": "pending", "time": at, "reason": ""})]
        started = self._note("started")
        if started or state["state"] in ("running", "done"):
            data = {"state": "running", "time": str(started.get("time") or at), "reason": ""}
            history.append(Event(kind="state", data=data))
        progress = [Event(kind="progress", data=line) for line in self._progress_lines()]
        last: list[Event] = []
        if state["state"] in ENDED:
            data = {"state": state["state"], "time": state.get("time", ""), "reason": state.get("reason", "")}
            last.append(Event(kind="state", data=data))
        return [*history, *progress, *last]

    def progress(self) -> dict[str, Any]:
        """The last of the job's progress lines; looked for every few seconds at most."""
        looked, known = self._progress
        if time.monotonic() - looked < _PROGRESS_EVERY and self._ended is None:
            return known
        lines = self._progress_lines()
        self._progress = (time.monotonic(), lines[-1] if lines else {})
        return self._progress[1]

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines of the job's log; see `soaptune.jobs.job.Job.logs`.

        While the job runs Snowflake gives the last lines only, and gives them late; what of an answer was there before
        is not given again. Once it has ended the log is read from the stage, in full.
        """
        reader = Reader()
        late: float | None = None
        while True:
            ended = self._state()["state"] in ENDED
            whole = self._folder.read_text("log.txt") if ended else None
            if whole is not None:
                yield from reader.take(whole)
                return
            # Before the command starts the log is that of the installation, which is only of use where that fails.
            if ended or self._has_started():
                yield from reader.take(self._live_log())
            if not follow:
                return
            if ended:
                late = late or time.monotonic() + _LATE
                if time.monotonic() >= late:
                    return
            time.sleep(min(1.0, self.MAX_POLL_INTERVAL))

    def cancel(self) -> None:
        """Stops the job.

        Raises:
            BackendError: It cannot be stopped.
        """
        if self._state()["state"] in ENDED:
            return
        service = self._service()
        if service is None:
            raise BackendError(f"the job {self.id} has no service yet that could be stopped: try again in a moment")
        try:
            self._control.cancel(service)
        except BackendError:
            if self._state()["state"] not in ENDED:  # it has ended by itself in between
                raise

    def sync(self) -> bool:
        """Writes the job's run into the experiment; see `soaptune.jobs.job.Job.sync`."""
        from soaptune.snowflake.jobs.experiments import collect, track

        status, app = self.status, self._folder.folder("app")
        if status not in ENDED:
            return False
        return track(
            self._schema,
            self._experiment,
            self.id,
            lambda: collect(self.spec.name, self.spec.kind, app, self.output),
            ok=status == "done",
        )

    def delete(self, *, dry_run: bool = False) -> list[str]:
        """Removes the job and what it has made; see `soaptune.jobs.job.Job.delete`."""
        from soaptune.snowflake.jobs.cleanup import cleanup

        return cleanup(self._schema, self._files, jobs={self.id}, dry_run=dry_run)

    def _hint(self, log: str) -> str:
        return hint_for(log)

    def _tail(self) -> list[str]:
        return list(deque(self.logs(), maxlen=self.TAIL))

    def _has_result(self) -> bool:
        return self.output.exists(MANIFEST)

    def _open(self) -> Any:
        from soaptune.snowflake.handles.open import open_result

        return open_result(self.spec, self.output, schema=self._schema)

    def _service(self) -> str | None:
        if self._service_name is None:
            name = self._note("service").get("service")
            # A note on a shared stage must not make another service ours, which cancel() would stop.
            if not isinstance(name, str) or not (name == self.id or name.startswith(f"{self.id}_")):
                found = self._control.find(self.id)
                name = found.name.name if found is not None else None
            self._service_name = name
        return self._service_name

    def _note(self, name: str) -> dict[str, Any]:
        """What was written down on the stage: ``service``, ``started``, ``ended``."""
        text = self._folder.folder("state").read_text(f"{name}.json")
        try:
            return parse_object(text or "{}", where=name)
        except DataError:
            return {}

    def _has_started(self) -> bool:
        self._started = self._started or self._note("started")
        return bool(self._started)

    def _started_just_now(self) -> bool:
        """Whether the log may not have come to the command's start yet."""
        if not self._has_started():
            return False
        try:
            started = datetime.fromisoformat(str(self._started["time"]))
        except (KeyError, ValueError):
            return False
        return datetime.now(timezone.utc) - started < timedelta(seconds=_LATE)

    def _state(self) -> dict[str, Any]:
        if self._ended is not None:
            return self._ended
        name = self._service()
        service = self._control.describe(name) if name is not None else None
        if service is None:
            state = self._without_service(sent=name is not None)
        else:
            state = {"state": _STATES.get(service.status, "pending")}
            if service.status == "DELETED":
                state = self._without_service(sent=True)
        if state["state"] == "done" and self.spec.kind in MANIFEST_KINDS and not self._has_result():
            time_of_end = str(self._note("ended").get("time") or _now())
            self._ended = {"state": "failed", "time": time_of_end, "reason": NO_MANIFEST}
            return self._ended
        if state["state"] in ENDED:
            if service is not None and service.status in _STATES:
                state = self._explained(service, state)
            # A job that is being cancelled is still at work: its log goes on until it is.
            if service is None or service.status != "CANCELLING":
                self._ended = state
        return state

    def _explained(self, service: Service, state: dict[str, Any]) -> dict[str, Any]:
        """The end of a job with its time and reason."""
        note = self._note("ended")
        ended = service.ended.isoformat() if service.ended is not None else ""
        state = {**state, "time": str(note.get("time") or ended or _now())}
        if state["state"] == "failed":
            written = str(note.get("reason") or "") if note.get("state") != "done" else ""
            unknown = f"Snowflake reports {service.status}"
            unknown += ", before the command was started" if not note and not self._note("started") else ""
            state["reason"] = written or self._control.exit_of(service.name.name) or service.message or unknown
        elif state["state"] == "cancelled":
            state["reason"] = "it was cancelled"
        return state

    def _without_service(self, *, sent: bool) -> dict[str, Any]:
        """What can be said of a job whose service is not there: not yet, not any more, or never."""
        note = self._note("ended")
        if str(note.get("state")) in ENDED:
            return {"state": note["state"], "time": str(note.get("time", "")), "reason": str(note.get("reason", ""))}
        files = self._folder.list()
        if not files:
            raise JobNotFound(f"the files of the job {self.id} were removed: {self._folder.location}")
        if sent or self._note("started"):
            return {"state": "failed", "time": _now(), "reason": "its service was removed before it had ended"}
        # A large input goes up for longer than that: as long as files come, somebody is at it.
        moved = [file.modified for file in files if file.modified is not None]
        if datetime.now(timezone.utc) - max([self._record.time, *moved]) < _SENT_WITHIN:
            return {"state": "pending"}
        reason = "it was never sent: submit it again under the same key"
        return {"state": "failed", "time": _now(), "reason": reason}

    def _live_log(self) -> str:
        service = self.service
        if service is None:
            return ""
        sdk = jobs_module()

        def read(session: Any) -> str:
            job = sdk.MLJob(service, session=session)
            if self._started_just_now() and _START_LINE not in str(job.get_logs(verbose=True)):
                return ""  # it lags behind, and holds nothing but the installation yet
            return str(job.get_logs())

        try:
            return self._connection.call(f"reading the log of the job {self.id}", read)
        except BackendError:
            return ""  # there is none yet, or none any more

    def _progress_lines(self) -> list[dict[str, Any]]:
        # The last line may be half written.
        whole = (self.output.read_text("progress.jsonl") or "").rpartition("\n")[0]
        return list(parse_lines(whole))

    def download(self, target: str | Path) -> Path:
        """Downloads what the job has written.

        Args:
            target: The folder; made when it is not there.

        Returns:
            The folder.

        Raises:
            BackendError: The stage cannot be read.
        """
        self.output.get(target)
        return Path(target)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
