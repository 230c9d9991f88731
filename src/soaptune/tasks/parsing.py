"""From a model's answer to the task's output, or to an error that says what is wrong with it.

Parsing is strict: the answer is one JSON object and nothing else, since what is let through here is what a service
gives its callers. `CODES` lists what can be wrong, in the order in which it is looked for; an answer with several
faults is reported by the first of them. No message quotes the answer: the only names in it are those of the task's
own fields.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from soaptune.errors import AnswerError
from soaptune.tasks.schema import property_names
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

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
_MISSING = frozenset({"required", "dependentRequired"})
_EXTRA = frozenset({"additionalProperties", "unevaluatedProperties"})


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
        The output as a mapping of its fields, as the JSON says it: nothing is converted, no default filled in.

    Raises:
        AnswerError: The answer is no valid output; `CODES` says what its ``code`` can be.
    """
    value = decode(text)
    _validate(spec, value)
    return value


def _validate(spec: TaskSpec, value: dict[str, Any]) -> None:
    """Checks an output against the task's schema, types exactly: ``1.0`` is no integer. ``format`` is not checked."""
    schema = json.dumps(spec.output_schema)
    errors: Iterable[ValidationError] = _validator(schema).iter_errors(value)
    faults = [found for error in errors for found in _faults(error)]
    if faults:
        raise fault(faults, value=value, names=_names(schema))


def fault(faults: Iterable[tuple[str, Sequence[Any]]], *, value: Any, names: frozenset[str]) -> AnswerError:
    """Makes the error for what is wrong with an output: its first fault by code, then by place.

    Args:
        faults: Codes with the places where they were found (keys and indices from the outside in).
        value: The output, to tell places in it from other marks in a path.
        names: The field names that the message may quote.

    Returns:
        The error. Its ``field`` is a dotted path (``"plan.0.dose"``) of which unknown keys are written as ``*``; for
        an extra field it is the object that holds it.
    """
    code, place = min(
        ((code, _dotted(place, value, names)) for code, place in faults), key=lambda found: (_ORDER[found[0]], found[1])
    )
    where = f" ({'inside ' if code == 'extra-field' else 'field '}{place!r})" if place else ""
    return AnswerError(code, CODES[code].rstrip(".") + where + ".", field=place or None)


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


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    """The validator of a schema, which is given as text so that it can be a key."""
    import jsonschema
    import referencing

    library: Any = jsonschema  # parts of its interface have no types
    base = library.Draft202012Validator
    strict = library.validators.extend(base, type_checker=base.TYPE_CHECKER.redefine("integer", _is_integer))
    # With the default registry a remote "$ref" would be fetched from the network.
    registry: Any = cast("Any", referencing).Registry()
    return strict(json.loads(schema), registry=registry)


@lru_cache(maxsize=64)
def _names(schema: str) -> frozenset[str]:
    return property_names(json.loads(schema))


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _faults(error: ValidationError) -> list[tuple[str, list[Any]]]:
    place: list[Any] = list(error.absolute_path)
    keyword = str(error.validator)
    if keyword in ("anyOf", "oneOf") and error.context:
        return _branch_faults(error, place)
    if keyword in _MISSING:
        # jsonschema reports each missing name by itself and says which one only in its message.
        wanted = cast("list[str]", error.validator_value) if keyword == "required" else []
        given = cast("dict[str, Any]", error.instance)
        return [("missing-field", [*place, name]) for name in wanted if name not in given] or [("missing-field", place)]
    if keyword in _EXTRA:
        return [("extra-field", place)]
    return [("wrong-type" if keyword == "type" else "invalid-value", place)]


def _branch_faults(error: ValidationError, place: list[Any]) -> list[tuple[str, list[Any]]]:
    """What is wrong with a value that fits no branch of a union: the faults of the first branch of its type."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    for found in branches.values():
        if not any(inner.validator == "type" and list(inner.absolute_path) == place for inner in found):
            return [each for inner in found for each in _faults(inner)]
    return [("wrong-type", place)]


def _dotted(place: Sequence[Any], value: Any, names: frozenset[str]) -> str:
    parts: list[str] = []
    for step in place:
        if isinstance(step, int) and isinstance(value, list) and step < len(cast("list[Any]", value)):
            parts.append(str(step))
            value = cast("list[Any]", value)[step]
        elif isinstance(value, dict) and isinstance(step, str):
            inside = cast("dict[str, Any]", value)
            if step not in inside and step not in names:
                continue  # a mark that is no place in the answer, such as the branch of a union
            parts.append(step if step in names else "*")
            value = inside.get(step)
    return ".".join(parts)
