"""What a job writes of its progress while it runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

__all__ = ["Progress"]

_SECONDS = 0.5


class Progress:
    """Appends lines to a job's ``progress.jsonl``, at most a few each second.

    Args:
        output: The job's output folder.
        total: How many units there are.
        unit: What they are, in the plural (``"examples"``).
    """

    def __init__(self, output: Path, *, total: int, unit: str) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self._file = output / "progress.jsonl"
        self._total = total
        self._unit = unit
        self._phase = ""
        self._last = 0.0
        self.done = 0

    def begin(self, phase: str) -> None:
        """Begins a part of the job that counts all units anew.

        Args:
            phase: What is done to the units in it, for people (``"base model, answers"``).
        """
        self._phase = phase
        self._last = 0.0
        self.at(0)

    def at(self, done: int) -> None:
        """Notes how many units are done in all."""
        self.done = done
        now = time.monotonic()
        if now - self._last >= _SECONDS or done >= self._total:
            self._last = now
            line = {"done": done, "total": self._total, "unit": self._unit}
            if self._phase:
                line["phase"] = self._phase
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def add(self, count: int) -> None:
        """Notes that some more units are done."""
        self.at(self.done + count)
