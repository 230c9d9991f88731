"""What a job needs installed: one table of version bounds, from which each step's ``requirements.txt`` is written.

The bounds are those of ``pyproject.toml``; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["BOUNDS", "EXTRA_OF", "PACKAGES", "StepName", "requirements"]

StepName = Literal["data", "train", "evaluate", "deploy"]
"""The steps that run as jobs."""

BOUNDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # What soaptune itself needs wherever it is imported.
        "pydantic": ">=2.8",
        "PyYAML": ">=6",
        "typing_extensions": ">=4.12",
        "jsonschema": ">=4.20",
        "rich": ">=13",
        "filelock": ">=3.12",
        # The extra "train". The cache's layers, which decoding builds on, have their present form since 4.57.
        "torch": ">=2.4",
        "transformers": ">=4.57,<5",
        "datasets": ">=3",
        "peft": ">=0.13",
        "safetensors": ">=0.4",
        "arctic-training": "==0.8.*",
        # The extra "serve".
        "fastapi": ">=0.110",
        "uvicorn": ">=0.29",
        "httpx": ">=0.27",
        "llguidance": ">=1",
    }
)
"""Which versions of a package soaptune works with."""

_CORE = ("pydantic", "PyYAML", "typing_extensions", "jsonschema", "rich", "filelock")
_MODEL = ("torch", "transformers", "peft", "safetensors")

PACKAGES: Final[Mapping[StepName, tuple[str, ...]]] = MappingProxyType(
    {
        "data": ("datasets", *_CORE),
        "train": ("arctic-training", *_MODEL, "datasets", *_CORE),
        "evaluate": (*_MODEL, "datasets", *_CORE),
        "deploy": (*_MODEL, "fastapi", "uvicorn", "llguidance", *_CORE),
    }
)
"""The packages that each step's job imports, soaptune's own ones included."""


EXTRA_OF: Final[Mapping[str, str]] = MappingProxyType(
    {"fastapi": "train,serve", "uvicorn": "train,serve", "llguidance": "train,serve", "httpx": "serve"}
)
"""The extras that bring a module; ``train`` for those that are not named."""


def requirements(step: StepName) -> str:
    """Writes a step's ``requirements.txt``.

    Args:
        step: The step.

    Returns:
        A line for each package, as pip reads it.
    """
    return "".join(f"{name}{BOUNDS[name]}\n" for name in PACKAGES[step])
