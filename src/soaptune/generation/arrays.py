"""The door to numpy: imported when first used, and missing with a helpful word.

Its arrays are `Any` to the type checker, as Arrow's objects are (`soaptune.common.arrow`); the aliases say what is
meant, and docstrings say shapes and types.
"""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

from soaptune.errors import MissingExtraError

__all__ = ["Bools", "Ints", "numpy"]

Ints: TypeAlias = Any
"""A numpy array of integers."""

Bools: TypeAlias = Any
"""A numpy array of truth values."""


def numpy() -> Any:
    """The module `numpy`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise MissingExtraError("numpy", extra="train", what="The heuristic generator") from error
