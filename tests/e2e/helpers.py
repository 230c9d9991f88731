"""What the end-to-end tests have in common: small steps, runs that have ended, other processes, reports."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soaptune as st

COMPILERS = ("c++", "g++", "gcc", "cc", "clang", "clang++", "ninja", "nvcc")
METRICS = ("schema_valid", "fact_recall", "rouge_l", "perplexity")
SOURCE = str(Path(st.__file__).parents[1])
"""Where soaptune is imported from: a child must find it too when it is not installed."""


def python(*arguments: str | Path, cwd: Path, umask: int = -1, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter in a folder, as somebody would in a terminal."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": SOURCE, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        umask=umask,
    )


def open_to_others(root: Path) -> list[str]:
    """What lies below a folder, and the folder, with a mode that lets anybody but the owner do anything."""
    found = [entry for entry in (root, *root.rglob("*")) if not entry.is_symlink()]
    assert len(found) > 1, f"there is nothing in {root}"
    return [
        f"{entry.relative_to(root)} {stat.filemode(entry.stat().st_mode)}"
        for entry in found
        if stat.S_IMODE(entry.stat().st_mode) & 0o077
    ]


def generate(backend: st.LocalBackend, *, seed: int, rows: int) -> st.Dataset:
    sizes = {"train": rows, "validation": 4, "test": 4}
    generator = st.DataGenerator(
        task=st.tasks.SOAP, num_samples=sum(sizes.values()), split=sizes, verbosity={"brief": 1}, seed=seed
    )
    return generator.run(on=backend)


def small(preset: str, **changes: Any) -> st.TrainSpec:
    """A preset with small steps, and few of them."""
    return st.TrainSpec.preset(preset).replace(per_device_batch_size=4, max_steps=12, **changes)


@dataclass(frozen=True)
class Run:
    """A training run that has ended, and what went into it."""

    data: st.Dataset
    job: st.Job[Any]

    @property
    def model(self) -> st.Model:
        return self.job.result()

    def losses(self) -> list[float]:
        return [event.data["loss"] for event in self.job.events() if event.kind == "progress"]


@dataclass(frozen=True)
class Runs:
    """Two runs that went on at the same time: an adapter, and all weights on a machine without a compiler."""

    lora: Run
    full: Run
    asked_compilers: Path
    """The file into which the second run's compilers write, when they are called."""


def fake_compilers(folder: Path, asked: Path) -> Path:
    """Programs with the names of compilers that write down that they were called, and fail."""
    folder.mkdir()
    for name in COMPILERS:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho {name} >> '{asked}'\nexit 1\n", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def check_report(file: Path, *, n: int) -> None:
    """That a report holds the metrics of both models with their intervals, of so many examples."""
    report = st.EvalReport.open(file)
    assert report.n == n
    assert report.synthetic
    assert report.lineage.base_model == "soaptune/tiny"
    for name in METRICS:
        metric = report.metrics[name]
        assert metric.low <= metric.value <= metric.high
        assert metric.n == n
    assert "base/schema_valid" in report.metrics
    assert report.comparison
    assert report.predictions_path is not None
    assert report.predictions_path.is_file()
