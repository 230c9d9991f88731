"""Errors for people: what is wrong, where, and what to do about it.

Every error that soaptune raises on purpose is a `SoaptuneError` and also the built-in error that fits it, so
that ``except ValueError`` and ``except soaptune.SoaptuneError`` both do what they say. A *check* never raises: it
returns a list of `Violation`, all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = [
    "AnswerError",
    "BackendError",
    "CheckFailed",
    "ConfigError",
    "DataError",
    "EngineError",
    "GateError",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "JobTimeout",
    "MissingExtraError",
    "RequestError",
    "SoaptuneError",
    "Violation",
    "raise_on_errors",
]


class SoaptuneError(Exception):
    """The root of all errors that soaptune raises on purpose.

    It survives pickling with all its attributes, so that process pools and Ray hand it on as it was raised.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with `args`, which lacks what a constructor of our own takes beside the message.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[SoaptuneError], args: tuple[Any, ...]) -> SoaptuneError:
    made_by: type = kind
    while made_by.__module__ != "builtins":  # the built-in error that lays the object out, such as OSError
        made_by = made_by.__base__ or BaseException
    error = made_by.__new__(kind, *args)
    error.args = args
    return error


class ConfigError(SoaptuneError, ValueError):
    """A configuration that cannot work: an unknown field, a value out of range, fields that exclude each other."""


class DataError(SoaptuneError, ValueError):
    """Data that cannot be used. The message names the file, the row and the column, and never quotes the row's text."""


class AnswerError(SoaptuneError, ValueError):
    """A model's answer that is not a valid output of its task.

    Attributes:
        code: What is wrong, as a stable word (see `soaptune.tasks.Task.parse` for the list).
        field: The output field at fault, or None when the answer as a whole is at fault.
    """

    def __init__(self, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class EngineError(SoaptuneError, RuntimeError):
    """A text-generation engine that could not start or could not answer."""


class BackendError(SoaptuneError, RuntimeError):
    """A backend that could not do what was asked of it."""


class JobNotFound(BackendError, LookupError):
    """No job of that id is known to the backend."""


class JobFailed(BackendError):
    """A job ended without a result.

    Attributes:
        job_id: The id under which the backend knows the job.
        log_tail: The last lines of its log.
        hint: What to do about it, or an empty string when the cause is not a known one.
    """

    def __init__(self, message: str, *, job_id: str, log_tail: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.log_tail = tuple(log_tail)
        self.hint = hint


class JobCancelled(JobFailed):
    """A job was cancelled before it ended."""


class JobTimeout(BackendError, TimeoutError):
    """A job did not end in the time that the caller allowed; it goes on running."""


class GateError(SoaptuneError, ValueError):
    """A model was refused because its report does not pass the gates, or is not a report of that model."""


class RequestError(SoaptuneError, ValueError):
    """An endpoint refused a request.

    Attributes:
        status: The HTTP status code.
        code: The endpoint's own word for the reason.
    """

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MissingExtraError(SoaptuneError, ImportError):
    """A step needs packages that the bare install leaves out."""

    def __init__(self, package: str, *, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the package {package!r}. Install it with: pip install 'soaptune[{extra}]'")
        self.package = package
        self.extra = extra


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One finding of a check.

    Attributes:
        path: Where, as a dotted path into the object that was checked (``"lora.r"``).
        code: What, as a stable word (``"lora-without-options"``).
        level: ``"error"`` stops a run, ``"warning"`` does not.
        message: The finding in a sentence.
        hint: What to do about it.
    """

    path: str
    code: str
    message: str
    level: Literal["error", "warning"] = "error"
    hint: str = ""

    def under(self, path: str) -> Violation:
        """The same finding, as seen from the object that holds the one that was checked.

        Args:
            path: Where the checked object stands in it (``"task"``).
        """
        return replace(self, path=f"{path}.{self.path}" if self.path else path)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.level} [{self.code}] {where}{self.message}" + (f" Hint: {self.hint}" if self.hint else "")


class CheckFailed(ConfigError):
    """A step was asked to run although its checks found errors.

    Attributes:
        violations: All findings, warnings included.
    """

    def __init__(self, what: str, violations: Sequence[Violation]) -> None:
        errors = [v for v in violations if v.level == "error"]
        lines = "\n".join(f"  - {v}" for v in errors)
        super().__init__(f"{what} cannot run, {len(errors)} thing(s) to mend:\n{lines}")
        self.violations = tuple(violations)


def raise_on_errors(what: str, violations: Iterable[Violation]) -> list[Violation]:
    """Raises `CheckFailed` when one of the findings is an error; gives the warnings back otherwise.

    Args:
        what: The thing that was checked, as it should appear in the message (``"Trainer"``).
        violations: The findings.

    Returns:
        The findings, none of which is an error.

    Raises:
        CheckFailed: At least one finding has the level ``"error"``.
    """
    found = list(violations)
    if any(v.level == "error" for v in found):
        raise CheckFailed(what, found)
    return found
