"""What a job on this machine finds around it: its own folders and caches, quiet libraries, a fitting share of cores."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from soaptune.errors import BackendError, MissingExtraError
from soaptune.jobs.place import KEEPS_VARIABLE
from soaptune.jobs.spec import JobSpec
from soaptune.local.supervisor import PORT, TEMPORARY

__all__ = ["command_line", "environment", "has_gpu", "left_folders", "program_path"]

_LONGEST_TMP = 60
"""Sockets live in the temporary folder, and their paths may have 107 bytes in all (``man 7 unix``)."""

_NOT_INHERITED = (
    "CROSS_RANK",
    "CROSS_SIZE",
    "GROUP_RANK",
    "LOCAL_RANK",
    "LOCAL_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_PORT",
    "RANK",
    KEEPS_VARIABLE,
    "SOAPTUNE_PORT",
    "WORLD_SIZE",
)
"""Variables of a distributed run around the submitter, in which the job has no part."""


def has_gpu() -> bool:
    """Whether programs that start now see an NVIDIA device, without loading torch to find out."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    wsl = Path("/dev/dxg").exists() and shutil.which("nvidia-smi") is not None
    return wsl or any(Path("/dev").glob("nvidia[0-9]*"))


def environment(spec: JobSpec, stage: Path, *, threads: int | None) -> dict[str, str]:
    """Makes a job's environment variables from this process's and the job's own.

    The model hub's cache is the user's, since it is made for sharing; every other cache is the job's own. The port is
    drawn later, by the supervisor.

    Args:
        spec: The job.
        stage: Its folder.
        threads: How many threads it may compute with; None for what the spec says, or else all cores.

    Returns:
        All variables of the job's process, secrets among them: not to be written anywhere.
    """
    env = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    cache, temporary = stage / "cache", str(_temporary(stage))
    env.update(
        SOAPTUNE_STAGE=str(stage),
        TMPDIR=temporary,
        HF_DATASETS_CACHE=str(cache / "datasets"),
        TORCH_EXTENSIONS_DIR=str(cache / "torch_extensions"),
        TORCHINDUCTOR_CACHE_DIR=str(cache / "inductor"),
        TRITON_CACHE_DIR=str(cache / "triton"),
        MASTER_ADDR="127.0.0.1",
        PYTHONUNBUFFERED="1",
    )
    defaults = {
        "PYTHONIOENCODING": "utf-8",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": str(_cores()),
        # Threads that wait for work sleep soon, so that they do not burn a core that another program could use.
        "GOMP_SPINCOUNT": "20000",
        "KMP_BLOCKTIME": "0",
    }
    for name, value in defaults.items():
        env.setdefault(name, value)
    if threads or spec.resources.cpus:
        env["OMP_NUM_THREADS"] = str(threads or spec.resources.cpus)
    _choose_device(env, spec.resources.gpus)
    env.update(spec.env)
    env.update({name: os.environ[source] for name, source in spec.secrets.items()})
    # What the spec says of these two is kept, but soaptune and the programs beside this interpreter are found first.
    env["PYTHONPATH"] = os.pathsep.join(_import_paths(spec, env.get("PYTHONPATH", "")))
    env["PATH"] = _search_path(env)
    # The spec may name a TMPDIR that others use too, so the supervisor is told apart from it what it may remove.
    env[TEMPORARY] = temporary
    if spec.keeps:
        env[KEEPS_VARIABLE] = str(stage / "keeps")
    return env


def program_path(spec: JobSpec) -> str:
    """Finds the program that a job starts.

    Args:
        spec: The job.

    Returns:
        Its path; a relative one stays relative to ``app/``.

    Raises:
        MissingExtraError: It is ``arctic_training``, which is not installed.
        BackendError: It is another one that is not there.
    """
    program = spec.entrypoint[0]
    if program == "python":
        return sys.executable
    if os.sep in program:
        return program
    found = shutil.which(program, path=_search_path({**os.environ, **spec.env}))
    if found is not None:
        return found
    if program == "arctic_training":
        raise MissingExtraError("arctic-training", extra="train", what="Training")
    raise BackendError(f"the program {program!r} is neither beside {sys.executable} nor on the PATH")


def command_line(spec: JobSpec) -> list[str]:
    """A job's command line as this machine runs it.

    Args:
        spec: The job.

    Returns:
        Program and arguments; the supervisor puts the job's port in place of `supervisor.PORT`.

    Raises:
        MissingExtraError: The program is ``arctic_training``, which is not installed.
        BackendError: The program is not there.
    """
    command = [program_path(spec), *spec.entrypoint[1:]]
    named = any(part.startswith("--master_port") for part in command)
    if spec.entrypoint[0] == "arctic_training" and not named:
        # The DeepSpeed launcher's own port is the same for every run on a machine. In one word, since ArcticTraining's
        # parser would take the number for a second config file.
        command.append(f"--master_port={PORT}")
    return command


def _choose_device(env: dict[str, str], gpus: int | None) -> None:
    if gpus == 0 or not has_gpu():
        env.setdefault("DS_ACCELERATOR", "cpu")
        env["LOCAL_SIZE"] = "1"  # DeepSpeed would start a rank for each NUMA node
        if gpus == 0:
            env["CUDA_VISIBLE_DEVICES"] = ""
    elif gpus is not None:
        visible = env.get("CUDA_VISIBLE_DEVICES", "")
        devices = visible.split(",") if visible else [str(number) for number in range(gpus)]
        env["CUDA_VISIBLE_DEVICES"] = ",".join(devices[:gpus])


def _cores() -> int:
    # Not the machine's number: a container or `taskset` may leave fewer to us.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _temporary(stage: Path) -> Path:
    temporary = stage / "tmp"
    if len(os.fsencode(temporary)) > _LONGEST_TMP:
        return Path(tempfile.mkdtemp(prefix=_mark(stage)))
    temporary.mkdir(mode=0o700, exist_ok=True)
    return temporary


def _mark(stage: Path) -> str:
    return f"soaptune-{hashlib.sha256(os.fsencode(stage)).hexdigest()[:12]}-"


def left_folders(stage: Path) -> list[Path]:
    """The caches and temporary folders of a job that are there; its supervisor removes them unless it is killed.

    Args:
        stage: The job's folder.
    """
    found = [stage / "cache", stage / "tmp"]
    found += sorted(Path(tempfile.gettempdir()).glob(_mark(stage) + "*"))
    # The last ones lie where everybody may make folders of any name.
    return [each for each in found if each.is_dir() and not each.is_symlink() and each.stat().st_uid == os.getuid()]


def _import_paths(spec: JobSpec, inherited: str) -> list[str]:
    """Where the job imports from: the user's code, and soaptune itself where it is not installed."""
    package = str(Path(__file__).resolve().parents[2])
    installed = {str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib")}
    # An installed package is found anyway, and its folder would come before the standard library.
    own = [] if package in installed else [package]
    return [*(str(Path(p).expanduser().absolute()) for p in spec.code_paths), *own, *([inherited] if inherited else [])]


def _search_path(env: Mapping[str, str]) -> str:
    """The PATH with this interpreter's own scripts first, so that a job never runs another environment's."""
    own = dict.fromkeys([str(Path(sys.executable).parent), sysconfig.get_path("scripts")])
    return os.pathsep.join([*own, env.get("PATH", os.defpath)])
