"""The JSON Schema of an answer: that of the model's class, closed, and without what changes no answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from soaptune.tasks.formats import DECIMAL

__all__ = ["answer_schema", "property_names", "resolved"]

_ANNOTATIONS = frozenset({"title", "description", "examples"})
_BY_NAME = frozenset({"properties", "$defs", "patternProperties"})
_BOUNDS = {"ge": "formatMinimum", "gt": "formatExclusiveMinimum", "le": "formatMaximum", "lt": "formatExclusiveMaximum"}
_UNREPEATABLE: Any = object()


class _Answers(GenerateJsonSchema):
    """Pydantic's generator, where it leaves out what the class decides.

    What JSON Schema has no word for gets one of our own or of an extension, so that `Task.check` finds it.
    """

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        # As Pydantic writes it. As a number it would lose digits on its way through a float.
        made: JsonSchemaValue = {"type": "string", "format": "decimal", **_bounds(schema)}
        made.update(_digits(schema, made))
        return made

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        made = super().str_schema(schema)
        if not schema.get("strip_whitespace") or not (schema.get("min_length") or schema.get("pattern")):
            return made
        # White space is stripped before the length is counted, so it must not stand at the edges.
        return {**made, "stripped": True} if "pattern" in made else {**made, "pattern": r"^\S(?:[\s\S]*\S)?$"}

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        return {**super().date_schema(schema), **_bounds(schema)}

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        return {**super().time_schema(schema), **_zone(schema), **_bounds(schema)}

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        return {**super().datetime_schema(schema), **_zone(schema), **_bounds(schema)}

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {**super().timedelta_schema(schema), **_bounds(schema)}

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        made = super().url_schema(schema)
        schemes = schema.get("allowed_schemes")
        if schemes is None:
            return made
        if set(schemes) != {"http", "https"}:
            return {**made, "format": f"{schemes[0]}-uri"}
        return {**made, "pattern": "^https?://"}

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        return {**super().complex_schema(schema), "format": "complex"}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        keys = schema.get("keys_schema")
        if keys is not None and keys["type"] not in ("str", "any") and "propertyNames" not in made:
            made["propertyNames"] = self.generate_inner(keys)
        return made

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        factory = schema.get("default_factory")
        if factory is None or schema.get("default_factory_takes_data"):
            return made
        value = _made_by(cast("Any", factory))
        return made if value is _UNREPEATABLE else {**made, "default": value}


def _bounds(schema: Any) -> dict[str, Any]:
    found = {_BOUNDS[key]: str(schema[key]) for key in _BOUNDS if schema.get(key) is not None}
    if schema.get("now_op"):
        found["formatMaximum" if schema["now_op"] == "past" else "formatMinimum"] = "now"
    if schema.get("multiple_of") is not None:
        found["multipleOf"] = str(schema["multiple_of"])
    return found


def _digits(schema: Any, made: dict[str, Any]) -> dict[str, Any]:
    """The pattern of a decimal's digits and sign. A bound of 0 is a matter of the sign and needs no other word."""
    places, digits = schema.get("decimal_places"), schema.get("max_digits")
    whole = "[1-9][0-9]*"
    if digits is not None:
        left = digits - (places or 0)
        whole = f"[1-9][0-9]{{0,{left - 1}}}" if left > 0 else ""
        places = places or 0
    part = r"\.[0-9]+" if places is None else rf"\.[0-9]{{1,{places}}}"
    sign = "-?"
    for word in ("formatMinimum", "formatExclusiveMinimum"):
        if made.get(word) in ("0", "0.0"):
            del made[word]
            sign = "" if word == "formatMinimum" else "+"
    zero = "0" if not whole else f"(?:0|{whole})"
    if sign == "+":
        some = r"\.[0-9]*[1-9][0-9]*" if places is None else _some_digit(places)
        options = [f"{whole}(?:{part})?" if places != 0 else whole] if whole else []
        options += [f"0{some}"] if some else []
        return {"pattern": f"^(?:{'|'.join(options)})$"}
    if sign == "-?" and places is None and digits is None:
        return {"pattern": f"^{DECIMAL}$"} if len(made) > 2 else {}
    return {"pattern": f"^{sign}{zero}{'' if places == 0 else f'(?:{part})?'}$"}


def _some_digit(places: int) -> str:
    """A fraction of at most some digits, of which one is not 0."""
    options = [
        f"0{{{zeros}}}[1-9]" + (f"[0-9]{{0,{places - zeros - 1}}}" if places > zeros + 1 else "")
        for zeros in range(places)
    ]
    return rf"\.(?:{'|'.join(options)})" if options else ""


def _zone(schema: Any) -> dict[str, Any]:
    wanted = schema.get("tz_constraint")
    if wanted is None:
        return {}
    zone = "(?:Z|[+-][0-9]{2}:[0-9]{2})$"
    if wanted == "aware":
        return {"pattern": zone}
    return {"pattern": "(?:^|T)[0-9:.]+$"} if wanted == "naive" else {"formatZone": str(wanted)}


def _made_by(factory: Any) -> Any:
    """What a default's factory makes, where that is the same plain value each time, so that the schema is too."""
    try:
        first, second = factory(), factory()
        if isinstance(first, BaseModel) and isinstance(second, BaseModel):
            first, second = first.model_dump(mode="json"), second.model_dump(mode="json")
        same = json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)
    except Exception:  # a factory is the user's code, and may need what is not there yet
        return _UNREPEATABLE
    return first if same else _UNREPEATABLE


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
    schema: dict[str, Any] = _closed(
        output.model_json_schema(by_alias=True, mode="validation", schema_generator=_Answers)
    )
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
    if "properties" in result or "patternProperties" in result:
        result["additionalProperties"] = False
    return result


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with its reference into ``root`` followed, if it is one; keywords beside the reference count too.

    Args:
        schema: The schema.
        root: The schema that has the definitions.
    """
    for _ in range(16):  # a definition may be another one's name, but not for ever
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        node: Any = root
        for part in reference.removeprefix("#").split("/")[1:]:
            node = cast("dict[str, Any]", node).get(part, {}) if isinstance(node, dict) else {}
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**cast("Mapping[str, Any]", node), **beside}
    return schema


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
