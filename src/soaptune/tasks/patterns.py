"""Regular expressions of a schema: whether constrained decoding can keep one, and how long its texts are."""

from __future__ import annotations

import math
import re
import warnings
from functools import lru_cache
from importlib import import_module
from typing import Any

__all__ = ["need", "problem", "widths"]

_PLAIN = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
_REFUSED = {
    "ASSERT": "it looks ahead or behind",
    "ASSERT_NOT": "it looks ahead or behind",
    "GROUPREF": "it refers back to a group",
    "GROUPREF_EXISTS": "it refers back to a group",
    "ATOMIC_GROUP": "it has a group that is not tried again",
    "POSSESSIVE_REPEAT": "it has a repetition that is not tried again",
}
_MOST_TIMES = 1_000
_ENDLESS = 2**32 - 1
"""What Python's parser takes for the longest width."""


class _RefusedError(ValueError):
    """A pattern that constrained decoding cannot keep."""


@lru_cache(maxsize=256)
def _parsed(pattern: str) -> Any:
    # Python's own parser has no public name: it is `sre_parse` until 3.10 and `re._parser` since.
    parser: Any = getattr(re, "_parser", None) or import_module("sre_parse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about forms that later releases of Python may read otherwise
        return parser.parse(pattern)


def problem(pattern: object) -> str:
    """Why constrained decoding cannot keep a pattern; empty when it can."""
    try:
        parsed = _parsed(str(pattern))
        if parsed.state.flags & ~(re.UNICODE | re.IGNORECASE):
            return "it has flags"
        _need(parsed)
    except _RefusedError as error:
        return str(error)
    except (re.error, RecursionError, OverflowError):
        return "it is no regular expression"
    return ""


def widths(pattern: str) -> tuple[float, float]:
    """The lengths of the shortest and of the longest text that a pattern fits.

    Args:
        pattern: One without a `problem`.
    """
    parsed = _parsed(pattern)
    least, most = parsed.getwidth()
    ends = (
        [str(argument) for operation, argument in (parsed[0], parsed[-1]) if str(operation) == "AT"] if parsed else []
    )
    whole = ends == ["AT_BEGINNING", "AT_END"]
    return float(least), float(most) if whole and most < _ENDLESS else math.inf


def need(pattern: str) -> int:
    """How many characters a text needs at most to fit a pattern, from wherever it has come to.

    Args:
        pattern: One without a `problem`.
    """
    return _need(_parsed(pattern))


def _need(parsed: Any) -> int:
    return sum(_need_of(str(operation), argument) for operation, argument in parsed)


def _need_of(operation: str, argument: Any) -> int:
    if operation in _PLAIN:
        return 1
    if operation == "AT":
        if str(argument) not in ("AT_BEGINNING", "AT_END"):
            raise _RefusedError("it asks for the edge of a word, or has an anchor other than ^ and $")
        return 0
    if operation == "BRANCH":
        return max(_need(branch) for branch in argument[1])
    if operation == "SUBPATTERN":
        if argument[1] or argument[2]:
            raise _RefusedError("it has flags")
        return _need(argument[3])
    if operation in ("MAX_REPEAT", "MIN_REPEAT"):
        if argument[0] > _MOST_TIMES:
            raise _RefusedError("it repeats something too often")
        return max(1, argument[0]) * _need(argument[2])
    raise _RefusedError(_REFUSED.get(operation, "it has a part that is not known"))
