"""The second process that looks after a job: it ends what is left of the job when the supervisor itself was killed.

The two watch each other. The guard holds the reading end of a pipe whose writing end only the supervisor has: however
the supervisor ends, the guard reads of it at once. The supervisor sees a guard that has ended and starts another one.
Standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from soaptune.local.processes import end_job, is_alive, start_time
from soaptune.local.states import CANCEL_FILE, ENDED_STATES, disk_trouble, read_state, renew_lease, write_state

__all__ = ["LOST", "Guard", "clear_folders", "lost_end"]

LOST = "its supervisor was killed"
"""Why a job failed whose supervisor was."""

_GRACE = 1.0
"""Seconds that the processes of the job have to end by themselves."""


class Guard:
    """The supervisor's side of the guard."""

    def __init__(self, stage: Path, *, folder: str, temporary: Path) -> None:
        """Names the job.

        Args:
            stage: Its folder.
            folder: `soaptune.local.states.identity` of the stage.
            temporary: The temporary folder that the supervisor removes at the end.
        """
        self._work: Callable[[], None] = lambda: _clear_up(stage, folder, temporary)
        self.pid = 0
        self._started = ""
        self._pipe = -1

    def start(self) -> dict[str, object]:
        """Starts the guard. To be called by a process with one thread.

        Returns:
            What is to be written down of it.
        """
        if self._pipe >= 0:
            os.close(self._pipe)
        reading, self._pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _watch(reading, self._pipe, self._work)
        os.close(reading)
        self._started = start_time(self.pid)
        return {"guard": self.pid, "guard_started": self._started}

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return is_alive(self.pid, self._started)

    def dismiss(self) -> None:
        """Lets it go: the job has ended, and everything is written down."""
        with contextlib.suppress(OSError):
            os.write(self._pipe, b".")
        with contextlib.suppress(OSError):
            os.close(self._pipe)


def lost_end(stage: Path, reason: str) -> tuple[str, str]:
    """How a job has ended whose supervisor is gone without a word.

    Args:
        stage: Its folder.
        reason: Why it is gone.

    Returns:
        State and reason.
    """
    if os.path.lexists(stage / CANCEL_FILE):
        return "cancelled", "it was cancelled"
    trouble = disk_trouble(stage)
    return "failed", f"{reason}, and {trouble}" if trouble else reason


def clear_folders(stage: Path, temporary: Path) -> None:
    """Removes caches and temporary files: they hold what the job has read, as text and as tokens.

    Args:
        stage: The job's folder.
        temporary: The temporary folder, as who started the job made it; what a file names is not removed.
    """
    for folder in (temporary, stage / "cache"):
        shutil.rmtree(folder, ignore_errors=True)


def _watch(reading: int, writing: int, work: Callable[[], None]) -> None:
    """The guard's whole life, in the child; does not return."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(writing)
        if not os.read(reading, 1):
            work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _clear_up(stage: Path, folder: str, temporary: Path) -> None:
    state = read_state(stage)
    if state and state["state"] not in ENDED_STATES:
        with contextlib.suppress(OSError):
            renew_lease(stage)  # other machines see a sign of life until it is written down
        state = read_state(stage) or state
    group, started = int(state.get("group", 0)), str(state.get("group_started", ""))
    end_job(stage.name, folder=folder, group=group, group_started=started, grace=_GRACE)
    clear_folders(stage, temporary)
    found = read_state(stage)
    if found and found["state"] not in ENDED_STATES:
        end, reason = lost_end(stage, LOST)
        write_state(stage, end, reason=reason)
