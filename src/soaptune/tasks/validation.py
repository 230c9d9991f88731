"""What is wrong with an output by its JSON Schema: where, as a code, and in words that quote nothing of the output.

Types are exact (``1.0`` is no integer), and forms (``format``) count. A place inside of a field is written as in
``items[3].price``, with keys that the schema does not declare as ``*``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from soaptune.tasks import formats
from soaptune.tasks.schema import property_names

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

__all__ = ["Fault", "find_faults", "is_valid", "names_of", "path_text", "type_name"]

_LISTED = 12
"""Of more allowed values than these only the first are listed."""
_KINDS = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_BOUNDS = {
    "minimum": "it must be at least {}",
    "maximum": "it must be at most {}",
    "exclusiveMinimum": "it must be more than {}",
    "exclusiveMaximum": "it must be less than {}",
    "multipleOf": "it must be a multiple of {}",
    "minLength": "it must have at least {} character(s)",
    "maxLength": "it must have at most {} character(s)",
    "minItems": "it must have at least {} item(s)",
    "maxItems": "it must have at most {} item(s)",
    "minProperties": "it must have at least {} key(s)",
    "maxProperties": "it must have at most {} key(s)",
    "pattern": "it must match the pattern {}",
}


class Fault(NamedTuple):
    """One thing that is wrong with an output."""

    code: str
    """One of the last four of `soaptune.tasks.parsing.CODES`."""
    place: Sequence[Any]
    """Keys and indices from the outside in."""
    detail: str = ""
    """What is needed or allowed, in words."""


def find_faults(schema: Mapping[str, Any], value: Any) -> list[Fault]:
    """All that is wrong with a value.

    Args:
        schema: Its JSON Schema.
        value: A JSON value.
    """
    errors: Iterable[ValidationError] = _validator(json.dumps(schema)).iter_errors(value)
    return [found for error in errors for found in _faults(error)]


def is_valid(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value fits a JSON Schema."""
    return bool(_validator(json.dumps(schema)).is_valid(value))


def path_text(place: Sequence[Any], value: Any, names: frozenset[str]) -> str:
    """A place in an output as text: ``items[3].price``.

    Args:
        place: Keys and indices from the outside in.
        value: The output, to tell places in it from other marks in a path.
        names: The keys that may be quoted; others are written as ``*``.
    """
    text = ""
    for step in place:
        if isinstance(step, int) and isinstance(value, list) and step < len(cast("list[Any]", value)):
            text += f"[{step}]"
            value = cast("list[Any]", value)[step]
        elif isinstance(value, dict) and isinstance(step, str):
            inside = cast("dict[str, Any]", value)
            if step not in inside and step not in names:
                continue  # a mark that is no place in the answer, such as the branch of a union
            text += ("." if text else "") + (step if step in names else "*")
            value = inside.get(step)
    return text


def type_name(value: object) -> str:
    """The JSON type of a value, as a message names it."""
    if value is None:
        return "null"
    names: dict[type, str] = {str: "text", bool: "a boolean", int: "an integer", list: "a list", dict: "an object"}
    return names.get(type(value), "a number" if isinstance(value, float) else type(value).__name__)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """The validator of a schema, which is given as text so that it can be a key."""
    import jsonschema
    import referencing

    library: Any = jsonschema  # parts of its interface have no types
    base = library.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", _is_integer)
    strict = library.validators.extend(base, {"pattern": _pattern}, type_checker=checker)
    # With the default registry a remote "$ref" would be fetched from the network.
    registry: Any = cast("Any", referencing).Registry()
    return strict(json.loads(schema), registry=registry, format_checker=_Forms())


class _Forms:
    """What jsonschema asks about ``format``."""

    def check(self, instance: object, format: str) -> None:
        from jsonschema.exceptions import FormatError

        if isinstance(instance, str) and not formats.is_valid(format, instance):
            raise FormatError(format)

    def conforms(self, instance: object, format: str) -> bool:
        return not isinstance(instance, str) or formats.is_valid(format, instance)


def _pattern(_: object, wanted: str, value: object, __: object) -> Iterator[ValidationError]:
    """``$`` is the end: Python's would also stand before a line break there, which no other engine lets through."""
    from jsonschema.exceptions import ValidationError

    ends = wanted.endswith("$") and not wanted.endswith("\\$")
    if isinstance(value, str) and not re.search(wanted[:-1] + r"\Z" if ends else wanted, value):
        yield ValidationError("the pattern does not match")


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _faults(error: ValidationError) -> list[Fault]:
    place: list[Any] = list(error.absolute_path)
    keyword = str(error.validator)
    if keyword in ("anyOf", "oneOf") and error.context:
        return _branch_faults(error, place)
    if keyword in ("required", "dependentRequired"):
        # jsonschema reports each missing name by itself, and the name only in its message.
        wanted = cast("list[str]", error.validator_value) if keyword == "required" else []
        given = cast("dict[str, Any]", error.instance)
        missing = [Fault("missing-field", [*place, name]) for name in wanted if name not in given]
        return missing or [Fault("missing-field", place)]
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        return [Fault("extra-field", place, _extra(error))]
    code = "wrong-type" if keyword == "type" else "invalid-value"
    return [Fault(code, place, _detail(keyword, error.validator_value, error.instance))]


def _extra(error: ValidationError) -> str:
    """Which fields there are, and which of them is near to one that is not: the unknown name may be the row's text."""
    known = list(cast("Mapping[str, Any]", error.schema).get("properties", {}))
    given = [key for key in cast("Mapping[str, Any]", error.instance) if key not in known]
    return f"there are {_listed(known)}{_near(given, known)}" if known else ""


def _detail(keyword: str, wanted: Any, value: Any) -> str:
    if keyword == "type":
        kinds = cast("list[str]", wanted if isinstance(wanted, list) else [wanted])
        return f"{' or '.join(_KINDS.get(kind, kind) for kind in kinds)} is needed, and this is {type_name(value)}"
    if keyword == "format":
        return f"{formats.describe(str(wanted))} is needed"
    if keyword in ("enum", "const"):
        allowed = cast("list[Any]", wanted if keyword == "enum" else [wanted])
        return f"allowed are {_listed(allowed)}{_near([value], allowed)}"
    return _BOUNDS[keyword].format(wanted) if keyword in _BOUNDS else ""


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(repr(value) for value in values[:_LISTED]) + (", …" if len(values) > _LISTED else "")


def _near(given: Iterable[Any], known: Iterable[Any]) -> str:
    folded = {name.casefold(): name for name in known if isinstance(name, str)}
    for value in given:
        near = difflib.get_close_matches(value.casefold(), list(folded), n=1) if isinstance(value, str) else []
        if near:
            return f" (did you mean {folded[near[0]]!r}?)"
    return ""


def _branch_faults(error: ValidationError, place: list[Any]) -> list[Fault]:
    """What is wrong with a value that fits no branch of a union: the faults of the first branch of its type."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    kinds: list[str] = []
    for found in branches.values():
        other = [inner for inner in found if inner.validator == "type" and list(inner.absolute_path) == place]
        if not other:
            return [each for inner in found for each in _faults(inner)]
        kinds += [str(inner.validator_value) for inner in other]
    return [Fault("wrong-type", place, _detail("type", list(dict.fromkeys(kinds)), error.instance))]


@lru_cache(maxsize=64)
def _names(schema: str) -> frozenset[str]:
    return property_names(json.loads(schema))


def names_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """`property_names` of a schema, remembered."""
    return _names(json.dumps(schema))
