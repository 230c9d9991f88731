"""Keeps DeepSpeed from building C++ at run time for something that a CPU run does not need.

On a CPU, DeepSpeed's torch backend builds a shared-memory communication op with the machine's C++ compiler when it
starts (``deepspeed/comm/torch.py``, ``build_shm_op``, 0.19.8). It only speeds up all-reduces between ranks of one
machine; without it the same calls go through gloo. So that a machine without a compiler can train, we say that there is none.
"""

from __future__ import annotations

import deepspeed.comm.torch as ds_torch

__all__ = ["install"]


def install() -> None:
    """Makes DeepSpeed use gloo's own collectives on CPU."""
    ds_torch.build_shm_op = lambda: None
