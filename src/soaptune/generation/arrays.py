"""numpy, imported when it is first used.

Its arrays are `Any` to the type checker, as Arrow's objects are (`soaptune.common.arrow`); the aliases say what is
meant, and docstrings say shapes and types.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from soaptune.common.lazy import optional

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
    return optional("numpy", extra="train", what="The heuristic generator")
