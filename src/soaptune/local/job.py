"""A job of `LocalBackend`: its state, log and output are files in its folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from soaptune.common.files import MANIFEST
from soaptune.errors import BackendError, JobNotFound
from soaptune.handles import open_handle
from soaptune.handles.storage import FolderFiles
from soaptune.jobs.job import ENDED, Event, Job, JobStatus
from soaptune.jobs.spec import JobSpec
from soaptune.local.processes import end_job, host, is_alive
from soaptune.local.states import CANCEL_FILE, STATE_FILE, claim, read_state, write_state
from soaptune.local.supervisor import ALREADY_SUPERVISED

__all__ = ["LocalJob"]

_STARTUP = 60.0
"""Seconds after which a supervisor that has not written its state will not come any more."""

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
        states = [Event(kind="state", data=line) for line in state.get("history", [])]
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
            return
        (self._stage / CANCEL_FILE).touch(mode=0o600)
        begun = time.monotonic()
        signalled: int | None = None
        # The command's grace, and then ours for the supervisor to clear up.
        while (waited := time.monotonic() - begun) < self._grace + 10.0:
            state = self._state()
            if state["state"] in ENDED:
                return
            if self.never_started and waited > 5.0 and claim(self._stage):
                self._finalize_lost_job(state)  # nobody has taken it up, and from now on nobody can
            pid = state.get("supervisor")
            if pid and pid != signalled and self._is_watched(state):
                self._tell_supervisor(state, signal.SIGTERM)
                signalled = pid
            time.sleep(0.05)
        self._tell_supervisor(self._state(), signal.SIGKILL)
        time.sleep(0.2)
        if self.status not in ENDED:
            raise BackendError(f"the job {self.id} does not stop; its supervisor is process {signalled}")

    def delete(self, *, dry_run: bool = False) -> list[str]:
        """Removes the job and what it has made; see `soaptune.jobs.job.Job.delete`."""
        from soaptune.local.cleanup import cleanup

        return cleanup(self._stage.parent.parent, jobs={self.id}, dry_run=dry_run)

    def _tail(self) -> list[str]:
        with self._log() as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END_OF_FILE))
            lines = file.read().split(b"\n")
        return [_readable(line) for line in (lines if lines[-1] else lines[:-1])][-self.TAIL :]

    def _log(self) -> BinaryIO:
        try:
            return (self._stage / "log.txt").open("rb")
        except FileNotFoundError as error:
            raise self._removed() from error

    def _removed(self) -> JobNotFound:
        return JobNotFound(f"the folder of the job {self.id} was removed: {self._stage}")

    def _state(self) -> dict[str, Any]:
        """What is known of the job; a supervisor that is gone without a word is noticed here."""
        state = read_state(self._stage)
        if not state:
            raise self._removed()
        if state["state"] in ENDED or self._is_watched(state):
            return state
        # Read again: it may have ended well between the two looks.
        state = read_state(self._stage) or state
        return state if state["state"] in ENDED else self._finalize_lost_job(state)

    def _is_watched(self, state: dict[str, Any]) -> bool:
        if "supervisor" in state:
            # Of another machine's processes nothing can be seen from here.
            return state.get("host") != host() or is_alive(int(state["supervisor"]), str(state.get("started", "")))
        code = self._supervisor.poll() if self._supervisor is not None else ALREADY_SUPERVISED
        if code != ALREADY_SUPERVISED:
            return code is None
        # Give a supervisor that another process has just started the time to say so.
        try:
            return time.time() - (self._stage / STATE_FILE).stat().st_mtime < _STARTUP
        except OSError as error:
            raise self._removed() from error

    def _finalize_lost_job(self, state: dict[str, Any]) -> dict[str, Any]:
        """Ends what a job without a supervisor has left running, and writes down how it ended."""
        end_job(
            self.id,
            group=int(state.get("group", 0)),
            group_started=str(state.get("group_started", "")),
            grace=1.0,
        )
        if (self._stage / CANCEL_FILE).exists():
            end, reason = "cancelled", "it was cancelled"
        elif state.get("damaged"):
            end, reason = "failed", f"its {STATE_FILE} was damaged, and nothing is known of it any more"
        elif "supervisor" in state:
            end, reason = "failed", "its supervisor was killed"
        else:
            end, reason = "failed", "its supervisor never started"
        new = {**state, "state": end, "reason": reason}
        with contextlib.suppress(OSError):  # a full disk does not make the job any less dead
            claim(self._stage)  # who comes late must not start what is written off
            found = read_state(self._stage)
            new = found if found.get("state") in ENDED else write_state(self._stage, end, reason=reason)
        if state.get("tmp"):
            shutil.rmtree(state["tmp"], ignore_errors=True)
        return new

    def _tell_supervisor(self, state: dict[str, Any], number: signal.Signals) -> None:
        if state.get("supervisor") and state.get("host") == host() and self._is_watched(state):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(state["supervisor"]), number)

    def _progress_file(self, *, last: int | None = None) -> bytes:
        try:
            with (self.output.path / "progress.jsonl").open("rb") as file:
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
