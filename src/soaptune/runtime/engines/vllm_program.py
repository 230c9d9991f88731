"""Where the program `vllm` comes from: the environment that a person has made for it, or one that is made here.

vLLM needs other versions of the same packages than training does, so it is never a part of a job's own environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from soaptune.common.files import cache_folder, private_folder
from soaptune.errors import EngineError
from soaptune.runtime.engines.process_guard import LEFT_OUT

__all__ = ["find_vllm"]

_PROGRAM, _DONE = "vllm", "complete"
_INSTALL_SECONDS = 1800.0


def find_vllm(command: Sequence[str], requirement: str | None, *, cache: Path | None = None) -> tuple[str, ...]:
    """Finds the program, or installs it into a virtual environment of its own on this machine's disk.

    Args:
        command: How vLLM is started, such as ``("vllm",)`` or ``("/opt/vllm/bin/vllm",)``.
        requirement: What pip installs when there is no program of the name ``vllm``; None never installs. It stays for
            the evaluations that follow.
        cache: The folder of the environments; ``~/.cache/soaptune`` (or below ``XDG_CACHE_HOME``) when None.

    Returns:
        The command line up to vLLM's own arguments.

    Raises:
        EngineError: It is not there and cannot be, or must not be, installed.
    """
    found = shutil.which(command[0])
    if found is not None:
        return (found, *command[1:])
    if requirement is None or command[0] != _PROGRAM:
        raise EngineError(
            f"the program {command[0]!r} was not found; install vLLM in an environment of its own "
            "(python -m venv vllm && vllm/bin/pip install vllm) and name it: "
            "engine=st.engines.VLLM(command=('/path/to/vllm/bin/vllm',))"
        )
    return (str(_installed(requirement, cache or cache_folder())), *command[1:])


def _installed(requirement: str, cache: Path) -> Path:
    name = f"{requirement} {sys.version_info.major}.{sys.version_info.minor}"
    home = cache / f"vllm-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    program = home / "bin" / _PROGRAM
    try:
        private_folder(cache)
        with FileLock(f"{home}.lock", mode=0o600):
            if not (home / _DONE).is_file():
                shutil.rmtree(home, ignore_errors=True)
                print(f"installing {requirement} into {home}; this happens once on a machine", flush=True)
                _run([sys.executable, "-m", "venv", str(home)], requirement)
                _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement], requirement)
                if not program.is_file():
                    raise EngineError(f"{requirement!r} was installed, but has no program {_PROGRAM!r}")
                (home / _DONE).touch()
    except OSError as error:
        raise EngineError(f"{requirement} could not be installed in {home}: {error}") from error
    return program


def _run(command: list[str], requirement: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{requirement} could not be installed: it took longer than {error.timeout:.0f} s") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()][-6:]
        raise EngineError(
            f"{requirement} could not be installed: "
            + " / ".join(lines or ["no reason given"])
            + "\nWhere the package "
            "index cannot be reached, allow it (on Snowflake an external access integration), put vLLM into the image "
            "and name it with st.engines.VLLM(command=...), or use engine='transformers'"
        )
