"""The state of a job on disk. Written by its supervisor, read by anyone; standard library alone.

A folder of jobs may come from anywhere. So whatever is read here is a plain file of a plausible size whose content has
the types that it should have, and what a file names is never removed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, cast

__all__ = [
    "CANCEL_FILE",
    "CLAIM_FILE",
    "ENDED_STATES",
    "LEASE_FILE",
    "STATE_FILE",
    "ask_to_cancel",
    "claim",
    "disk_trouble",
    "identity",
    "lease_holds",
    "lease_time",
    "open_plain",
    "read_state",
    "renew_lease",
    "reserve_space",
    "write_state",
]

STATE_FILE = "state.json"
"""What became of the job so far."""

CLAIM_FILE = "claim"
"""Made by the one supervisor that runs the job: a second one finds it and goes away."""

CANCEL_FILE = "cancel"
"""Made by whoever wants the job to stop. Unlike a signal it also reaches a supervisor that does not listen yet."""

LEASE_FILE = "lease"
"""Its time of change is renewed by the supervisor every second: a sign of life that other machines see too."""

ENDED_STATES = ("done", "failed", "cancelled")
_STATES = ("pending", "running", *ENDED_STATES)

_RESERVE_FILE = "reserve"
_RESERVE = 64 * 1024
"""Bytes that are given back to a full disk when the end of the job is to be written down."""

_LARGEST_STATE = 1024 * 1024
_LEASE = 5.0
"""Seconds that a lease is good for without a renewal."""
_WATCH = 2.5
"""Seconds for which one that has run out is watched: the clocks of two machines differ, and a clock can jump."""
_SURELY_OVER = 3600.0
"""Seconds by which no two clocks differ: a lease that ran out before that is not watched."""

_NUMBERS = ("supervisor", "guard", "group", "port", "exit_code")
_TEXTS = ("started", "guard_started", "group_started", "host", "machine", "reason")


def identity(stage: Path) -> str:
    """What tells a job's folder from every other one on this machine, also from its own copies."""
    found = stage.stat()
    return f"{found.st_dev}:{found.st_ino}"


def claim(stage: Path) -> bool:
    """Takes the right to start a job, which is given once.

    Returns:
        Whether it was still to be had.
    """
    try:
        os.close(os.open(stage / CLAIM_FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def ask_to_cancel(stage: Path) -> None:
    """Makes the ``cancel`` file. A link of that name is left alone: it leads elsewhere."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(stage / CANCEL_FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def renew_lease(stage: Path) -> None:
    """Says that the supervisor lives.

    Raises:
        OSError: The folder is gone, or nothing can be changed in it.
    """
    os.close(os.open(stage / LEASE_FILE, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    os.utime(stage / LEASE_FILE)


def lease_time(stage: Path) -> float | None:
    """When the lease was renewed last, by the clock of who did it; None when there is none."""
    try:
        return (stage / LEASE_FILE).lstat().st_mtime
    except OSError:
        return None


def lease_holds(stage: Path) -> bool:
    """Whether a supervisor that cannot be seen from here lives; looks twice, with a pause, where the clock says no."""
    seen = lease_time(stage)
    if seen is None:
        return False
    age = time.time() - seen
    if 0 <= age < _LEASE:
        return True
    if age > _SURELY_OVER:
        return False
    end = time.monotonic() + _WATCH
    while time.monotonic() < end:
        time.sleep(0.1)
        if lease_time(stage) != seen:
            return True
    return False


def reserve_space(stage: Path) -> None:
    """Sets a little space aside, so that the end of the job can be written down on a full disk."""
    with open(stage / _RESERVE_FILE, "xb", opener=_own_file) as file:
        file.write(os.urandom(_RESERVE))  # a file of zeros may take no space at all


def disk_trouble(folder: Path) -> str:
    """What is wrong with the disk of a folder: that it is full, or read-only; empty when neither is seen."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""
    if disk.f_flag & os.ST_RDONLY:
        return f"its disk is read-only ({os.strerror(errno.EROFS)})"
    if disk.f_bavail * disk.f_frsize < 1024 * 1024 or (disk.f_files and not disk.f_favail):
        return f"its disk is full ({os.strerror(errno.ENOSPC)})"
    return ""


def write_state(stage: Path, state: str, **more: Any) -> dict[str, Any]:
    """Writes a job's state, atomically, and keeps the states before it as its history.

    Args:
        stage: The job's folder.
        state: ``pending``, ``running``, ``done``, ``failed`` or ``cancelled``.
        **more: What else to keep: ``reason``, ``exit_code``, ``supervisor``, ``started``, ``guard``, ``machine``.

    Returns:
        All that is known of the job now.

    Raises:
        OSError: It cannot be written.
    """
    known = read_state(stage)
    history: list[dict[str, Any]] = list(known.get("history", []))
    if known.get("state") != state:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        history.append({"state": state, "time": now, "reason": more.get("reason", "")})
    new: dict[str, Any] = {**known, **more, "state": state, "history": history}
    new.pop("damaged", None)
    data = json.dumps(new).encode()
    try:
        _replace(stage, data)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) and state in ENDED_STATES
        if not (full and (stage / _RESERVE_FILE).exists()):
            raise
        (stage / _RESERVE_FILE).unlink(missing_ok=True)
        _replace(stage, data)
    return new


def _replace(stage: Path, data: bytes) -> None:
    # `common.files` writes like this too, but a supervisor loads the standard library alone: it starts in a blink.
    temporary = stage / f".{STATE_FILE}.{secrets.token_hex(4)}"
    try:
        with open(temporary, "xb", opener=_own_file) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(stage / STATE_FILE)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def open_plain(path: Path) -> BinaryIO:
    """Opens a plain file to read it: no link, which leads elsewhere, and no pipe, whose reader may wait for ever.

    Raises:
        OSError: There is none, or it is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return file


def _own_file(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_state(stage: Path) -> dict[str, Any]:
    """Reads a job's state.

    Returns:
        What `write_state` wrote; empty when nothing was written yet. Of a file that something else has damaged only
        that it is: ``{"state": "pending", "damaged": True}``, so that looking at a job never fails because of it.
    """
    try:
        with open_plain(stage / STATE_FILE) as file:
            text = file.read(_LARGEST_STATE + 1)
        found: Any = json.loads(text) if len(text) <= _LARGEST_STATE else None
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError):
        found = None
    return cast("dict[str, Any]", found) if _is_state(found) else {"state": "pending", "damaged": True}


def _is_state(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    state = cast("dict[str, Any]", found)
    history: Any = state.get("history", [])
    return (
        state.get("state") in _STATES
        and all(_is_number(state.get(name, 0)) for name in _NUMBERS)
        and all(isinstance(state.get(name, ""), str) for name in _TEXTS)
        and isinstance(history, list)
        and all(map(_is_step, cast("list[Any]", history)))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def _is_step(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    step = cast("dict[str, Any]", value)
    return step.get("state") in _STATES and all(isinstance(step.get(name, ""), str) for name in ("time", "reason"))
