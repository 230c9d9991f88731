"""What a training run says while it runs: one JSON line for each step, for the progress bar and for the record."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

__all__ = ["ProgressWriter"]

_OUTPUT = Path("../output")


class ProgressWriter:
    """Writes ``progress.jsonl`` (for the parent's progress bar) and ``metrics.jsonl`` (for the record)."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._tokens = 0
        self._losses: list[float] = []
        self._eval_losses: list[float] = []
        self._all_tokens = 0
        self._last_loss = math.nan
        self._start = self._since = time.monotonic()
        if trainer.global_rank == 0:
            _OUTPUT.mkdir(parents=True, exist_ok=True)

    def count(self, tokens: int, loss: float, *, training: bool) -> None:
        """Counts a batch.

        Args:
            tokens: Its tokens, padding left out.
            loss: Its loss.
            training: Whether it is trained on, not evaluated.
        """
        if training:
            self._tokens += tokens
            self._losses.append(loss)
        else:
            self._eval_losses.append(loss)

    def step(self) -> None:
        """Writes a line when an optimizer step was made.

        Raises:
            FloatingPointError: The loss is not a number, so that going on would waste the machine.
        """
        trainer = self._trainer
        loss = sum(self._losses) / max(1, len(self._losses))
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at step {trainer.global_step}; lower the learning rate or use dtype fp32"
            )
        if not trainer.gas_boundary:
            return
        now = time.monotonic()
        line = {
            "done": trainer.global_step,
            "total": trainer.training_horizon,
            "unit": "steps",
            "loss": loss,
            "learning_rate": trainer.scheduler.get_last_lr()[0],
            "tokens_per_s": self._tokens / max(now - self._since, 1e-9),
            "tokens": self._tokens,
        }
        self._all_tokens, self._last_loss = self._all_tokens + self._tokens, loss
        self._tokens, self._losses, self._since = 0, [], now
        self._write("progress.jsonl", line)
        self._write("metrics.jsonl", line)

    def evaluated(self) -> None:
        """Writes the validation loss."""
        losses, self._eval_losses = self._eval_losses, []
        self._write(
            "metrics.jsonl", {"done": self._trainer.global_step, "eval_loss": sum(losses) / max(1, len(losses))}
        )
        self._since = time.monotonic()

    def totals(self) -> dict[str, float]:
        """What the whole run counted: ``steps``, ``tokens``, ``seconds`` and the last step's ``loss``."""
        return {
            "steps": float(self._trainer.global_step),
            "tokens": float(self._all_tokens),
            "seconds": time.monotonic() - self._start,
            "loss": self._last_loss,
        }

    def _write(self, name: str, line: dict[str, Any]) -> None:
        if self._trainer.global_rank != 0:
            return
        with (_OUTPUT / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
