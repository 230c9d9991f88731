"""What constrained decoding can keep an answer to: which JSON Schemas, and how the grammar library is given them.

Pure Python over JSON Schema, so that `Task.check` finds a field that would fail at deployment where neither torch nor
the grammar library is installed. A contract test shows that what passes here works in the real grammar.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from soaptune.errors import ConfigError
from soaptune.tasks import formats, patterns
from soaptune.tasks.schema import resolved

__all__ = ["grammar_schema", "hard_fields", "longest_step", "pattern_characters", "pattern_texts", "with_layout"]

_ANNOTATIONS = frozenset(
    {"title", "description", "examples", "default", "deprecated", "readOnly", "writeOnly", "discriminator"}
    | {"$comment", "$schema", "$id"}
)
_KEYWORDS = frozenset(
    {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "minLength", "maxLength", "pattern", "format"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    | {"items", "prefixItems", "minItems", "maxItems", "properties", "required", "additionalProperties"}
    | {"patternProperties", "propertyNames", "minProperties", "maxProperties"}
)
_WHY = {
    "uniqueItems": ("a set has no order in which a model could write it", "Use a list."),
    "formatMinimum": ("constrained decoding cannot keep a bound of a date, a time or a decimal", ""),
    "formatMaximum": ("constrained decoding cannot keep a bound of a date, a time or a decimal", ""),
    "formatExclusiveMinimum": ("constrained decoding cannot keep a bound of a date, a time or a decimal", ""),
    "formatExclusiveMaximum": ("constrained decoding cannot keep a bound of a date, a time or a decimal", ""),
    "stripped": (
        "a pattern and the stripping of white space together cannot be kept",
        "Put it into the pattern.",
    ),
    "contentMediaType": ("JSON inside of a string cannot be kept", "Use a model or a dict."),
}
_LONGEST_LENGTH = 100_000
_LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
_MOST_STEPS = 100_000
"""How many places of a schema are looked at to find its shortest value: references can multiply them without end."""


def hard_fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What of a schema constrained decoding cannot keep.

    Args:
        schema: The JSON Schema of an answer.

    Yields:
        The field's path (``items[].price``), the reason, and a hint that may be empty.
    """
    found = list(_Walk(schema).problems(schema, "", ()))
    yield from dict.fromkeys(found)
    if not found:
        for field, part in schema.get("properties", {}).items():
            if field in schema.get("required", ()) and _Shortest(schema).of(part) == math.inf:
                yield (
                    field,
                    "no value of it ever ends, since each holds another of its kind",
                    "Let it be None or empty.",
                )


class _Walk:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def problems(self, schema: Any, path: str, seen: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
        if not isinstance(schema, Mapping):
            return
        reference = cast("Mapping[str, Any]", schema).get("$ref")
        if isinstance(reference, str):
            if reference in seen:
                return
            if not reference.startswith("#"):
                yield path, "a reference to another document cannot be followed", ""
                return
            seen = (*seen, reference)
        node = resolved(cast("Mapping[str, Any]", schema), self._root)
        for keyword in node:
            if keyword not in _KEYWORDS and keyword not in _ANNOTATIONS:
                reason, hint = _WHY.get(keyword, (f"constrained decoding cannot keep {keyword!r}", ""))
                yield path, reason, hint
        for reason, hint in (*_text(node), *_number(node), *_count(node), *self._names(node), *self._one_of(node)):
            yield path, reason, hint
        for name, part in node.get("properties", {}).items():
            yield from self.problems(part, f"{path}.{name}" if path else name, seen)
        for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
            yield from self.problems(node.get(keyword), path + mark, seen)
        for part in node.get("patternProperties", {}).values():
            yield from self.problems(part, f"{path}.*", seen)
        for place, part in enumerate(node.get("prefixItems", ())):
            yield from self.problems(part, f"{path}[{place}]", seen)
        for keyword in ("anyOf", "oneOf", "allOf"):
            for part in node.get(keyword, ()):
                yield from self.problems(part, path, seen)

    def _names(self, node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "propertyNames" in node:
            names = resolved(node["propertyNames"], self._root)
            if not _strings(names) or "minProperties" in node or "maxProperties" in node:
                yield "the keys of a dict must be plain strings, or one of a few", "Use dict[str, ...]."
        for pattern in node.get("patternProperties", {}):
            reason = patterns.problem(pattern)
            if reason:
                yield f"constrained decoding cannot keep the pattern of the keys: {reason}", ""

    def _one_of(self, node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "oneOf" not in node or "discriminator" in node:
            return
        kinds = [resolved(option, self._root).get("type") for option in node["oneOf"]]
        kinds = ["number" if kind == "integer" else kind for kind in kinds]
        if not all(isinstance(kind, str) for kind in kinds) or len(set(kinds)) < len(kinds):
            yield "it is not clear which branch of its 'oneOf' a value is of", "Use anyOf, or a discriminator."


def _strings(names: Mapping[str, Any]) -> list[str]:
    """The names of a ``propertyNames`` that lists them."""
    listed: list[Any] = [names["const"]] if "const" in names else list(names.get("enum", ()))
    return cast("list[str]", listed) if all(isinstance(name, str) for name in listed) else []


def _text(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name = node.get("format")
    if name is not None and not formats.is_known(str(name)):
        yield f"constrained decoding cannot keep the form {name!r}", "Use str, with a pattern where one fits."
    if "pattern" in node:
        reason = patterns.problem(node["pattern"])
        if reason:
            yield f"constrained decoding cannot keep the pattern: {reason}", ""
            return
    for pattern in pattern_texts(node):
        shortest, longest = patterns.widths(pattern)
        if shortest > node.get("maxLength", math.inf) or longest < node.get("minLength", 0):
            yield "no text has both the length and the pattern or form that it asks for", ""
    if node.get("minLength", 0) > node.get("maxLength", math.inf):
        yield "no text has the length that it asks for", ""
    if node.get("minLength", 0) > _LONGEST_LENGTH:
        yield "a text of that length is longer than any answer", ""


def _number(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    step = node.get("multipleOf")
    if step is not None and (not isinstance(step, int) or node.get("type") != "integer"):
        yield "constrained decoding can keep multiples of whole numbers in an int only", ""
        return
    low, high = node.get("minimum", -math.inf), node.get("maximum", math.inf)
    above, below = node.get("exclusiveMinimum", -math.inf), node.get("exclusiveMaximum", math.inf)
    if node.get("type") == "integer":
        first = max(low if math.isinf(low) else math.ceil(low), above if math.isinf(above) else math.floor(above) + 1)
        last = min(high if math.isinf(high) else math.floor(high), below if math.isinf(below) else math.ceil(below) - 1)
        some = first <= last
        if some and step and not math.isinf(first):
            some = -(-first // step) * step <= last
    else:
        some = low <= high and low < below and above < high and above < below
        if any(abs(bound) > 1e15 and not math.isinf(bound) for bound in (low, high, above, below)):
            yield "constrained decoding cannot keep a bound beyond 1e15 of a number that is no int", ""
    if not some:
        yield "no number is within its bounds", ""


def _count(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for least, most, what in (("minItems", "maxItems", "items"), ("minProperties", "maxProperties", "keys")):
        if node.get(least, 0) > node.get(most, math.inf):
            yield f"nothing has the number of {what} that it asks for", ""
    if "enum" in node and not node["enum"]:
        yield "no value is allowed", ""


def pattern_texts(node: Mapping[str, Any]) -> list[str]:
    """The regular expressions that a string of a schema must match: its own and that of its form."""
    found = [node["pattern"]] if "pattern" in node else []
    of_form = formats.pattern(str(node["format"])) if "format" in node else None
    return [*found, of_form] if of_form else found


def grammar_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as the grammar library takes it: forms as patterns, and without what changes no answer.

    Args:
        schema: A JSON Schema.
    """
    return cast("dict[str, Any]", _for_grammar(schema, schema))


def with_layout(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema for llguidance, with the layout of the answers in training: ``json.dumps`` with its usual separators.

    Args:
        schema: A JSON Schema.
    """
    return {**grammar_schema(schema), "x-guidance": dict(_LAYOUT)}


def _for_grammar(node: Any, root: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_for_grammar(item, root) for item in cast("list[Any]", node)]
    if not isinstance(node, Mapping):
        return node
    schema = cast("Mapping[str, Any]", node)
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "patternProperties"):
            made[key] = {name: _for_grammar(part, root) for name, part in cast("Mapping[str, Any]", value).items()}
        elif key in ("enum", "const", "required"):
            made[key] = value
        elif key not in _ANNOTATIONS:
            made["anyOf" if key == "oneOf" and "discriminator" in schema else key] = _for_grammar(value, root)
    if formats.is_known(str(schema.get("format"))):
        del made["format"]
        made.pop("pattern", None)
        texts = pattern_texts(schema)
        made.update({"pattern": texts[0]} if len(texts) == 1 else {"allOf": [{"pattern": text} for text in texts]})
        if not texts:
            del made["allOf"]
    names = _strings(resolved(schema.get("propertyNames", {}), root))
    if names:
        del made["propertyNames"]
        made.update(
            properties={name: made.get("additionalProperties", {}) for name in names}, additionalProperties=False
        )
    return made


def longest_step(schema: Mapping[str, Any]) -> int:
    """By about how many characters one token can lengthen the shortest way from a place in an answer to its end.

    Raises:
        ConfigError: The references of the schema multiply beyond what can be looked at.
    """
    shortest = _Shortest(schema)
    return 2 * max((math.ceil(_opened(node, shortest)) for node in _nodes(schema)), default=2) + 8


def pattern_characters(schema: Mapping[str, Any]) -> str:
    """The characters that stand in the regular expressions of a schema, each once."""
    texts = [
        text for node in _nodes(schema) for text in pattern_texts(node) if isinstance(node.get("pattern", ""), str)
    ]
    return "".join(dict.fromkeys("".join(texts)))


def _nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All schemas inside of a schema, without itself."""
    open_nodes: list[Any] = list(schema.values())
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, Mapping):
            yield cast("Mapping[str, Any]", node)
            open_nodes.extend(cast("Mapping[str, Any]", node).values())
        elif isinstance(node, list):
            open_nodes.extend(cast("list[Any]", node))


def _opened(node: Mapping[str, Any], shortest: _Shortest) -> float:
    """The characters that a value needs at most, once it has been begun."""
    texts = pattern_texts(node) if isinstance(node.get("pattern", ""), str) else []
    needed = sum(patterns.need(text) for text in texts if not patterns.problem(text))
    least = shortest.of(node)
    return max(needed + 2, 0 if math.isinf(least) else least)


class _Shortest:
    """Finds the shortest values of one schema and its parts."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def of(self, schema: Any, inside: tuple[str, ...] = ()) -> float:
        """About the characters of the shortest value; infinite where each value holds another of its kind.

        Raises:
            ConfigError: The references of the schema multiply beyond what can be looked at.
        """
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise ConfigError("the JSON Schema is too large: its references multiply")
        if not isinstance(schema, Mapping):
            return 2
        reference = cast("Mapping[str, Any]", schema).get("$ref")
        if isinstance(reference, str):
            if reference in inside:
                return math.inf
            inside = (*inside, reference)
        node = resolved(cast("Mapping[str, Any]", schema), self._root)
        for keyword in ("anyOf", "oneOf"):
            if keyword in node:
                return min((self.of(option, inside) for option in node[keyword]), default=math.inf)
        if "enum" in node or "const" in node:
            values: Sequence[Any] = node.get("enum", [node.get("const")])
            return min((len(json.dumps(value)) for value in values), default=math.inf)
        kind = node.get("type")
        if kind == "array":
            first: Sequence[Any] = node.get("prefixItems", ())
            count = max(node.get("minItems", 0) - len(first), 0)
            each = self.of(node.get("items"), inside) + 2 if count else 0
            return 2 + count * each + sum(self.of(part, inside) + 2 for part in first)
        if kind == "object":
            properties: Mapping[str, Any] = node.get("properties", {})
            fixed = sum(
                len(json.dumps(name)) + 4 + self.of(properties.get(name), inside) for name in node.get("required", ())
            )
            free = node.get("minProperties", 0)
            return 2 + fixed + (free * (8 + self.of(node.get("additionalProperties"), inside)) if free else 0)
        if kind in ("integer", "number"):
            bounds = [
                node[key] for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if key in node
            ]
            return max((len(str(bound)) + 3 for bound in bounds), default=1)
        texts = [text for text in pattern_texts(node) if not patterns.problem(text)]
        return 2 + max([node.get("minLength", 0), *(patterns.widths(text)[0] for text in texts)])
