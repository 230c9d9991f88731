"""The process that looks after one job on this machine: starts it, records how it ends, leaves nothing behind.

    supervisor <stage> <parent's pid, 0 for a detached job> <seconds of grace> -- <command line>

It ends the job when it is asked to (SIGTERM, SIGINT, or a file named ``cancel`` in the stage), and when the process
that submitted the job is gone. The command writes into ``log.txt`` by itself: no pipe can fill up or mix up lines.
Standard library alone, so that it starts in a blink and its memory is small; `command` isolates it from whatever the
job's variables and the user's folders do to Python.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from soaptune.local.ports import reserve_port
from soaptune.local.processes import (
    JOB_VARIABLE,
    adopt_orphans,
    end_job,
    host,
    parent_death_signal,
    reap,
    start_time,
)
from soaptune.local.states import CANCEL_FILE, claim, write_state

__all__ = ["ALREADY_SUPERVISED", "PORT", "TEMPORARY", "command", "main"]

ALREADY_SUPERVISED = 3
"""Exit status of a supervisor that found another one at work."""

PORT = "@PORT@"
"""Stands in a command line for the port, which is drawn as late as possible."""

TEMPORARY = "SOAPTUNE_TEMPORARY"
"""Environment variable that names the temporary folder, which goes at the end. The job does not see it."""

_LOOK = 0.25
"""Seconds between two looks at the parent and at the ``cancel`` file."""

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
        arguments: The stage, the parent's pid, the grace in seconds, ``--`` and the command line.

    Returns:
        The exit status of the supervisor itself; the job's is in its state.
    """
    stage, parent, grace, program = Path(arguments[0]), int(arguments[1]), float(arguments[2]), arguments[4:]
    # Of this process and of all that it starts: what a job writes holds text from its data.
    os.umask(0o077)
    temporary = Path(os.environ.pop(TEMPORARY, "") or stage / "tmp")
    wakeup = _WakeupPipe()
    if not claim(stage):
        if temporary.parent != stage:  # one of those that are made anew for each supervisor
            shutil.rmtree(temporary, ignore_errors=True)
        return ALREADY_SUPERVISED
    adopt_orphans()
    me = os.getpid()
    write_state(stage, "pending", supervisor=me, started=start_time(me), host=host(), tmp=str(temporary))
    process: subprocess.Popen[bytes] | None = None
    left: dict[str, Any] = {"job_id": stage.name, "group": 0, "group_started": "", "root": me}
    try:
        reason = _reason_to_stop(stage, parent, wakeup)
        if not reason:
            try:
                port, reservation = reserve_port()
                process = _start(stage, program, port)
            except OSError as error:
                write_state(stage, "failed", reason=f"the command could not be started: {error}", exit_code=127)
                return 0
            left |= {"group": process.pid, "group_started": start_time(process.pid)}
            write_state(stage, "running", port=port, **{k: left[k] for k in ("group", "group_started")})
            while process.poll() is None and not reason:
                wakeup.sleep(_LOOK)
                reap(process.pid)
                reason = _reason_to_stop(stage, parent, wakeup)
            reservation.close()
        code = process.poll() if process is not None else None
        end_job(**left, grace=grace if code is None else _STRAGGLERS)
        _clear(stage, temporary)  # before the job is seen to have ended
        if code is None:
            write_state(stage, "cancelled", reason=reason)
        else:
            _record(stage, code)
    finally:
        if process is not None and process.poll() is None:
            end_job(**left, grace=0.0)
        _clear(stage, temporary)
    return 0


def _start(stage: Path, program: list[str], port: int) -> subprocess.Popen[bytes]:
    env = dict(os.environ)
    env.setdefault("MASTER_PORT", str(port))
    env.setdefault("SOAPTUNE_PORT", str(port))
    # Not in the supervisor's own environment: whoever clears up after a job looks for this mark, and spares us.
    env[JOB_VARIABLE] = stage.name
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


def _clear(stage: Path, temporary: Path) -> None:
    """Removes caches and temporary files: they hold what the job has read, as text and as tokens."""
    for folder in (temporary, stage / "cache"):
        shutil.rmtree(folder, ignore_errors=True)


def _reason_to_stop(stage: Path, parent: int, wakeup: _WakeupPipe) -> str:
    # Looked at in this order, since a process that cancels a job sends the signal only to be heard sooner.
    if (stage / CANCEL_FILE).exists():
        return "it was cancelled"
    if wakeup.asked:
        return wakeup.asked
    return "the process that submitted it ended" if parent and os.getppid() != parent else ""


def _record(stage: Path, code: int) -> None:
    if code == 0:
        write_state(stage, "done", exit_code=0)
        return
    try:
        reason = f"exit status {code}" if code > 0 else f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        reason = f"killed by signal {-code}"
    write_state(stage, "failed", exit_code=code, reason=reason)
