"""From a model's answer to the task's output, or to an error that names what is wrong with it.

Parsing is strict: the answer is one JSON object and nothing else, since what is let through here is what a service
gives its callers. `CODES` lists what can be wrong, in the order in which it is looked for; an answer with several
faults is reported by the first of them. No message quotes the answer: the only names in it are those of the task's
own fields.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, cast

from soaptune.errors import AnswerError
from soaptune.tasks.spec import TaskSpec
from soaptune.tasks.validation import Fault, find_faults, names_of, path_text

__all__ = ["CODES", "MAX_DEPTH", "decode", "fault", "parse"]

CODES: Mapping[str, str] = MappingProxyType(
    {
        "empty": "The answer is empty.",
        "fenced": "The answer begins with a Markdown code fence.",
        "surrounding-text": "The answer has text before or after its JSON object.",
        "not-json": "The answer is not JSON, or is nested too deeply.",
        "not-object": "The answer is JSON, but not an object.",
        "duplicate-field": "The answer gives a field more than once.",
        "missing-field": "The answer lacks a field.",
        "extra-field": "The answer has a field that the output does not have.",
        "wrong-type": "A field's value has the wrong type.",
        "invalid-value": "A field's value has the right type, but is not allowed.",
    }
)
"""What can be wrong with an answer, in the order in which it is looked for."""

MAX_DEPTH = 32
"""Objects and lists may be nested this deeply; an answer beyond is not JSON that anybody asked for."""

_ORDER = {code: place for place, code in enumerate(CODES)}
_SPACE = " \t\n\r"  # what JSON allows around a value
_STARTS = 32  # places at which an object is looked for in an answer that does not begin with one


class _NotStrictJsonError(ValueError):
    """A value that Python's reader takes although JSON does not have it."""


def decode(text: str) -> dict[str, Any]:
    """Reads an answer's JSON object.

    Args:
        text: What the model wrote. White space around the object is no fault.

    Returns:
        The object, with unique keys, without NaN, infinities and lone surrogates, at most `MAX_DEPTH` deep.

    Raises:
        AnswerError: With the first six of `CODES`.
    """
    stripped = text.strip(_SPACE)
    if not stripped.strip():
        _refuse("empty")
    if stripped.startswith(("```", "~~~")):
        _refuse("fenced")
    repeated = False

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated = repeated or len(found) < len(pairs)
        return found

    decoder = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_no_constant, parse_float=_finite)
    value: Any = None
    code = ""
    try:
        value = decoder.decode(stripped)
    except (RecursionError, _NotStrictJsonError):
        code = "not-json"
    except ValueError:
        code = "surrounding-text" if _holds_object(stripped) else "not-json"
    # Refused only here, outside of the "except": the reader's own error carries the whole answer.
    if not code and (_too_deep(value) or not _encodable(stripped, value)):
        code = "not-json"
    if not code and not isinstance(value, dict):
        code = "not-object"
    if not code and repeated:
        code = "duplicate-field"
    if code:
        _refuse(code)
    return cast("dict[str, Any]", value)


def parse(spec: TaskSpec, text: str) -> dict[str, Any]:
    """Reads a model's answer as the task's output, without its class.

    Args:
        spec: The task.
        text: What the model wrote.

    Returns:
        The output as a mapping of its fields, as the JSON has it: nothing is converted, no default filled in.

    Raises:
        AnswerError: The answer is no valid output; its ``code`` is one of `CODES`.
    """
    value = decode(text)
    faults = find_faults(spec.output_schema, value)
    if faults:
        raise fault(faults, value=value, names=names_of(spec.output_schema))
    return value


def fault(faults: Iterable[Fault], *, value: Any, names: frozenset[str]) -> AnswerError:
    """Makes the error for what is wrong with an output: its first fault by code, then by place.

    Args:
        faults: What was found.
        value: The output, to distinguish places in it from other marks in a path.
        names: The field names that the message may quote.

    Returns:
        The error. Its ``field`` is a path (``"plan[0].dose"``) of which unknown keys are written as ``*``; for an
        extra field it is the object that holds it.
    """
    placed = [(code, path_text(place, value, names), detail) for code, place, detail in faults]
    code, place, detail = min(placed, key=lambda found: (_ORDER[found[0]], found[1]))
    where = f" ({'inside ' if code == 'extra-field' else 'field '}{place!r})" if place else ""
    why = f": {detail}" if detail else ""
    return AnswerError(code, f"{CODES[code].rstrip('.')}{where}{why}.", field=place or None)


def _refuse(code: str) -> NoReturn:
    raise AnswerError(code, CODES[code])


def _no_constant(_: str) -> NoReturn:
    raise _NotStrictJsonError


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _NotStrictJsonError
    return value


def _too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(cast("dict[str, Any]", item).values())
            elif isinstance(item, list):
                inner.extend(cast("list[Any]", item))
        if not inner:
            return False
        level = inner
    return True


def _encodable(text: str, value: Any) -> bool:
    try:
        text.encode()
        if "\\u" in text:  # only an escape can hide a lone surrogate
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds_object(text: str) -> bool:
    """Whether a complete JSON object stands in the text; in one that begins with a bracket, only at its start."""
    if text.startswith("["):
        return False
    decoder = json.JSONDecoder()
    start = text.find("{")
    for _ in range(1 if start == 0 else _STARTS):
        if start < 0:
            break
        try:
            decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
        else:
            return True
    return False
