"""What a machine forces to change in a spec, and what it cannot do at all."""

from __future__ import annotations

from typing import Any

from soaptune.config import Config
from soaptune.errors import Violation
from soaptune.jobs.machine import Machine
from soaptune.train.options import DeepSpeedOptions, OptimizerOptions
from soaptune.train.spec import TrainSpec

__all__ = ["Change", "adapt", "impossible"]


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


def _get(spec: TrainSpec, path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value
