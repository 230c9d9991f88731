"""Which of the code that tasks bring along may run, and what that code is.

An import path in a file that somebody else has written must not run what it names. It does when it is soaptune's own,
lies in a folder of the caller's ``code_paths``, or was named by the caller in ``allow_code``. The decision is made
where a step is planned and travels in the plan; a job runs the hooks of its plan and no others.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from soaptune.common.fingerprint import fingerprint
from soaptune.config import Config
from soaptune.errors import ConfigError, Violation
from soaptune.tasks.hooks import check_hook

__all__ = ["Hook", "allowed_hook", "check_allowed", "module_of"]


class Hook(Config):
    """A hook that a plan allows a job to run."""

    path: str
    """Its import path."""

    code: str = ""
    """Fingerprint of its source, so that a plan with other code is another one; empty where there is none here."""

    @property
    def module(self) -> str:
        """The module that the job may import for it."""
        return module_of(self.path)


def module_of(path: str) -> str:
    """The module of an import path."""
    return path.partition(":")[0]


def check_allowed(
    path: str, *, at: str, allow_code: Collection[str] = (), code_paths: Iterable[str] = ()
) -> list[Violation]:
    """Looks whether the caller allows what an import path names. Nothing is imported.

    Args:
        path: The import path.
        at: The name of the field that holds it, for the finding.
        allow_code: The modules and packages that the caller named.
        code_paths: The caller's own folders of code.

    Returns:
        Nothing, or one finding: ``"code-not-allowed"``.
    """
    module = module_of(path)
    named = any(module == one or module.startswith(f"{one}.") for one in allow_code)
    if named or _is_own(path) or _source_below(module, code_paths) is not None:
        return []
    return [
        Violation(
            path=at,
            code="code-not-allowed",
            message=f"The task names code of the module {module!r} ({path}), which nobody here has allowed to run.",
            hint=f"If you trust that module, name it: allow_code=({module.partition('.')[0]!r},). Code of your own is "
            "allowed by its folder in code_paths.",
        )
    ]


def allowed_hook(path: str, *, allow_code: Collection[str] = (), code_paths: Iterable[str] = ()) -> Hook:
    """A hook with the fingerprint of its code, if the caller allows it.

    Args:
        path: The import path.
        allow_code: The modules and packages that the caller named.
        code_paths: The caller's own folders of code.

    Raises:
        ConfigError: The path has the wrong form, or its module is not allowed.
    """
    folders = tuple(code_paths)
    found = check_hook(path, at="") or check_allowed(path, at="", allow_code=allow_code, code_paths=folders)
    if found:
        raise ConfigError(f"{found[0].message} {found[0].hint}")
    return Hook(path=path, code=_code(path, folders))


def _is_own(path: str) -> bool:
    """Whether it is a hook of one of soaptune's tasks: not any function of soaptune's that somebody may name."""
    if not path.startswith("soaptune."):
        return False
    from soaptune.tasks import built_in

    return any(path in task.hooks.values() for task in built_in())


def _code(path: str, code_paths: tuple[str, ...]) -> str:
    """The fingerprint of a hook's module, and of the modules beside it in its package."""
    if _is_own(path):
        from soaptune import __version__

        return f"soaptune {__version__}"
    module = module_of(path)
    file = _source_below(module, code_paths) or _installed_source(module)
    if file is None:
        return ""
    files = sorted(file.parent.glob("*.py")) if (file.parent / "__init__.py").is_file() else [file]
    try:
        return fingerprint({one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files})
    except OSError as error:
        raise ConfigError(f"{error.filename}: the code of {path!r} cannot be read: {error.strerror}") from error


def _source_below(module: str, folders: Iterable[str | Path]) -> Path | None:
    """The file of a module in one of some folders, from which a job imports it before anything that is installed."""
    parts = module.split(".")
    if parts[0] == "soaptune" or parts[0] in sys.stdlib_module_names:
        return None  # these are found first, whatever lies in the folders
    for folder in folders:
        place = Path(folder).expanduser().absolute().joinpath(*parts)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
    return None


def _installed_source(module: str) -> Path | None:
    """The file of a module that is installed, without importing the packages that it lies in."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if not below:
        return Path(spec.origin) if spec.origin and Path(spec.origin).suffix == ".py" else None
    return _source_below(".".join(below), spec.submodule_search_locations or ())
