"""A job of `LocalBackend`: its state, log and output are files in its folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, cast

from soaptune.common.files import MANIFEST
from soaptune.errors import BackendError, JobNotFound
from soaptune.handles import open_handle
from soaptune.handles.storage import FolderFiles
from soaptune.jobs.job import ENDED, Event, Job, JobStatus
from soaptune.jobs.spec import JobSpec
from soaptune.local.guard import LOST, lost_end
from soaptune.local.processes import end_job, is_alive, is_supervised, machine, supervises
from soaptune.local.states import (
    STATE_FILE,
    ask_to_cancel,
    claim,
    identity,
    lease_holds,
    lease_time,
    open_plain,
    read_state,
    write_state,
)
from soaptune.local.supervisor import ALREADY_SUPERVISED, STARTUP

__all__ = ["LocalJob"]

_SOON = 2.0
"""Seconds for which a process that was just started may not be seen yet."""

_WATCHERS = (("supervisor", "started"), ("guard", "guard_started"))
"""Who looks after a job, and since when, by their names in its state."""

_END_OF_FILE = 64 * 1024
_PIECE = 1024 * 1024


class LocalJob(Job[Any]):
    """A job on this machine."""

    def __init__(
        self,
        job_id: str,
        spec: JobSpec,
        stage: Path,
        *,
        grace: float = 10.0,
        supervisor: subprocess.Popen[bytes] | None = None,
    ) -> None:
        super().__init__(job_id, spec)
        self._stage = stage
        self._grace = grace
        self._supervisor = supervisor

    @property
    def stage(self) -> Path:
        """The job's folder."""
        return self._stage

    @property
    def output(self) -> FolderFiles:
        """What the job has written, in the folder ``output.path``."""
        return FolderFiles(self._stage / "output")

    @property
    def url(self) -> str:
        """The job's folder as a ``file://`` URL."""
        return self._stage.as_uri()

    @property
    def status(self) -> JobStatus:
        """Where the job stands."""
        return cast("JobStatus", self._state()["state"])

    @property
    def reason(self) -> str:
        """Why the job ended."""
        return str(self._state().get("reason", ""))

    @property
    def never_started(self) -> bool:
        """Whether no supervisor has ever taken the job up."""
        state = read_state(self._stage)
        return state.get("state") == "pending" and "supervisor" not in state and not state.get("damaged")

    def events(self) -> list[Event]:
        """What has happened so far: the states, and before the last one its progress."""
        state = self._state()
        history: list[dict[str, Any]] = list(state.get("history", []))
        if state["state"] in ENDED and (not history or history[-1]["state"] != state["state"]):
            # It was lost, and nobody has written that down.
            history.append({"state": state["state"], "time": self._last_sign(), "reason": state.get("reason", "")})
        states = [Event(kind="state", data=line) for line in history]
        last = [states.pop()] if state["state"] in ENDED else []
        text = self._progress_file()
        return [*states, *(Event(kind="progress", data=line) for line in _json_lines(text)), *last]

    def progress(self) -> dict[str, Any]:
        """The last of the job's progress lines; empty before the first one."""
        lines = _json_lines(self._progress_file(last=_END_OF_FILE))
        return lines[-1] if lines else {}

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines of ``log.txt``; see `soaptune.jobs.job.Job.logs`."""
        with self._log() as file:
            rest = b""
            while True:
                ended = not follow or self.status in ENDED
                # After the look at the state: what was written before the end is in it.
                while piece := file.read(_PIECE):
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from map(_readable, lines)
                if ended:
                    break
                time.sleep(0.1)
            if rest:
                yield _readable(rest)

    def cancel(self) -> None:
        """Stops the job with everything that it has started.

        Raises:
            BackendError: It would not stop.
        """
        if self._state()["state"] in ENDED:
            self.end_if_lost()
            return
        ask_to_cancel(self._stage)
        begun = time.monotonic()
        signalled: int | None = None
        # The command's grace, and then ours for the supervisor to clear up.
        while (waited := time.monotonic() - begun) < self._grace + 10.0:
            state = self._state()
            if state["state"] in ENDED:
                self.end_if_lost()
                return
            if self.never_started and waited > 5.0 and claim(self._stage):
                self._write_lost_end(state)  # nobody has taken it up, and from now on nobody can
            pid = state.get("supervisor")
            if pid and pid != signalled and self._signal_supervisor(state, signal.SIGTERM):
                signalled = pid
            time.sleep(0.05)
        self._signal_supervisor(self._state(), signal.SIGKILL)
        self.end_if_lost()
        if self.status not in ENDED:
            raise BackendError(f"the job {self.id} does not stop; its supervisor is process {signalled}")

    def delete(self, *, dry_run: bool = False) -> list[str]:
        """Removes the job and what it has made; see `soaptune.jobs.job.Job.delete`."""
        from soaptune.local.cleanup import cleanup

        return cleanup(self._stage.parent.parent, jobs={self.id}, dry_run=dry_run)

    def end_if_lost(self) -> None:
        """Ends what is left of a job that nobody looks after any more, and writes down how it has ended."""
        end = time.monotonic() + 10.0
        while (state := read_state(self._stage)) and state["state"] not in ENDED and time.monotonic() < end:
            if not self._is_watched(state):
                self._write_lost_end(state)
                return
            if self._supervisor is None or self._supervisor.poll() is None:
                return  # somebody looks after it
            time.sleep(0.05)  # its guard is at it

    def _tail(self) -> list[str]:
        with self._log() as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END_OF_FILE))
            lines = file.read().split(b"\n")
        return [_readable(line) for line in (lines if lines[-1] else lines[:-1])][-self.TAIL :]

    def _log(self) -> BinaryIO:
        try:
            return open_plain(self._stage / "log.txt")
        except FileNotFoundError as error:
            raise self._removed() from error
        except OSError as error:
            raise BackendError(f"the log of the job {self.id} cannot be read: {error}") from error

    def _removed(self) -> JobNotFound:
        return JobNotFound(f"the folder of the job {self.id} was removed: {self._stage}")

    def _state(self) -> dict[str, Any]:
        """What is known of the job. Nothing is written: of one that is lost it is worked out how it has ended."""
        state = read_state(self._stage)
        if not state:
            raise self._removed()
        if state["state"] in ENDED or self._is_watched(state):
            return state
        # Read again: it may have ended well between the two looks.
        state = read_state(self._stage) or state
        return state if state["state"] in ENDED else {**state, **self._lost_end(state)}

    def _is_watched(self, state: dict[str, Any]) -> bool:
        if "supervisor" in state:
            seen = any(is_alive(state.get(who, 0), state.get(at, "")) for who, at in _WATCHERS)
            # Processes of other machines and containers are not seen from here: of those the lease is a sign of life.
            return seen or (state.get("machine") != machine() and lease_holds(self._stage))
        code = self._supervisor.poll() if self._supervisor is not None else ALREADY_SUPERVISED
        if code != ALREADY_SUPERVISED:
            return code is None
        try:
            age = time.time() - (self._stage / STATE_FILE).lstat().st_mtime
        except OSError as error:
            raise self._removed() from error
        if sys.platform == "linux" and not state.get("damaged") and state.get("machine") == machine():
            return age < _SOON or is_supervised(self.id)
        # Give a supervisor that another process has just started the time to write its state.
        return age < STARTUP

    def _lost_end(self, state: dict[str, Any]) -> dict[str, Any]:
        if state.get("damaged"):
            reason = f"its {STATE_FILE} was damaged, and nothing is known of it any more"
        elif "supervisor" not in state:
            reason = "its supervisor never started"
        elif state.get("machine") != machine():
            reason = f"its supervisor on {state.get('host') or 'another machine'} is gone"
        else:
            reason = LOST
        end, reason = lost_end(self._stage, reason)
        return {"state": end, "reason": reason}

    def _write_lost_end(self, state: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the folder may be gone, or its disk full: it is lost all the same
            end_job(
                self.id,
                folder=identity(self._stage),
                group=state.get("group", 0),
                group_started=state.get("group_started", ""),
                grace=1.0,
            )
            claim(self._stage)  # who comes late must not start what is written off
            if read_state(self._stage).get("state") not in ENDED:
                end = self._lost_end(state)
                write_state(self._stage, end["state"], reason=end["reason"])

    def _last_sign(self) -> str:
        try:
            seen = lease_time(self._stage) or (self._stage / STATE_FILE).lstat().st_mtime
        except OSError:
            return ""
        return datetime.fromtimestamp(seen, timezone.utc).isoformat(timespec="milliseconds")

    def _signal_supervisor(self, state: dict[str, Any], number: signal.Signals) -> bool:
        """Whether there is a supervisor to send a signal to; the state's word alone is not enough for that."""
        pid = state.get("supervisor", 0)
        if not (is_alive(pid, state.get("started", "")) and supervises(pid, self.id)):
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
        return True

    def _progress_file(self, *, last: int | None = None) -> bytes:
        try:
            with open_plain(self.output.path / "progress.jsonl") as file:
                if last is not None:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - last))
                return file.read()
        except OSError:
            return b""

    def _has_result(self) -> bool:
        return (self.output.path / MANIFEST).is_file()

    def _open(self) -> Any:
        handle: Any = open_handle(self.output.path)
        if self.spec.kind == "endpoint":
            handle.bind_stop(self.cancel)
        return handle


def _readable(line: bytes) -> str:
    """A line of a log as a terminal would show it: a bar that was redrawn in place is shown once."""
    return line.decode("utf-8", errors="replace").rstrip("\r").rpartition("\r")[2]


def _json_lines(text: bytes) -> list[dict[str, Any]]:
    """The objects of whole lines; a job writes its progress as it likes, and nobody stumbles over it."""
    found: list[dict[str, Any]] = []
    for line in text.split(b"\n")[:-1]:  # the last line may be half written, the first half read
        with contextlib.suppress(ValueError, RecursionError):
            value: Any = json.loads(line)
            if isinstance(value, dict):
                found.append(cast("dict[str, Any]", value))
    return found
