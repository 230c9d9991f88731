"""pyarrow, imported when it is first used.

pyarrow ships no type information, so that its objects are `Any` to the type checker; the alias `Table` says what is
meant.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from soaptune.common.lazy import optional

__all__ = ["Table", "arrow", "compute", "ipc", "parquet"]

Table: TypeAlias = Any
"""A `pyarrow.Table`."""


def _load(module: str) -> Any:
    return optional(module, package="pyarrow", extra="train", what="Reading and writing datasets")


def arrow() -> Any:
    """The module `pyarrow`.

    Raises:
        MissingExtraError: It is not installed.
    """
    return _load("pyarrow")


def compute() -> Any:
    """The module `pyarrow.compute`."""
    return _load("pyarrow.compute")


def ipc() -> Any:
    """The module `pyarrow.ipc`."""
    return _load("pyarrow.ipc")


def parquet() -> Any:
    """The module `pyarrow.parquet`."""
    return _load("pyarrow.parquet")
