"""Checks of what a step is given to run with: a wrong kind of thing is answered with the right one and how to get it.

They come before all other checks, whose errors would speak of missing attributes.
"""

from __future__ import annotations

from typing import Any

from soaptune.errors import ConfigError
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.spec import JobSpec

__all__ = ["require_backend", "require_capabilities", "require_handle", "require_key", "require_spec"]

_HOW_TO_GET = {
    "Dataset": "st.Dataset.open(folder) opens one, st.Dataset.load(source, task=...) makes one of other data",
    "Model": "st.Trainer(spec=...).run(data, on=...) makes one, st.Model.open(folder) opens one",
    "EvalReport": "st.Evaluator().run(model, data, on=...) makes one",
}


def require_backend(on: Any) -> None:
    """Checks that ``on=`` is a backend.

    Args:
        on: What was given.

    Raises:
        ConfigError: It is something else; the message says what, and what to write.
    """
    how = "write on=st.LocalBackend('runs') or on=st.SnowflakeBackend(...)"
    if isinstance(on, type) and callable(getattr(on, "submit", None)):
        how = f"write on={on.__name__}(...)"
    elif isinstance(on, str):
        how = "a folder's name alone says nothing of where jobs run; " + how
    elif all(callable(getattr(on, name, None)) for name in ("preflight", "submit")) and hasattr(on, "name"):
        return
    raise ConfigError(f"on= is {_kind(on)}, and a backend is expected: {how}")


def require_capabilities(given: Any) -> None:
    """Checks that ``given=`` is what a backend can do.

    Args:
        given: What was given.

    Raises:
        ConfigError: It is something else, such as the backend itself.
    """
    if not isinstance(given, Capabilities):
        how = "write given=backend.capabilities"
        raise ConfigError(f"given= is {_kind(given)}, and Capabilities are expected: {how}")


def require_spec(spec: Any) -> None:
    """Checks that what is submitted is a job.

    Args:
        spec: What was given.

    Raises:
        ConfigError: It is something else, such as a step.
    """
    if not isinstance(spec, JobSpec):
        how = "step.submit(..., on=backend) submits a step" if hasattr(spec, "compile") else "st.JobSpec(...) makes one"
        raise ConfigError(f"spec is {_kind(spec)}, and a JobSpec is expected: {how}")


def require_key(key: str | None, *, retry: bool) -> None:
    """Checks that a submission that is to be retried has a key.

    Args:
        key: Its idempotency key.
        retry: Whether it may be retried.

    Raises:
        ConfigError: It has none.
    """
    if retry and key is None:
        raise ConfigError("retry=True tries a failed submission again, which is known by its key: give key= as well")


def require_handle(value: Any, expected: type[Any], name: str, *, optional: bool = False) -> None:
    """Checks that an input of a step is the handle that it must be.

    Args:
        value: What was given.
        expected: `Dataset`, `Model` or `EvalReport`.
        name: The parameter's name.
        optional: Whether None is allowed.

    Raises:
        ConfigError: It is something else; the message says what, and what to write.
    """
    if isinstance(value, expected) or (optional and value is None):
        return
    how = _HOW_TO_GET.get(expected.__name__, f"give a {expected.__name__}")
    if _is_hugging_face(value):
        how = f"give the whole dataset, and name the split in the step's options; {how}"
    elif type(value).__name__ in _HOW_TO_GET or any(base.__name__ in _HOW_TO_GET for base in type(value).__mro__):
        how = f"look at the order of the arguments; {how}"
    elif hasattr(value, "result") and hasattr(value, "wait"):
        how = "job.result() gives it when the job has ended"
    raise ConfigError(f"{name} is {_kind(value)}, and {_article(expected.__name__)} is expected: {how}")


def _is_hugging_face(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "datasets"


def _kind(value: Any) -> str:
    """``"a pandas DataFrame"``, without the value, which may hold rows."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    package = type(value).__module__.partition(".")[0]
    owner = {"builtins": "", "soaptune": "", "__main__": "", "pathlib": "", "datasets": "Hugging Face "}.get(
        package, f"{package} "
    )
    # Of a handle the name that its users know, wherever its content lies.
    names = [base.__name__ for base in type(value).__mro__ if base.__name__ in _HOW_TO_GET]
    words = f"{owner}{names[0] if names and package == 'soaptune' else type(value).__name__}"
    return _article(words)


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'AEIOUaeiou' else 'a'} {words}"
