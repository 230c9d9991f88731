"""A progress bar for a job, from what the job says about itself. Whatever it says, the bar never breaks a run."""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import time
from collections.abc import Callable
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

    In a notebook the bar needs ipywidgets; without it there are lines.

    Args:
        job: The job.

    Raises:
        JobFailed: The job failed.
        JobCancelled: The job was cancelled.
    """
    bar = _start_bar(job.spec.name)
    show = _Lines(job.spec.name) if bar is None else _Bar(bar)
    try:
        for pause in job.pauses():
            _look(job, show)
            time.sleep(pause)
        _look(job, show)
    finally:
        if bar is not None:
            with contextlib.suppress(Exception):
                bar.stop()


def _look(job: Job[Any], show: Callable[[Said], None]) -> None:
    # A display is a courtesy: neither a terminal that is gone nor a strange progress line may end a run.
    with contextlib.suppress(Exception):
        show(read(job.progress()))


def _start_bar(name: str) -> Progress | None:
    """A live bar; None where nothing can show one, or where the caller shows a live display of their own."""
    from rich import progress

    console = _console()
    if not (_has_widgets() if console.is_jupyter else console.is_terminal):
        return None
    bar = progress.Progress(
        progress.TextColumn("[bold]{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[said]}", markup=False),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=console,
    )
    bar.add_task(name, total=None, said="starting")
    try:
        bar.start()
    except Exception:  # rich's LiveError, or a terminal that is gone
        return None
    return bar


def _has_widgets() -> bool:
    """Whether a notebook can show a bar; without these packages rich warns and shows nothing."""
    try:
        for name in ("IPython.display", "ipywidgets"):
            importlib.import_module(name)
    except Exception:
        return False
    return True


def _console() -> Console:
    from rich.console import Console

    class Patient(Console):
        def on_broken_pipe(self) -> None:
            """Goes on in silence, where rich would end the program."""
            self.quiet = True

    return Patient(stderr=True)


class _Bar:
    """Moves a live bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.task_ids[0]

    def __call__(self, said: Said) -> None:
        if said.done or said.total or said.text:
            self._bar.update(self._task, total=said.total or None, completed=said.done, said=said.text)


class _Lines:
    """Prints a line when a further tenth is done."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = 0.0

    def __call__(self, said: Said) -> None:
        if said.share >= self._shown + _PLAIN_SHARE or said.share == 1.0 > self._shown:
            self._shown = said.share
            print(f"{self._name}: {said.done:.0f}/{said.total:.0f} {said.text}", file=sys.stderr, flush=True)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON knows whole numbers of any length
        return None
    return number if math.isfinite(number) else None
