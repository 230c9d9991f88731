"""The unit tests need no PyTorch: what only asks whether the packages of an extra are installed is answered yes."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec

import pytest

EXTRAS = frozenset({"torch", "transformers", "peft", "safetensors", "arctic_training", "deepspeed"})


@pytest.fixture(autouse=True)
def extras_count_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preflight on this machine finds the packages that training and serving need, installed or not."""
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> ModuleSpec | None:
        return find(name, package) or (ModuleSpec(name, None) if name in EXTRAS else None)

    monkeypatch.setattr(importlib.util, "find_spec", found)
