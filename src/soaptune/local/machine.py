"""What this machine has.

It is looked at without torch: importing it takes seconds, and a parent process has no other use for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from soaptune.jobs.machine import Machine

__all__ = ["detect"]


@lru_cache(maxsize=1)
def detect() -> Machine:
    """Looks at this machine; what it found is kept for the life of the process."""
    return Machine(
        gpus=_gpus(),
        cpus=_cpus(),
        cpp_compiler=any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "c++", "g++", "clang++")),
    )


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return 0
    try:
        if "+cpu" in metadata.version("torch"):
            return 0  # a GPU may be there, but this torch cannot use it
    except metadata.PackageNotFoundError:
        pass  # the parent need not have torch: the job's environment may
    count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if count == 0 and shutil.which("nvidia-smi"):
        try:
            listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=False)
            count = sum(1 for line in listed.stdout.splitlines() if line.startswith("GPU "))
        except (OSError, subprocess.TimeoutExpired):
            count = 0
    return count if visible is None else min(count, len(visible.split(",")))
