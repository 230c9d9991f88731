"""The JSON Schema of an answer: what the model's class says, closed, and without what changes no answer."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel

__all__ = ["answer_schema", "property_names"]

_ANNOTATIONS = frozenset({"title", "description", "examples"})
_BY_NAME = frozenset({"properties", "$defs", "patternProperties"})


def answer_schema(output: type[BaseModel]) -> dict[str, Any]:
    """Gives the JSON Schema that an answer must follow.

    Every object of it is closed (``additionalProperties: false``), nested ones too, so that a model cannot add
    fields of its own. Titles, descriptions and examples are left out: they change no answer, and a task's fingerprint
    should not change with a docstring.

    Args:
        output: The output's class.

    Returns:
        A JSON Schema (draft 2020-12); fields in the order of the class, named by their aliases where they have one.

    Raises:
        pydantic.errors.PydanticUserError: The class cannot be described, e.g. for an undefined forward reference.
    """
    schema: dict[str, Any] = _closed(output.model_json_schema(by_alias=True, mode="validation"))
    if "$ref" in schema:  # a class that contains itself is described under "$defs"
        return {**schema["$defs"][schema["$ref"].removeprefix("#/$defs/")], "$defs": schema["$defs"]}
    return schema


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    result: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", node).items():
        if key in _BY_NAME:  # here the keys are names of fields, one of which may be called "title"
            result[key] = {name: _closed(part) for name, part in cast("dict[str, Any]", value).items()}
        elif key in ("default", "const", "enum"):  # values, not schemas
            result[key] = value
        elif key not in _ANNOTATIONS:
            result[key] = _closed(value)
    if "properties" in result:
        result["additionalProperties"] = False
    return result


def property_names(schema: Any) -> frozenset[str]:
    """The names of all fields that a schema declares, at any depth: the only keys that an error may quote."""
    found: set[str] = set()
    open_nodes: list[Any] = [schema]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, list):
            open_nodes.extend(cast("list[Any]", node))
        elif isinstance(node, dict):
            for key, value in cast("dict[str, Any]", node).items():
                if key == "properties" and isinstance(value, dict):
                    found.update(cast("dict[str, Any]", value))
                    open_nodes.extend(cast("dict[str, Any]", value).values())
                else:
                    open_nodes.append(value)
    return frozenset(found)
