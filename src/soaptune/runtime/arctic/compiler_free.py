"""Keeps DeepSpeed from building C++ at run time for something that a CPU run does not need.

On a CPU, DeepSpeed's torch backend builds a shared-memory communication op with the machine's C++ compiler when it
starts (``deepspeed/comm/torch.py``, ``build_shm_op``, 0.19.8). It only speeds up all-reduces between ranks of one
machine; without it the same calls go through gloo. So that a machine without a compiler can train, we say that there
is none.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["install"]


def install() -> None:
    """Makes DeepSpeed use gloo's own collectives on CPU."""
    # Not by attribute: `deepspeed.comm` imports torch itself under the same name as this submodule.
    backend: Any = importlib.import_module("deepspeed.comm.torch")
    backend.build_shm_op = _no_op


def _no_op() -> None:
    """Stands for an op that is not there."""
