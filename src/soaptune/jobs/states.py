"""The state of a job on disk. Written by its supervisor, read by anyone; standard library alone."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

__all__ = ["STATE_FILE", "read_state", "write_state"]

STATE_FILE = "state.json"


def write_state(stage: Path, state: str, **more: Any) -> None:
    """Writes a job's new state, atomically, behind the states before it.

    Args:
        stage: The job's folder.
        state: ``pending``, ``running``, ``done``, ``failed`` or ``cancelled``.
        **more: What else to keep: ``reason``, ``exit_code``, ``supervisor``, ``started``, ``group``.
    """
    known = read_state(stage)
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = {"state": state, "time": now, "reason": more.get("reason", "")}
    new = {**known, **more, "state": state, "history": [*known.get("history", []), line]}
    temporary = stage / f".{STATE_FILE}.{os.getpid()}"
    temporary.write_text(json.dumps(new), encoding="utf-8")
    os.replace(temporary, stage / STATE_FILE)


def read_state(stage: Path) -> dict[str, Any]:
    """Reads a job's state; empty when none was written yet."""
    try:
        return json.loads((stage / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
