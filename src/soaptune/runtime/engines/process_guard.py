"""Runs a program so that it never outlives its starter: ``python -m soaptune.runtime.engines.process_guard PROGRAM``.

Whoever starts the guard holds the other end of its standard input. When that closes, on purpose or because its holder
was killed, or when the guard is signalled, the program and all that it has started are ended. A library cannot do
this with its own process: a program such as vLLM starts processes of its own, and threads forbid code between fork and
exec. The guard has one thread and imports the standard library alone.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from soaptune.local.processes import adopt_orphans, end_job, parent_death_signal, reap, start_time

__all__ = ["LEFT_OUT", "main"]

LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "HF_TOKEN")
"""Environment variables that the program does not get: it has an environment of its own, and needs no secret."""

_LOOK, _GRACE = 0.2, 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: The program and its arguments; those of the command line when None.

    Returns:
        The program's exit status; 127 when it cannot be started, 0 when it was ended because nobody holds the guard.
    """
    program = list(sys.argv[1:] if argv is None else argv)
    received: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        received.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    adopt_orphans()
    try:
        process = subprocess.Popen(
            program,
            env={name: value for name, value in os.environ.items() if name not in LEFT_OUT},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=parent_death_signal(),  # safe here: this process has one thread
        )
    except OSError as error:
        print(f"{program[0]} could not be started: {error}", file=sys.stderr)
        return 127
    started = start_time(process.pid)
    try:
        while process.poll() is None and not received and _is_held():
            reap(process.pid)
        code = process.poll()
    finally:
        # Known by their descent alone: the mark in the environment is also that of the job which started the guard.
        name = f"guard-{os.getpid()}"
        end_job(name, folder="", group=process.pid, group_started=started, grace=_GRACE, root=os.getpid())
    return 0 if code is None else code if code >= 0 else 128 - code


def _is_held() -> bool:
    """Whether somebody holds the other end of standard input; waits a moment for it to close."""
    try:
        ready, _, _ = select.select([0], [], [], _LOOK)
        return not ready or bool(os.read(0, 1024))
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
