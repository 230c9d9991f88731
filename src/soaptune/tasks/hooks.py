"""Hooks: what a task brings along as code, named by an import path such as ``"package.module:Name"``.

A path and not an object, so that it travels into a job as text; the job imports it from the installed package or from
the caller's ``code_paths``.
"""

from __future__ import annotations

import importlib
from typing import Any

from soaptune.errors import ConfigError, Violation

__all__ = ["check_hook", "load_hook"]


def check_hook(path: str, *, at: str) -> list[Violation]:
    """Checks the form of an import path, without importing anything.

    Args:
        path: The import path.
        at: The name of the field that holds it, for the finding.

    Returns:
        Nothing, or one finding: ``"bad-hook"`` or ``"hook-in-main"``.
    """
    module, _, name = path.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        return [
            Violation(
                path=at,
                code="bad-hook",
                message=f"{path!r} is not an import path.",
                hint='Write it as "package.module:Name".',
            )
        ]
    if module == "__main__":
        return [
            Violation(
                path=at,
                code="hook-in-main",
                message=f"{name} lives in __main__, which a job cannot import.",
                hint="Move it into a module of its own and name its folder in code_paths.",
            )
        ]
    return []


def load_hook(path: str) -> Any:
    """Imports what a hook names.

    Args:
        path: The import path.

    Returns:
        The class or function.

    Raises:
        ConfigError: The path has the wrong form, or nothing can be imported under it.
    """
    found = check_hook(path, at="")
    if found:
        raise ConfigError(f"{found[0].message} {found[0].hint}")
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"The module {module!r} of the hook {path!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ConfigError(f"The module {module!r} has no {name!r}.") from error
