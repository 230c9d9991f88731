"""Processes: whether one is still the one that it was, and how to end it with everything that it has started.

Uses the standard library alone: the supervisor of every job runs on it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

__all__ = ["adopt_orphans", "children", "end_group", "is_alive", "start_time"]


def start_time(pid: int) -> str:
    """When a process started, as the kernel counts it; tells a process from a later one with the same number.

    Returns:
        A word that is equal for equal processes; empty where the system does not say or the process is gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def is_alive(pid: int, started: str) -> bool:
    """Whether a process is still running.

    Args:
        pid: Its number.
        started: What `start_time` said of it when it started.
    """
    if started or sys.platform == "linux":
        return started != "" and start_time(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def children(pid: int) -> list[int]:
    """The children of a process; empty where the system has no /proc."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def adopt_orphans() -> None:
    """Makes grandchildren whose parent ends children of this process, so that none gets away (Linux only)."""
    if sys.platform != "linux":
        return
    import ctypes

    set_child_subreaper = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def end_group(group: int, *, grace: float) -> None:
    """Ends a process group: asks first, then kills what is still there.

    Args:
        group: The group's number.
        grace: Seconds to wait after asking.
    """
    for sig, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(group, sig)
        except (ProcessLookupError, PermissionError):
            return
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            try:
                os.killpg(group, 0)
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.05)
