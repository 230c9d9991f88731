"""The arguments of a `SnowflakeBackend`: all that is wrong with them, at once and before anything connects.

What reaches the SDK is checked here, since it puts some of it into SQL as it is and only warns about the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from soaptune.errors import ConfigError
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.names import fold, split

if TYPE_CHECKING:
    from soaptune.snowflake.backend import SnowflakeBackend

__all__ = ["names", "problems"]

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_NOT_IN_PATHS = frozenset("/\\'\n\r\t")


_CREDENTIALS = re.compile(r"://[^/@\s]+@")
"""A user or token in an address; the plain ``git+ssh://git@`` is no secret, but needs a key that no job has."""


def names(what: str, given: Sequence[str]) -> tuple[str, ...]:
    """An argument that is a list of names.

    Args:
        what: The argument.
        given: Its value.

    Raises:
        ConfigError: It is one text, whose letters would be taken for the names.
    """
    if isinstance(given, str):
        raise ConfigError(f"SnowflakeBackend: {what} is a list of names; write {what}=[{given!r}]")
    return tuple(given)


def problems(backend: SnowflakeBackend, *, ways: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a backend's arguments.

    Args:
        backend: The backend; its arguments are set, nothing else is.
        ways: The ways to connect, by argument.

    Yields:
        A sentence for each finding; none quotes a value that may be secret.
    """
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        yield f"{' and '.join(given)} exclude each other: there is one way to connect"
    if _PLAIN.fullmatch(str(backend.compute_pool).strip('"')) is None:
        yield f"compute_pool={backend.compute_pool!r} is not a plain name (letters, digits, _ and $), as pools have"
    for name in ("database", "schema", "stage"):
        try:
            exact = [fold(getattr(backend, name))] if name != "stage" else split(backend.stage)
        except (ConfigError, TypeError, AttributeError) as error:
            yield f"{name}: {error}"
            continue
        if any(_NOT_IN_PATHS.intersection(part) for part in exact):
            yield f"{name}={getattr(backend, name)!r} has a character that the path of a stage cannot hold"
        if len(exact) > 3:
            yield f"stage={backend.stage!r} has more than the three parts DATABASE.SCHEMA.STAGE"
    for name in ("warehouse", "role", "experiment"):
        value = getattr(backend, name)
        try:
            if value is not None:
                fold(value)
        except (ConfigError, TypeError) as error:
            yield f"{name}: {error}"
    for integration in backend.external_access_integrations:
        try:
            fold(integration)
        except (ConfigError, TypeError) as error:
            yield f"external_access_integrations: {error}"
    image = backend.runtime_environment
    if image is not None and _IMAGE.fullmatch(image) is None:
        yield f"runtime_environment={image!r} is neither a tag (2.3.1) nor an image (repository/image:tag)"
    most, least = backend.target_instances, backend.min_instances
    if not _count(most):
        yield f"target_instances={most!r} must be a whole number from 1"
    elif least is not None and not (_count(least) and least <= most):
        yield f"min_instances={least!r} must be a whole number from 1 to target_instances={most}"
    try:
        JobSpec(name="env", entrypoint=("env",), env=backend.env)
    except ConfigError as error:
        yield str(error).removeprefix("JobSpec: ")
    for number, text in enumerate(backend.pip_requirements):
        if _CREDENTIALS.search(text):
            yield f"pip_requirements[{number}] carries a password or token, and requirements are written to the stage"
        elif not text.strip() or "\n" in text:
            yield f"pip_requirements: {text!r} is not one requirement"


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
