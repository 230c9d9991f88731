"""What a training run writes while it runs: one JSON line for each step, for the progress bar and for the record."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["TrainingLog", "sum_over_ranks"]

_OUTPUT = Path("../output")


def sum_over_ranks(values: torch.Tensor) -> list[float]:
    """The sum of a tensor over all ranks, which all have to call it."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.all_reduce(values)
    return [float(value) for value in values]


@dataclass
class _Counts:
    """What was counted over some steps, on all ranks."""

    loss: float = 0.0
    weight: float = 0.0
    tokens: int = 0
    rows: int = 0
    seconds: float = 0.0

    def add(self, other: _Counts) -> None:
        self.loss, self.weight = self.loss + other.loss, self.weight + other.weight
        self.tokens, self.rows = self.tokens + other.tokens, self.rows + other.rows
        self.seconds += other.seconds

    @property
    def line(self) -> dict[str, float]:
        speed = self.tokens / max(self.seconds, 1e-9)
        return {
            "loss": self.loss / self.weight,
            "rows": self.rows,
            "tokens": self.tokens,
            "tokens_per_s": speed,
        }


class TrainingLog:
    """Writes ``progress.jsonl`` (each step, for the parent's progress bar) and ``metrics.jsonl`` (for the record).

    Losses are means over label tokens, and all counts are those of all ranks.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._part = torch.zeros(3, dtype=torch.float64, device=trainer.device)
        self._logged, self._all = _Counts(), _Counts()
        self._last_loss = math.nan
        self._start = self._since = time.monotonic()
        if trainer.global_rank == 0:
            _OUTPUT.mkdir(parents=True, exist_ok=True)

    def count(self, batch: dict[str, Any], summed_loss: torch.Tensor) -> None:
        """Counts a batch that is trained on.

        Args:
            batch: What `Collator` makes.
            summed_loss: The weighted sum of its tokens' losses.
        """
        self._part[0] += summed_loss.detach()
        self._part[1] += int(batch["real"].sum())
        self._part[2] += batch["n_rows"]

    def step(self, *, epoch: int, weight: float, learning_rate: float) -> None:
        """Writes the line of an optimizer step that was made.

        Args:
            epoch: The epoch it belongs to, from 0.
            weight: The weight of its label tokens on all ranks.
            learning_rate: The learning rate it was made with.

        Raises:
            FloatingPointError: The loss is not a number, so that going on would waste the machine.
        """
        trainer, now = self._trainer, time.monotonic()
        loss, tokens, rows = sum_over_ranks(self._part)
        made = _Counts(loss, weight, int(tokens), int(rows), now - self._since)
        self._part.zero_()
        self._since, self._last_loss = now, made.loss / made.weight
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at step {trainer.global_step}; lower the learning rate or use dtype fp32"
            )
        self._logged.add(made)
        self._all.add(made)
        head = {"done": trainer.global_step, "total": trainer.training_horizon, "unit": "steps", "epoch": epoch + 1}
        self._write("progress.jsonl", {**head, "learning_rate": learning_rate, **made.line})
        interval = max(1, trainer.config.loss_log_interval)
        if trainer.global_step % interval == 0 or trainer.global_step >= trainer.training_horizon:
            self._write("metrics.jsonl", {**head, "learning_rate": learning_rate, **self._logged.line})
            self._logged = _Counts()

    def evaluated(self, loss: float) -> None:
        """Writes the validation loss.

        Args:
            loss: The mean over the label tokens of the validation rows.
        """
        self._write("metrics.jsonl", {"done": self._trainer.global_step, "eval_loss": loss})
        self._since = time.monotonic()

    def totals(self) -> dict[str, float]:
        """What the whole run counted: ``steps``, ``tokens``, ``seconds`` and the last step's ``loss``."""
        return {
            "steps": float(self._trainer.global_step),
            "tokens": float(self._all.tokens),
            "seconds": time.monotonic() - self._start,
            "loss": self._last_loss,
        }

    def _write(self, name: str, line: dict[str, Any]) -> None:
        if self._trainer.global_rank != 0:
            return
        with (_OUTPUT / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
