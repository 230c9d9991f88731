"""Hooks: what a task brings along as code, named by an import path such as ``"package.module:Name"``.

A path and not an object, so that it travels into a job as text; the job imports it from the installed package or from
the caller's ``code_paths``. What is imported here has been allowed by the caller: see `soaptune.tasks.code`.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable
from typing import Any, cast

from typing_extensions import TypedDict

from soaptune.common.wording import did_you_mean
from soaptune.errors import ConfigError, Violation

__all__ = ["Hooks", "check_hook", "given_hooks", "load_hook", "load_lexicon"]


class Hooks(TypedDict, total=False):
    """The hooks that a task can have: arguments of `Task`, and entries of ``hooks`` in a task and in its spec."""

    generator: str | None
    """The class that makes examples from templates; see `soaptune.generation.protocol.ExampleGenerator`."""
    lexicon: str | None
    """A function without arguments that gives the terms which an answer must not invent."""


def given_hooks(hooks: object) -> dict[str, str]:
    """The hooks that a task has, by name.

    Args:
        hooks: The mapping as it was given, with None for a hook that the task does not have.

    Raises:
        ValueError: There is no hook of a name, or one is not text.
    """
    if not isinstance(hooks, dict):
        raise ValueError("a task's hooks are a mapping from names to import paths")
    known = tuple(Hooks.__annotations__)
    found: dict[str, str] = {}
    for name, path in cast("dict[Any, Any]", hooks).items():
        if name not in known:
            raise ValueError(f"a task has no hook {name!r}{did_you_mean(str(name), known)}")
        if isinstance(path, str):
            found[name] = path
        elif path is not None:
            raise ValueError(f"the hook {name!r} is an import path, such as 'package.module:Name'")
    return found


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


def load_hook(path: str, *, allow_code: Collection[str] = ()) -> Any:
    """Imports what a hook names, if the caller allows it.

    Args:
        path: The import path.
        allow_code: The modules and packages whose code may run beside soaptune's own.

    Returns:
        The class or function.

    Raises:
        ConfigError: The path has the wrong form, its module is not allowed, or nothing can be imported under it.
    """
    from soaptune.tasks.code import check_allowed

    found = check_hook(path, at="") or check_allowed(path, at="", allow_code=allow_code)
    if found:
        raise ConfigError(f"{found[0].message} {found[0].hint}")
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"The module {module!r} of the hook {path!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ConfigError(f"The module {module!r} has no {name!r}.") from error


def load_lexicon(path: str, *, allow_code: Collection[str] = ()) -> tuple[str, ...]:
    """Asks a task's lexicon for its terms.

    Args:
        path: Import path of a function without arguments that gives strings.
        allow_code: The modules and packages whose code may run beside soaptune's own.

    Returns:
        The terms, each once, in alphabetical order.

    Raises:
        ConfigError: The function is not allowed, cannot be imported, fails, or gives something else than strings.
    """
    try:
        given: Any = load_hook(path, allow_code=allow_code)()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"The lexicon {path!r} failed: {type(error).__name__}: {error}") from error
    found = [] if isinstance(given, str) or not isinstance(given, Iterable) else list(cast("Iterable[Any]", given))
    if not found or not all(isinstance(term, str) and term.strip() for term in found):
        raise ConfigError(f"The lexicon {path!r} must give terms: a collection of strings, none of them empty.")
    return tuple(sorted(set(found)))
