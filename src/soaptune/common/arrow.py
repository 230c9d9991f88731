"""The door to pyarrow: imported when first used, and missing with a helpful word.

pyarrow ships no type information, so that its objects are `Any` to the type checker; the alias `Table` says what is
meant.
"""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

from soaptune.errors import MissingExtraError

__all__ = ["Table", "arrow", "compute", "parquet"]

Table: TypeAlias = Any
"""A `pyarrow.Table`."""


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="train", what="Reading and writing datasets") from error


def arrow() -> Any:
    """The module `pyarrow`.

    Raises:
        MissingExtraError: It is not installed.
    """
    return _load("pyarrow")


def compute() -> Any:
    """The module `pyarrow.compute`."""
    return _load("pyarrow.compute")


def parquet() -> Any:
    """The module `pyarrow.parquet`."""
    return _load("pyarrow.parquet")
