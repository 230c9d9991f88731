"""The state of a job on disk. Written by its supervisor, read by anyone; standard library alone."""

from __future__ import annotations

import json
import os
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

__all__ = ["CANCEL_FILE", "CLAIM_FILE", "STATE_FILE", "claim", "read_state", "write_state"]

STATE_FILE = "state.json"
"""What became of the job so far."""

CLAIM_FILE = "claim"
"""Made by the one supervisor that runs the job: a second one finds it and goes away."""

CANCEL_FILE = "cancel"
"""Made by whoever wants the job to stop. Unlike a signal it also reaches a supervisor that does not listen yet."""

_STATES = ("pending", "running", "done", "failed", "cancelled")


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


def write_state(stage: Path, state: str, **more: Any) -> dict[str, Any]:
    """Writes a job's state, atomically, and keeps the states before it as its history.

    Args:
        stage: The job's folder.
        state: ``pending``, ``running``, ``done``, ``failed`` or ``cancelled``.
        **more: What else to keep: ``reason``, ``exit_code``, ``supervisor``, ``started``, ``host``, ``tmp``.

    Returns:
        All that is known of the job now.
    """
    known = read_state(stage)
    history: list[dict[str, Any]] = list(known.get("history", []))
    if known.get("state") != state:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        history.append({"state": state, "time": now, "reason": more.get("reason", "")})
    new: dict[str, Any] = {**known, **more, "state": state, "history": history}
    # `handles.files` writes like this too, but a supervisor loads the standard library alone: it starts in a blink.
    temporary = stage / f".{STATE_FILE}.{secrets.token_hex(4)}"
    try:
        with open(temporary, "x", encoding="utf-8", opener=_own_file) as file:
            json.dump(new, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(stage / STATE_FILE)
    finally:
        temporary.unlink(missing_ok=True)
    return new


def _own_file(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_state(stage: Path) -> dict[str, Any]:
    """Reads a job's state.

    Returns:
        What `write_state` wrote; empty when nothing was written yet. Of a file that something else has damaged only
        that it is: ``{"state": "pending", "damaged": True}``, so that looking at a job never fails because of it.
    """
    try:
        found: Any = json.loads((stage / STATE_FILE).read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and cast("dict[str, Any]", found).get("state") in _STATES:
        return cast("dict[str, Any]", found)
    return {"state": "pending", "damaged": True}
