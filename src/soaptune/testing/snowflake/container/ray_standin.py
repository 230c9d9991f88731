"""Copied as ``ray.py`` beside the SDK's launcher: as much of Ray as the launcher asks for, and no more.

The launcher joins the cluster (`init`) and counts its nodes. In a job of one instance, Ray is simply not installed,
which the launcher knows how to live with; code of the job that wants Ray must not find half of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

CLUSTER = Path("@CLUSTER@")
INSTANCES = int("@INSTANCES@")

if INSTANCES <= 1:
    raise ModuleNotFoundError("No module named 'ray'", name="ray")


def init(*_: Any, **__: Any) -> None:
    """Joins nothing: there is no Ray here."""


def is_initialized() -> bool:
    """Always, as in a process that the platform has started."""
    return True


def nodes() -> list[dict[str, Any]]:
    """The instances that are up."""
    return [{"NodeID": path.name, "Alive": True} for path in sorted(CLUSTER.glob("node-*"))]


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"ray.{name}: the emulated account runs no Ray cluster. The instances of a job are process trees on one "
        "machine; test code that needs Ray against a real one."
    )
