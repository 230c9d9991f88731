"""A progress bar for a job, from what the job says about itself."""

from __future__ import annotations

import sys
from typing import Any

from soaptune.jobs.job import Job

__all__ = ["watch"]

_PLAIN_SHARE = 0.25


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


def _bar(job: Job[Any], console: Any) -> None:
    from rich import progress

    columns = (
        progress.TextColumn("[bold]{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.fields[said]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(job.spec.name, total=None, said="starting")
        import time

        for pause in job._until_ended(None):  # pyright: ignore[reportPrivateUsage]  (same room)
            latest = _latest(job)
            if latest:
                bar.update(task, total=latest.get("total"), completed=latest.get("done", 0), said=_said(latest))
            time.sleep(pause)
        latest = _latest(job)
        if latest:
            bar.update(task, total=latest.get("total"), completed=latest.get("total"), said=_said(latest))


def _lines(job: Job[Any]) -> None:
    import time

    shown = 0.0
    for pause in job._until_ended(None):  # pyright: ignore[reportPrivateUsage]  (same room)
        latest = _latest(job)
        if latest and latest.get("total"):
            share = latest["done"] / latest["total"]
            if share >= shown + _PLAIN_SHARE:
                shown = share
                print(f"{job.spec.name}: {latest['done']}/{latest['total']} {_said(latest)}", file=sys.stderr, flush=True)
        time.sleep(pause)


def _latest(job: Job[Any]) -> dict[str, Any]:
    for event in reversed(job.events()):
        if event.kind == "progress":
            return event.data
    return {}


def _said(line: dict[str, Any]) -> str:
    parts = [str(line.get("unit", ""))]
    if "loss" in line:
        parts.append(f"loss {line['loss']:.3f}")
    if "tokens_per_s" in line:
        parts.append(f"{line['tokens_per_s']:,.0f} tokens/s")
    return "  ".join(part for part in parts if part)
