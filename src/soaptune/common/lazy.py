"""Optional packages: imported when they are first needed, and missing with the name of the extra that brings them."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from soaptune.errors import MissingExtraError

__all__ = ["optional", "require"]


def optional(module: str, *, package: str = "", extra: str, what: str) -> Any:
    """Imports a module of an optional package.

    Args:
        module: The module (``"snowflake.ml.jobs"``).
        package: What pip calls its package; the module's name when empty.
        extra: The extra of soaptune that brings the package.
        what: What needs it, as the beginning of a sentence (``"Dataset[split]"``).

    Returns:
        The module. It is `Any` to the type checker, because not all environments have the package.

    Raises:
        MissingExtraError: It cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package or module, extra=extra, what=what) from error


def require(*modules: str, extra: str, what: str) -> None:
    """Says which package is missing, without importing those that are there: some take seconds.

    Args:
        *modules: Top-level modules, named as their packages are.
        extra: The extra of soaptune that brings them.
        what: What needs them.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module, extra=extra, what=what)
