"""`Machine`: what matters of a machine for a job."""

from __future__ import annotations

from soaptune.config import Config

__all__ = ["Machine"]


class Machine(Config):
    """What matters of a machine for a job."""

    gpus: int = 0
    """CUDA devices that torch could use."""

    cpus: int = 1
    """CPU cores that this process may use."""

    cpp_compiler: bool = False
    """Whether a C++ compiler is on the path."""
