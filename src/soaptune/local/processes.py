"""Processes: whether one is still the one that it was, which ones belong to a job, and how to end them.

Uses the standard library alone: the supervisor of every job runs on it. On Linux it reads ``/proc``; elsewhere it
asks ``ps`` and knows a job's processes by their group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "FOLDER_VARIABLE",
    "JOB_VARIABLE",
    "adopt_orphans",
    "end_job",
    "host",
    "is_alive",
    "is_supervised",
    "machine",
    "parent_death_signal",
    "reap",
    "start_time",
    "supervises",
]

JOB_VARIABLE = "SOAPTUNE_JOB"
"""Environment variable that every process of a job inherits, and by which it is known as one of them."""

FOLDER_VARIABLE = "SOAPTUNE_JOB_FOLDER"
"""The second half of that mark, `soaptune.local.states.identity` of the job's folder: a copy of the folder, or one that
somebody else has given a job's id, is not taken for the job."""

_LINUX = sys.platform == "linux"

_SUPERVISOR = b"soaptune.local.supervisor"
"""Stands in the command line of every supervisor."""


def host() -> str:
    """The name of this machine, for people."""
    return socket.gethostname()


def machine() -> str:
    """Where process numbers mean the same as here: this start of this machine, and on Linux this container.

    The name would not do: a container that is started again has another one, or the same one and other processes.
    """
    if not _LINUX:
        return socket.gethostname()
    try:
        return f"{_boot()}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_time(pid: int) -> str:
    """When a process started; tells it from a later one with the same number, also after a restart of the machine.

    Returns:
        A word that is equal for equal processes; empty when there is no such process, or only its remains.
    """
    if not _LINUX:
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return asked.stdout.strip()
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return ""
    return f"{_boot()}:{fields[19]}"


def is_alive(pid: int, started: str) -> bool:
    """Whether a process is still running.

    Args:
        pid: Its number.
        started: What `start_time` said of it while it ran.
    """
    return pid > 0 and started != "" and start_time(pid) == started


def supervises(pid: int, job_id: str) -> bool:
    """Whether a process was started as the supervisor of a job (Linux; elsewhere True).

    Args:
        pid: Its number.
        job_id: The job's id, which is the name of the folder that a supervisor is given.
    """
    if not _LINUX:
        return True
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # The id of one job may begin like that of another.
    named = os.fsencode(job_id) in map(os.path.basename, arguments)
    return named and any(_SUPERVISOR in argument for argument in arguments)


def is_supervised(job_id: str) -> bool:
    """Whether there is a supervisor of a job on this machine (Linux)."""
    return any(supervises(int(entry.name), job_id) for entry in Path("/proc").glob("[0-9]*"))


def adopt_orphans() -> None:
    """Makes grandchildren whose parent ends children of this process, so that none gets away (Linux only)."""
    if _LINUX:
        _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER, linux/prctl.h


def parent_death_signal() -> Callable[[], None] | None:
    """What a child calls before it becomes its program, so that it is killed when this process is (Linux only)."""
    if not _LINUX:
        return None
    import ctypes

    library = ctypes.CDLL(None)  # loaded here, before the fork

    def ask() -> None:
        library.prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG

    return ask


def reap(own: int) -> None:
    """Takes leave of adopted processes that have ended.

    Args:
        own: The child that is left alone, because somebody else waits for it.
    """
    if not _LINUX:
        return
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == own:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(ended.si_pid, 0)


def end_job(
    job_id: str,
    *,
    folder: str,
    group: int,
    group_started: str,
    grace: float,
    root: int = 0,
    spare: int = 0,
) -> bool:
    """Ends every process of a job: asks first, then kills what is still there.

    Args:
        job_id: The job's id, which its processes carry in their environment.
        folder: What identifies its folder, which they carry too.
        group: The process group in which its command was started; 0 if it was not.
        group_started: What `start_time` said of the group's first process.
        grace: Seconds to wait after asking.
        root: A process whose descendants belong to the job, whatever their environment; 0 for none.
        spare: One of these descendants that does not: the guard; 0 for none.

    Returns:
        Whether all have ended.
    """

    def left() -> list[int]:
        if _LINUX:
            return [pid for pid in _members(job_id, folder, root) if pid != spare]
        # A group may outlive its first process; without that process its number may be someone else's by now.
        return [group] if group and (root or is_alive(group, group_started)) and _group_lives(group) else []

    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        end = time.monotonic() + patience
        signalled: set[int] = set()
        while True:
            if root:  # elsewhere the children are not ours to take leave of
                reap(group)
            found = left()
            if not found:
                return True
            for pid in found:
                # Those who come later are signalled too; killing is repeated, asking is not.
                if pid not in signalled or number == signal.SIGKILL:
                    signalled.add(pid)
                    _send(pid, number)
            if time.monotonic() >= end:
                break
            time.sleep(0.03)
    return not left()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if _LINUX:
            os.kill(pid, number)
        else:
            os.killpg(pid, number)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _members(job_id: str, folder: str, root: int) -> list[int]:
    """The living processes of a job, this one left out."""
    parents: dict[int, int] = {}
    marked: set[int] = set()
    mark = {f"{JOB_VARIABLE}={job_id}".encode(), f"{FOLDER_VARIABLE}={folder}".encode()}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        fields = _stat(pid)
        if fields is None or fields[0] in "ZX" or pid == os.getpid():
            continue
        parents[pid] = int(fields[1])
        with contextlib.suppress(OSError):  # another user's, or gone
            if mark <= set((entry / "environ").read_bytes().split(b"\0")):
                marked.add(pid)
    return sorted(pid for pid in parents if pid in marked or (root and _descends(pid, root, parents)))


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    seen: set[int] = set()
    while pid in parents and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
        if pid == root:
            return True
    return False


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/<pid>/stat`` from the state on; the name before it may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _prctl(option: int, value: int) -> None:
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
