"""What a job on this machine finds around it: its own folders and ports, quiet libraries, a fitting number of threads."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
import tempfile
from pathlib import Path

from soaptune.errors import BackendError
from soaptune.jobs.spec import JobSpec

__all__ = ["command_line", "environment", "free_port", "has_gpu"]

_LONGEST_TMP = 60
"""Sockets live in the temporary folder, and their paths may have 107 characters in all (``man 7 unix``)."""


def free_port() -> int:
    """A port of the loopback interface that no program listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_gpu() -> bool:
    """Whether this machine shows an NVIDIA device, without loading torch to find out."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def environment(spec: JobSpec, stage: Path, *, threads: int | None) -> dict[str, str]:
    """Makes a job's environment variables from this process's and the job's own.

    Args:
        spec: The job.
        stage: Its folder.
        threads: How many threads it may compute with.

    Returns:
        All variables of the job's process.
    """
    env = dict(os.environ)
    temporary = stage / "tmp"
    if len(str(temporary)) > _LONGEST_TMP:
        temporary = Path(tempfile.mkdtemp(prefix="soaptune-"))
    else:
        temporary.mkdir(exist_ok=True)
    package = Path(__file__).resolve().parents[2]
    paths = [*(str(Path(p).absolute()) for p in spec.code_paths), str(package), env.get("PYTHONPATH", "")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    port = str(free_port())
    env.update(
        SOAPTUNE_STAGE=str(stage),
        TMPDIR=str(temporary),
        HF_DATASETS_CACHE=str(stage / "cache" / "datasets"),
        TORCH_EXTENSIONS_DIR=str(stage / "cache" / "torch_extensions"),
        TRITON_CACHE_DIR=str(stage / "cache" / "triton"),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
        SOAPTUNE_PORT=port,
        PYTHONPATH=os.pathsep.join(p for p in paths if p),
        PYTHONUNBUFFERED="1",
        PATH=os.pathsep.join([_scripts(), env.get("PATH", os.defpath)]),
    )
    quiet = {
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": str(threads or cores),
        # Threads that wait for work must not burn the core that another program could use.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if not has_gpu():
        quiet["DS_ACCELERATOR"] = "cpu"
    for name, value in quiet.items():
        env.setdefault(name, value)
    if threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
    env.update(spec.env)
    env.update({name: os.environ[source] for name, source in spec.secrets.items()})
    return env


def command_line(spec: JobSpec, env: dict[str, str]) -> list[str]:
    """A job's command line as this machine runs it.

    Args:
        spec: The job.
        env: Its environment.

    Returns:
        Program and arguments.

    Raises:
        BackendError: The program is not installed.
    """
    program, *arguments = spec.entrypoint
    if program == "python":
        return [sys.executable, *arguments]
    found = shutil.which(program, path=env["PATH"])
    if found is None:
        hint = " (pip install 'soaptune[train]')" if program == "arctic_training" else ""
        raise BackendError(f"the program {program!r} is not installed beside {sys.executable}{hint}")
    if program == "arctic_training":
        # Its launcher's own port is the same for every run on a machine.
        arguments += ["--master_port", env["MASTER_PORT"]]
    return [found, *arguments]


def _scripts() -> str:
    """The folder with the console scripts of this interpreter's environment."""
    beside = Path(sys.executable).parent
    return str(beside) if (beside / "arctic_training").exists() else sysconfig.get_path("scripts")
