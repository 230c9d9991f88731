"""What constrained decoding cannot keep is found in the schema alone, with the field and the reason."""

from __future__ import annotations

from typing import Any

import pytest

from soaptune.tasks.constrained import grammar_schema, hard_fields, longest_step
from soaptune.tasks.patterns import need, problem, widths


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


NODE = {**of(next={"$ref": "#/$defs/Node"})}


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        (of(a={"type": "array", "items": of(b={"type": "array", "uniqueItems": True})}), "a[].b", "a set has no order"),
        (of(a={"type": "string", "format": "hostname"}), "a", "the form 'hostname'"),
        (of(a={"type": "string", "pattern": r"(?!x)y"}), "a", "looks ahead"),
        (of(a={"type": "string", "pattern": r"(x)\1"}), "a", "refers back"),
        (of(a={"type": "string", "pattern": r"\bx"}), "a", "edge of a word"),
        (of(a={"type": "string", "pattern": r"(?s).x"}), "a", "flags"),
        (of(a={"type": "string", "pattern": r"a{5000}"}), "a", "too often"),
        (of(a={"type": "string", "pattern": "("}), "a", "no regular expression"),
        (of(a={"type": "string", "pattern": "^a{3}$", "minLength": 5}), "a", "no text has both"),
        (of(a={"type": "string", "format": "date", "maxLength": 5}), "a", "no text has both"),
        (of(a={"type": "string", "minLength": 5, "maxLength": 3}), "a", "no text has the length"),
        (of(a={"type": "integer", "minimum": 3, "exclusiveMaximum": 3}), "a", "no number"),
        (of(a={"type": "integer", "minimum": 11, "maximum": 14, "multipleOf": 5}), "a", "no number"),
        (of(a={"type": "number", "exclusiveMinimum": 1, "maximum": 1}), "a", "no number"),
        (of(a={"type": "number", "maximum": 1e300}), "a", "bound beyond"),
        (of(a={"type": "number", "multipleOf": 0.1}), "a", "multiples of whole numbers"),
        (of(a={"type": "array", "minItems": 3, "maxItems": 2}), "a", "number of items"),
        (of(a={"not": {"type": "string"}}), "a", "'not'"),
        (of(a={"enum": []}), "a", "no value"),
        (of(a={"$ref": "http://example.org/x"}), "a", "another document"),
        (of(a={"oneOf": [{"type": "integer"}, {"type": "number"}]}), "a", "which branch"),
        (of(a={"type": "object", "propertyNames": {"pattern": "^x"}}), "a", "keys of a dict"),
        (of(a={"anyOf": [{"type": "null"}, of(b={"prefixItems": [{"enum": []}]})]}), "a.b[0]", "no value"),
        ({**of(a={"$ref": "#/$defs/Node"}), "$defs": {"Node": NODE}}, "a", "ever ends"),
    ],
)
def test_each_is_found_with_its_path(schema: dict[str, Any], path: str, reason: str) -> None:
    ((found, why, _),) = hard_fields(schema)
    assert found == path
    assert reason in why


def test_what_can_be_kept_is_left_alone() -> None:
    tree = of(children={"type": "array", "items": {"$ref": "#/$defs/Tree"}})
    schema = {
        **of(
            tree={"$ref": "#/$defs/Tree"},
            either={"oneOf": [{"type": "string"}, {"type": "integer"}]},
            share={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            few={"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
        ),
        "$defs": {"Tree": tree},
    }
    assert list(hard_fields(schema)) == []
    assert longest_step(schema) < 200


def test_the_grammar_s_schema_says_forms_as_patterns_and_nothing_that_changes_no_answer() -> None:
    schema = of(
        title={"type": "string", "default": "x", "title": "T"},
        day={"type": "string", "format": "date", "pattern": "^2"},
        data={"type": "string", "format": "binary"},
        few={"type": "object", "propertyNames": {"enum": ["a"]}, "additionalProperties": {"type": "integer"}},
    )
    made = grammar_schema(schema)["properties"]
    assert made["title"] == made["data"] == {"type": "string"}
    assert [part["pattern"][:2] for part in made["day"]["allOf"]] == ["^2", "^("]
    assert made["few"]["properties"] == {"a": {"type": "integer"}}
    assert made["few"]["additionalProperties"] is False


def test_the_length_of_a_pattern_s_texts() -> None:
    assert widths("^a{2,5}$") == (2, 5)
    assert widths("a{2,5}") == widths("^a{2,}$") == (2, float("inf"))
    assert need("^(a|b{7})+c$") == 8
    assert problem("^[a-z]+@[a-z]+$") == ""
