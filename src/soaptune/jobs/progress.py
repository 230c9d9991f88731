"""A progress bar for a job, from what the job says about itself. Whatever it says, the bar never breaks a run."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soaptune.jobs.job import Job

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Said", "read", "watch"]

_PLAIN_SHARE = 0.1


@dataclass(frozen=True)
class Said:
    """What a job's progress line says.

    Attributes:
        done: How many units are done.
        total: How many there are; 0 when the job does not know.
        text: The rest, for people: ``"steps  loss 1.234  2,200 tokens/s"``.
    """

    done: float
    total: float
    text: str

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0


def read(line: dict[str, Any]) -> Said:
    """Takes from a progress line what can be shown; whatever is not a number there is left out."""
    parts = [str(line["unit"])] if isinstance(line.get("unit"), str) else []
    loss, speed = _number(line.get("loss")), _number(line.get("tokens_per_s"))
    if loss is not None:
        parts.append(f"loss {loss:.3f}")
    if speed is not None:
        parts.append(f"{speed:,.0f} tokens/s")
    return Said(done=_number(line.get("done")) or 0.0, total=_number(line.get("total")) or 0.0, text="  ".join(parts))


def watch(job: Job[Any]) -> None:
    """Waits for a job and shows how far it is: a live bar on a terminal or in a notebook, a few lines elsewhere.

    Args:
        job: The job.

    Raises:
        JobFailed: The job failed.
        JobCancelled: The job was cancelled.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        _bar(job, console)
    else:
        _lines(job)


def _bar(job: Job[Any], console: Console) -> None:
    from rich import progress

    columns = (
        progress.TextColumn("[bold]{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[said]}", markup=False),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(job.spec.name, total=None, said="starting")
        for pause in job.pauses():
            _show(bar, task, job)
            time.sleep(pause)
        _show(bar, task, job)


def _show(bar: Progress, task: Any, job: Job[Any]) -> None:
    line = job.progress()
    if line:
        said = read(line)
        bar.update(task, total=said.total or None, completed=said.done, said=said.text)


def _lines(job: Job[Any]) -> None:
    shown = 0.0
    for pause in job.pauses():
        shown = _line(job, shown)
        time.sleep(pause)
    _line(job, shown)


def _line(job: Job[Any], shown: float) -> float:
    """Prints a line when a further tenth is done.

    Returns:
        The share that was printed last.
    """
    said = read(job.progress())
    if said.share < shown + _PLAIN_SHARE and not (said.share == 1.0 > shown):
        return shown
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        print(f"{job.spec.name}: {said.done:.0f}/{said.total:.0f} {said.text}", file=sys.stderr, flush=True)
    return said.share


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
