"""The process that looks after one job on this machine: starts it, records how it ends, leaves nothing behind.

    supervisor <stage> <parent's pid, 0 for a detached job> <seconds of grace> <what it leaves> -- <command line>

It ends the job when it is asked to (SIGTERM, SIGINT, or a file named ``cancel`` in the stage), when the process that
submitted the job is gone, and when the stage is gone or cannot be written to. When it is killed itself, its guard ends
the job. The command writes into ``log.txt`` by itself: no pipe can fill up or mix up lines.
Standard library alone, so that it starts in a blink and its memory is small; `command` isolates it from whatever the
job's variables and the user's folders do to Python.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

from soaptune.common.results import MANIFEST_KINDS, NO_MANIFEST
from soaptune.local.guard import Guard, clear_folders
from soaptune.local.ports import reserve_port
from soaptune.local.processes import (
    FOLDER_VARIABLE,
    JOB_VARIABLE,
    adopt_orphans,
    end_job,
    host,
    machine,
    parent_death_signal,
    reap,
    start_time,
)
from soaptune.local.states import (
    CANCEL_FILE,
    STATE_FILE,
    claim,
    disk_trouble,
    identity,
    renew_lease,
    write_state,
)

__all__ = ["ALREADY_SUPERVISED", "PORT", "STARTUP", "TEMPORARY", "command", "main"]

ALREADY_SUPERVISED = 3
"""Exit status of a supervisor that found another one at work."""

STARTUP = 60.0
"""Seconds after which a supervisor that has not written its state does not start the job any more."""

PORT = "@PORT@"
"""Stands in a command line for the port, which is drawn as late as possible."""

TEMPORARY = "SOAPTUNE_TEMPORARY"
"""Environment variable that names the temporary folder, which goes at the end. The job does not see it."""

_LOOK = 0.25
"""Seconds between two looks at the parent and at the ``cancel`` file."""

_RENEW = 1.0
"""Seconds between two renewals of the lease."""

_UNRENEWED = 10.0
"""Seconds for which a lease may not be renewed because of something that may pass."""

_CANNOT_WRITE = "nothing can be written to its folder"

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EROFS)
"""What does not pass: the stage was removed, or its disk became read-only."""

_STRAGGLERS = 2.0
"""Seconds that processes have to end which the command has left running."""


class _WakeupPipe:
    """Wakes the supervisor when a child ends or a signal asks it to stop; handlers only note what came."""

    def __init__(self) -> None:
        self.asked = ""
        self._reading, writing = os.pipe()
        for end in (self._reading, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: self._ask(number))

    def _ask(self, number: int) -> None:
        self.asked = f"it was asked to stop ({signal.Signals(number).name})"

    def sleep(self, seconds: float) -> None:
        if select.select([self._reading], [], [], seconds)[0]:
            os.read(self._reading, 4096)


def command() -> list[str]:
    """The command line that starts a supervisor, to be followed by what `main` takes."""
    # The environment is the job's: it may hold a PYTHONPATH with anything in it, a random.py for example.
    code = f"import sys; sys.path.append({str(Path(__file__).resolve().parents[2])!r}); "
    code += f"from {__name__} import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-I", "-S", "-c", code]


def main(arguments: list[str]) -> int:
    """Runs one job.

    Args:
        arguments: The stage, the parent's pid, the grace in seconds, what the job leaves (a `JobKind`), ``--`` and the
            command line.

    Returns:
        The exit status of the supervisor itself; the job's is in its state.
    """
    stage, parent, grace, kind = Path(arguments[0]), int(arguments[1]), float(arguments[2]), arguments[3]
    # Of this process and of all that it starts: what a job writes holds text from its data.
    os.umask(0o077)
    temporary = Path(os.environ.pop(TEMPORARY, "") or stage / "tmp")
    wakeup = _WakeupPipe()
    if not claim(stage):
        if temporary.parent != stage:  # one of those that are made anew for each supervisor
            shutil.rmtree(temporary, ignore_errors=True)
        return ALREADY_SUPERVISED
    if time.time() - (stage / STATE_FILE).stat().st_mtime > STARTUP:
        write_state(stage, "failed", reason="its supervisor started too late")  # it was given up before
        return 0
    supervisor = _Supervisor(stage, parent, grace, kind, temporary, wakeup)
    try:
        supervisor.run(arguments[5:])
    finally:
        supervisor.clear_up()
    # Only now: when the end could not be written down, the guard tries it too.
    supervisor.dismiss_guard()
    return 0


class _Supervisor:
    """One job from its start to its end."""

    def __init__(self, stage: Path, parent: int, grace: float, kind: str, temporary: Path, wakeup: _WakeupPipe) -> None:
        self._stage, self._parent, self._grace, self._kind = stage, parent, grace, kind
        self._temporary, self._wakeup = temporary, wakeup
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = identity(stage)
        self._guard = Guard(stage, folder=self._folder, temporary=temporary)
        self._group, self._group_started = 0, ""
        self._renewed = time.monotonic()

    def run(self, program: list[str]) -> None:
        """Starts the command, waits for its end and writes it down."""
        me = os.getpid()
        adopt_orphans()
        renew_lease(self._stage)
        about: dict[str, Any] = {"supervisor": me, "started": start_time(me), "host": host(), "machine": machine()}
        write_state(self._stage, "pending", **about, **self._guard.start())
        reason = self._reason_to_stop()
        if not reason:
            try:
                port, reservation = reserve_port()
                self._process = _start(self._stage, program, port, self._folder)
            except OSError as error:
                write_state(self._stage, "failed", reason=f"the command could not be started: {error}", exit_code=127)
                return
            reason = self._watch(port)
            reservation.close()
        code = self._process.poll() if self._process is not None else None
        # Before anything is cleared up, which may make space again.
        trouble = "" if code is None else disk_trouble(self._stage)
        self._end_processes(self._grace if code is None else _STRAGGLERS)
        clear_folders(self._stage, self._temporary)  # before the job is seen to have ended
        if code is None:
            # Nobody asked for the end of a job that cannot write any more: it has failed.
            state = "failed" if reason.startswith(_CANNOT_WRITE) else "cancelled"
            write_state(self._stage, state, reason=reason)
        else:
            self._record(code, trouble)

    def clear_up(self) -> None:
        """Leaves nothing behind, whatever has happened."""
        if self._process is not None and self._process.poll() is None:
            self._end_processes(0.0)
        clear_folders(self._stage, self._temporary)

    def dismiss_guard(self) -> None:
        """Lets the guard go: the end of the job is written down."""
        self._guard.dismiss()

    def _watch(self, port: int) -> str:
        """Waits for the end of the command; gives the reason to end it before."""
        process = cast("subprocess.Popen[bytes]", self._process)
        self._group, self._group_started = process.pid, start_time(process.pid)
        try:
            write_state(self._stage, "running", port=port, group=self._group, group_started=self._group_started)
            reason = ""
            while process.poll() is None and not reason:
                self._wakeup.sleep(_LOOK)
                reap(process.pid)
                if not self._guard.alive:
                    write_state(self._stage, "running", **self._guard.start())
                reason = self._reason_to_stop()
        except OSError as error:
            return f"{_CANNOT_WRITE}: {error}"
        return reason

    def _reason_to_stop(self) -> str:
        # Looked at in this order, since a process that cancels a job sends the signal only to be heard sooner.
        if (self._stage / CANCEL_FILE).exists():
            return "it was cancelled"
        if self._wakeup.asked:
            return self._wakeup.asked
        if self._parent and os.getppid() != self._parent:
            return "the process that submitted it ended"
        now = time.monotonic()
        if now - self._renewed >= _RENEW:
            try:
                renew_lease(self._stage)
                self._renewed = now
            except OSError as error:
                if error.errno in _GONE or now - self._renewed > _UNRENEWED:
                    return f"{_CANNOT_WRITE}: {error}"
        return ""

    def _end_processes(self, grace: float) -> None:
        end_job(
            self._stage.name,
            folder=self._folder,
            group=self._group,
            group_started=self._group_started,
            grace=grace,
            root=os.getpid(),
            spare=self._guard.pid,
        )

    def _record(self, code: int, trouble: str) -> None:
        if code == 0:
            kind = MANIFEST_KINDS.get(self._kind)
            if kind is not None and not _has_manifest(self._stage / "output", kind):
                write_state(self._stage, "failed", exit_code=0, reason=_with(NO_MANIFEST, trouble))
            else:
                write_state(self._stage, "done", exit_code=0)
            return
        try:
            reason = f"exit status {code}" if code > 0 else f"killed by signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            reason = f"killed by signal {-code}"
        write_state(self._stage, "failed", exit_code=code, reason=_with(reason, trouble))


def _with(reason: str, trouble: str) -> str:
    return f"{reason}; {trouble}" if trouble else reason


def _has_manifest(output: Path, kind: str) -> bool:
    try:
        found: Any = json.loads((output / "manifest.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and cast("dict[str, Any]", found).get("kind") == kind


def _start(stage: Path, program: list[str], port: int, folder: str) -> subprocess.Popen[bytes]:
    env = dict(os.environ)
    env.setdefault("MASTER_PORT", str(port))
    env.setdefault("SOAPTUNE_PORT", str(port))
    # Not in the supervisor's own environment: whoever clears up after a job looks for this mark, and spares us.
    env[JOB_VARIABLE] = stage.name
    env[FOLDER_VARIABLE] = folder
    with (stage / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [part.replace(PORT, env["MASTER_PORT"]) for part in program],
            cwd=stage / "app",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # Safe here: this process has one thread.
            preexec_fn=parent_death_signal(),
        )
