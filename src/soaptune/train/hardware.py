"""What a machine forces to change in a spec, and what it cannot do at all.

The machine is looked at without torch: importing it takes seconds, and a parent process has no other use for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from soaptune.config import Config
from soaptune.errors import Violation
from soaptune.train.options import DeepSpeedOptions, OptimizerOptions
from soaptune.train.spec import TrainSpec

__all__ = ["Change", "Machine", "adapt", "detect", "impossible"]


class Machine(Config):
    """What matters of a machine for training."""

    gpus: int = 0
    """CUDA devices that torch could use."""

    cpus: int = 1
    """CPU cores that this process may use."""

    cpp_compiler: bool = False
    """Whether a C++ compiler is on the path."""


class Change(Config):
    """One choice that is made otherwise than the spec says, because of the machine."""

    path: str
    """Where, as a dotted path into the spec."""

    before: str
    after: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} -> {self.after} ({self.reason})"


def adapt(spec: TrainSpec, machine: Machine) -> tuple[TrainSpec, tuple[Change, ...]]:
    """Changes what a machine cannot do or does badly, and nothing else.

    What a spec learns from (data, epochs, batch sizes, learning rates) is never changed.

    Args:
        spec: The choices.
        machine: The machine that is to train.

    Returns:
        The spec to run there, and the changes that were made to it, for the user to see.
    """
    workers = max(1, machine.cpus - 1)
    runs_anywhere = "muon" if spec.optimizer.name == "muon" else "adamw"
    wanted: list[tuple[str, Any, str]]
    if machine.gpus == 0:
        why = "this machine has no GPU"
        wanted = [
            ("dtype", "fp32", f"{why}, and half precision is slower on a CPU"),
            ("attn_implementation", "sdpa", why),
            ("optimizer.name", runs_anywhere, "runs on a CPU without a compiler"),
            ("deepspeed.stage", 0, f"{why}, so there is nothing to spread the state over"),
            ("deepspeed.offload_optimizer", False, why),
            ("deepspeed.offload_param", False, why),
            ("num_proc", 1, "further processes would take the cores from training"),
            ("dataloader_num_workers", 1, "further processes would take the cores from training"),
        ]
        if spec.attn_implementation == "eager":
            wanted = [w for w in wanted if w[0] != "attn_implementation"]
    else:
        wanted = [
            ("num_proc", min(spec.num_proc, machine.cpus), f"this machine has {machine.cpus} core(s)"),
            ("dataloader_num_workers", min(spec.dataloader_num_workers, workers), f"{machine.cpus} core(s)"),
        ]
    changes = tuple(
        Change(path=path, before=str(_get(spec, path)), after=str(after), reason=reason)
        for path, after, reason in wanted
        if _get(spec, path) != after
    )
    if not changes:
        return spec, ()
    after = {path: value for path, value, _ in wanted}
    optimizer: OptimizerOptions = spec.optimizer
    deepspeed: DeepSpeedOptions = spec.deepspeed
    if machine.gpus == 0:
        optimizer = optimizer.replace(name=after["optimizer.name"])
        deepspeed = DeepSpeedOptions()
    plain = {path: value for path, value in after.items() if "." not in path}
    return spec.replace(**plain, optimizer=optimizer, deepspeed=deepspeed), changes


def impossible(spec: TrainSpec, machine: Machine) -> list[Violation]:
    """What of a spec a machine cannot do; to be asked after `adapt`, before anything starts.

    Args:
        spec: The choices as they would run.
        machine: The machine that is to train.
    """
    found: list[Violation] = []
    builds = spec.optimizer.name if spec.optimizer.name in ("cpu_adam", "fused_adam") else ""
    if builds and not machine.cpp_compiler:
        found.append(
            Violation(
                path="optimizer.name",
                code="needs-compiler",
                message=f"{builds} builds C++ when it starts, and this machine has no C++ compiler",
                hint='Install one (Debian and Ubuntu: "apt install g++"), or set optimizer.name="adamw" '
                "and deepspeed.offload_optimizer=False.",
            )
        )
    if machine.gpus == 0 and spec.dtype == "fp16":
        found.append(
            Violation(
                path="dtype",
                code="fp16-on-cpu",
                message="fp16 needs a GPU: its loss scaling is not there on a CPU",
                hint='Set dtype="fp32".',
            )
        )
    if machine.gpus == 0 and spec.attn_implementation.startswith("flash_attention"):
        found.append(
            Violation(
                path="attn_implementation",
                code="flash-attention-on-cpu",
                message=f"{spec.attn_implementation} needs a GPU",
                hint='Set attn_implementation="sdpa".',
            )
        )
    return found


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


def _get(spec: TrainSpec, path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value
