"""The process that looks after one job on this machine: starts it, records how it ends, leaves nothing behind.

    python -m soaptune.jobs.supervisor <stage> <parent's pid, 0 for a detached job> -- <command line>

It ends the job when it is told to (SIGTERM), and when the process that submitted the job is gone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from soaptune.jobs.processes import adopt_orphans, children, end_group, start_time
from soaptune.jobs.states import write_state

__all__ = ["main"]

_GRACE = 10.0
_POLL = 0.05


class _Asked(Exception):
    """Somebody asked for the job to be stopped."""


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Asked


def main(arguments: list[str]) -> int:
    """Runs one job.

    Args:
        arguments: The stage, the parent's pid, ``--`` and the command line.

    Returns:
        The exit status of the supervisor itself; the job's is in its state.
    """
    stage, parent, command = Path(arguments[0]), int(arguments[1]), arguments[3:]
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    me = {"supervisor": os.getpid(), "started": start_time(os.getpid())}
    process: subprocess.Popen[bytes] | None = None
    try:
        signal.signal(signal.SIGTERM, _on_signal)
        with (stage / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=stage / "app", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        write_state(stage, "running", group=process.pid, **me)
        while process.poll() is None:
            if parent and os.getppid() != parent:
                raise _Asked("the process that submitted the job ended")
            time.sleep(_POLL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _sweep(process.pid)
        _record(stage, process.returncode)
    except _Asked as asked:
        if process is not None:
            end_group(process.pid, grace=_GRACE)
            _sweep(process.pid)
        write_state(stage, "cancelled", reason=str(asked) or "it was asked to stop")
    except OSError as error:
        write_state(stage, "failed", reason=f"the command could not be started: {error}", exit_code=127, **me)
    shutil.rmtree(os.environ.get("TMPDIR", "") or stage / "tmp", ignore_errors=True)
    return 0


def _record(stage: Path, code: int) -> None:
    if code == 0:
        write_state(stage, "done", exit_code=0)
    elif code < 0:
        write_state(stage, "failed", exit_code=code, reason=f"killed by signal {-code}")
    else:
        write_state(stage, "failed", exit_code=code, reason=f"exit status {code}")


def _sweep(group: int) -> None:
    """Ends what the job has left running, in its own group or in one that it made for itself."""
    end_group(group, grace=2.0)
    for pid in children(os.getpid()):
        end_group(os.getpgid(pid), grace=2.0) if os.getpgid(pid) == pid else os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
