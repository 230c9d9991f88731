"""Waits for a job, shows how far it is, and has the end of one that failed or was killed tracked.

Neither the display nor the tracker ever breaks a run, whatever the job writes.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soaptune.errors import JobCancelled, JobFailed, SoaptuneError
from soaptune.jobs.job import Job

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["ProgressLine", "read", "watch"]

_log = logging.getLogger("soaptune")

_PLAIN_SHARE = 0.1
_PLAIN_SECONDS = 60.0
"""Without a terminal there is a line when a further tenth is done, and at least one so often."""


@dataclass(frozen=True)
class ProgressLine:
    """A job's progress line, as far as it can be shown.

    Attributes:
        done: How many units are done.
        total: How many there are; 0 when the job does not know.
        unit: What they are: ``"steps"``.
        phase: The part of the job that counts them; empty when there is only one.
        detail: What else is worth showing: ``"loss 1.234  2,200 tokens/s"``.
    """

    done: float
    total: float
    unit: str
    phase: str
    detail: str

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0

    @property
    def text(self) -> str:
        """All but the numbers: ``"base model, answers: examples"``."""
        unit = f"{self.phase}: {self.unit}" if self.phase else self.unit
        return "  ".join(part for part in (unit, self.detail) if part)


def read(line: dict[str, Any]) -> ProgressLine:
    """Takes from a progress line what can be shown; whatever is not a number there is left out."""
    detail: list[str] = []
    loss, speed = _number(line.get("loss")), _number(line.get("tokens_per_s"))
    if loss is not None:
        detail.append(f"loss {loss:.3f}")
    if speed is not None:
        detail.append(f"{speed:,.0f} tokens/s")
    return ProgressLine(
        done=_number(line.get("done")) or 0.0,
        total=_number(line.get("total")) or 0.0,
        unit=_words(line.get("unit")),
        phase=_words(line.get("phase")),
        detail="  ".join(detail),
    )


def watch(job: Job[Any]) -> None:
    """Waits for a job and shows how far it is: a live bar on a terminal or in a notebook, lines elsewhere.

    The first line comes at once, further ones when another tenth is done and at least once a minute, with the rate and
    the time that is left. In a notebook the bar needs ipywidgets; without it there are lines.

    A job that ends well has written its run to the backend's tracker. For one that failed or was killed it is done
    here; whoever only looks at a job, or asks for its result, writes nothing.

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
    except (JobFailed, JobCancelled):
        _track(job)
        raise
    finally:
        if bar is not None:
            with contextlib.suppress(Exception):
                bar.stop()


def _look(job: Job[Any], show: Callable[[ProgressLine], None]) -> None:
    # A display is a courtesy: neither a terminal that is gone nor a strange progress line may end a run.
    with contextlib.suppress(Exception):
        show(read(job.progress()))


def _track(job: Job[Any]) -> None:
    try:
        job.sync()
    except SoaptuneError as error:  # the caller wants to know why the job has failed, and not this
        _log.warning("the end of the job %s could not be tracked: %s", job.id, error)


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
        progress.TextColumn("{task.fields[text]}", markup=False),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=console,
    )
    bar.add_task(name, total=None, text="starting")
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

    def __call__(self, line: ProgressLine) -> None:
        if line.done or line.total or line.text:
            self._bar.update(self._task, total=line.total or None, completed=line.done, text=line.text)


class _Lines:
    """Prints lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._phase: str | None = None
        self._began: float = time.monotonic()
        self._printed: float = self._began
        self._done_before: float = 0.0
        self._shown: float = 0.0
        with contextlib.suppress(Exception):  # nobody may be listening
            self._print("started")

    def __call__(self, line: ProgressLine) -> None:
        now = time.monotonic()
        if line.total > 0 and line.phase != self._phase:
            # The rate is that of what is seen here: not of what was done before, nor of the time until the job counts.
            self._phase, self._began, self._done_before, self._shown = line.phase, now, line.done, 0.0
        due = now - self._printed >= _PLAIN_SECONDS
        if due or line.share >= self._shown + _PLAIN_SHARE or line.share == 1.0 > self._shown:
            self._shown, self._printed = line.share, now
            self._print(self._sentence(line, now - self._began))

    def _sentence(self, line: ProgressLine, seconds: float) -> str:
        if not line.total > 0:
            return f"running for {_clock(seconds)}, nothing counted yet"
        phase = f"{line.phase}: " if line.phase else ""
        parts = [f"{phase}{line.done:.0f}/{line.total:.0f} {line.unit}".rstrip(), line.detail]
        rate = (line.done - self._done_before) / seconds if seconds > 0 else 0.0
        if rate > 0:
            parts.append(f"{rate:,.1f}/s" if rate >= 1 else f"{rate * 60:,.1f}/min")
            if line.done < line.total:
                parts.append(f"{_clock((line.total - line.done) / rate)} left")
        return "  ".join(part for part in parts if part)

    def _print(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """``"0:42"``, ``"1:02:03"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON knows whole numbers of any length
        return None
    return number if math.isfinite(number) else None
