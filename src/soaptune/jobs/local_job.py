"""A job of `LocalBackend`: its state, log and output are files in its folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from soaptune.errors import BackendError
from soaptune.handles import open_handle
from soaptune.handles.files import MANIFEST
from soaptune.jobs.job import ENDED, Event, Job, JobStatus
from soaptune.jobs.processes import end_group, is_alive
from soaptune.jobs.spec import JobSpec
from soaptune.jobs.states import read_state, write_state

__all__ = ["LocalJob"]

_STARTUP = 60.0
_STOP = 30.0


class LocalJob(Job[Any]):
    """A job on this machine."""

    def __init__(
        self, job_id: str, spec: JobSpec, stage: Path, *, supervisor: subprocess.Popen[bytes] | None = None
    ) -> None:
        super().__init__(job_id, spec)
        self._stage = stage
        self._supervisor = supervisor

    @property
    def stage(self) -> Path:
        """The job's folder."""
        return self._stage

    @property
    def output(self) -> Path:
        """What the job has written."""
        return self._stage / "output"

    @property
    def url(self) -> str:
        """The job's folder as a ``file://`` URL."""
        return self._stage.as_uri()

    @property
    def status(self) -> JobStatus:
        """Where the job stands."""
        state = read_state(self._stage)
        if state.get("state") not in ENDED and not self._is_watched(state):
            # Read again: it may have ended well between the two looks.
            state = read_state(self._stage)
            if state.get("state") not in ENDED:
                if state.get("group"):
                    end_group(int(state["group"]), grace=1.0)
                write_state(self._stage, "failed", reason="its supervisor was killed or never started")
                state = read_state(self._stage)
        return cast("JobStatus", state.get("state", "pending"))

    @property
    def reason(self) -> str:
        """Why the job ended."""
        return str(read_state(self._stage).get("reason", ""))

    def events(self) -> list[Event]:
        """What has happened so far: the states, then the progress lines."""
        states = [Event(kind="state", data=line) for line in read_state(self._stage).get("history", [])]
        return states + [Event(kind="progress", data=line) for line in self._progress()]

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines of ``log.txt``; see `soaptune.jobs.job.Job.logs`."""
        log = self._stage / "log.txt"
        while not log.exists() and follow and self.status not in ENDED:
            time.sleep(0.05)
        if not log.exists():
            return
        with log.open("rb") as file:
            rest = b""
            while True:
                ended = not follow or self.status in ENDED
                rest += file.read()  # after the look at the state: what was written before the end is in it
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", errors="replace").rstrip("\r")
                if ended:
                    break
                time.sleep(0.1)
            if rest:
                yield rest.decode("utf-8", errors="replace")

    def cancel(self) -> None:
        """Stops the job with everything that it has started.

        Raises:
            BackendError: It would not stop.
        """
        end = time.monotonic() + _STOP
        asked = False
        while self.status not in ENDED:
            state = read_state(self._stage)
            pid = state.get("supervisor")
            # A supervisor that has not said yet that it runs does not listen yet either.
            if not asked and pid and is_alive(int(pid), str(state.get("started", ""))):
                os.kill(int(pid), signal.SIGTERM)
                asked = True
            if time.monotonic() > end:
                raise BackendError(f"the job {self.id} does not stop; its supervisor is process {pid}")
            time.sleep(0.05)

    def _progress(self) -> list[dict[str, Any]]:
        try:
            text = (self.output / "progress.jsonl").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines: list[dict[str, Any]] = []
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):  # the last line may be half written
                lines.append(json.loads(line))
        return lines

    def _is_watched(self, state: dict[str, Any]) -> bool:
        if self._supervisor is not None:
            return self._supervisor.poll() is None
        if "supervisor" in state:
            return is_alive(int(state["supervisor"]), str(state.get("started", "")))
        # Not running yet: give a supervisor that another process has just started the time to say so.
        return time.time() - self._stage.stat().st_mtime < _STARTUP

    def _has_result(self) -> bool:
        return (self.output / MANIFEST).is_file()

    def _open(self) -> Any:
        handle: Any = open_handle(self.output)
        if self.spec.kind == "endpoint":
            handle.bind_stop(self.cancel)
        return handle
