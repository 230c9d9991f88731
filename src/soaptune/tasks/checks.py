"""The checks of a task: the definition alone, no input or output, all findings at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from soaptune.errors import Violation
from soaptune.tasks.constrained import hard_fields
from soaptune.tasks.hooks import check_hook
from soaptune.tasks.rendering import placeholders
from soaptune.tasks.spec import RESERVED_COLUMNS

__all__ = ["check"]


def check(
    *,
    name: str,
    system_prompt: str,
    user_template: str,
    rubric: Mapping[str, str],
    schema: Mapping[str, Any],
    model: type[BaseModel] | None,
    hooks: Mapping[str, str],
) -> list[Violation]:
    """Finds what is wrong with a task.

    Codes of errors: ``no-name``, ``bad-template``, ``no-input``, ``no-output``, ``bad-schema``, ``reserved-field``,
    ``field-clash``, ``unknown-rubric-field``, ``aliased-field``, ``open-output``, ``hard-to-serve`` (constrained
    decoding cannot keep an answer to it), ``unstated-default``, ``bad-hook``, ``hook-in-main``. Of warnings:
    ``no-rubric``, ``unfilled-placeholder``.

    Args:
        name: The task's name.
        system_prompt: Its system prompt.
        user_template: Its user template.
        rubric: Its rubric by output field.
        schema: The JSON Schema of its answers.
        model: The output's class, or None for a task that came from a spec.
        hooks: Its hooks by name.

    Returns:
        All findings.
    """
    inputs, problems = placeholders(user_template)
    outputs = tuple(schema.get("properties", {}))
    found = [Violation(path="name", code="no-name", message="The task has no name.")] if not name.strip() else []
    found += [
        Violation(
            path="user_template",
            code="bad-template",
            message=f"In the user template {problem}.",
            hint="Write {field} for an input field, and {{ or }} for a brace.",
        )
        for problem in problems
    ]
    if not inputs:
        found.append(
            Violation(
                path="user_template",
                code="no-input",
                message="The user template has no place for an input field.",
                hint='Write, for example, "Text: {text}".',
            )
        )
    return [
        *found,
        *_system_prompt(system_prompt, inputs),
        *_output(schema, outputs, model),
        *_constrained(schema),
        *_columns(inputs, outputs),
        *_rubric(rubric, outputs),
        *(each for at, path in hooks.items() for each in check_hook(path, at=at)),
    ]


def _system_prompt(prompt: str, inputs: Iterable[str]) -> Iterator[Violation]:
    for field in inputs:
        if re.search(rf"(?<!{{){{{re.escape(field)}}}(?!}})", prompt):
            yield Violation(
                path="system_prompt",
                code="unfilled-placeholder",
                level="warning",
                message=f"The system prompt has {{{field}}}, which stays as it is: only the user template is filled.",
                hint="Move it into user_template.",
            )


def _output(schema: Mapping[str, Any], outputs: tuple[str, ...], model: type[BaseModel] | None) -> Iterator[Violation]:
    if schema.get("type") != "object" or not outputs:
        yield Violation(
            path="output",
            code="no-output",
            message="The output has no fields.",
            hint="Give the output model at least one field; a RootModel has none.",
        )
    if model is None:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        try:
            Draft202012Validator.check_schema(dict(schema))
        except SchemaError as error:
            message = f"The output's JSON Schema is faulty: {error.message}"
            yield Violation(path="output", code="bad-schema", message=message)
        return
    for field, info in model.model_fields.items():
        if info.alias or info.validation_alias or info.serialization_alias:
            yield Violation(
                path=f"output.{field}",
                code="aliased-field",
                message=f"The output field {field!r} has an alias; column and key need one name.",
            )
    for field, part in schema.get("properties", {}).items():
        if field not in schema.get("required", ()) and "default" not in part:
            yield Violation(
                path=f"output.{field}",
                code="unstated-default",
                message=f"The default of {field!r} is another one each time, so no row can be filled in with it.",
                hint="Give it a fixed default, or none.",
            )
    if model.model_config.get("extra") == "allow":
        yield Violation(
            path="output",
            code="open-output",
            message=f"{model.__name__} allows fields that it does not declare; an answer has a fixed set of them.",
            hint='Leave out extra="allow".',
        )


def _constrained(schema: Mapping[str, Any]) -> Iterator[Violation]:
    for field, reason, hint in hard_fields(schema):
        path = f"output.{field}" if field else "output"
        yield Violation(path=path, code="hard-to-serve", message=f"{field or 'The output'}: {reason}.", hint=hint)


def _columns(inputs: Iterable[str], outputs: Iterable[str]) -> Iterator[Violation]:
    known = tuple(outputs)
    for field in inputs:
        if field in known:
            yield Violation(
                path=f"output.{field}",
                code="field-clash",
                message=f"{field!r} is an input field and an output field; a data set needs two columns.",
            )
    for field in (*inputs, *known):
        if field in RESERVED_COLUMNS:
            yield Violation(
                path=field,
                code="reserved-field",
                message=f"The field name {field!r} is taken by a column of every data set.",
                hint=f"Taken are {', '.join(RESERVED_COLUMNS)}.",
            )


def _rubric(rubric: Mapping[str, str], outputs: tuple[str, ...]) -> Iterator[Violation]:
    for field in rubric:
        if field not in outputs:
            near = difflib.get_close_matches(field, outputs, n=1)
            yield Violation(
                path=f"rubric.{field}",
                code="unknown-rubric-field",
                message=f"The rubric speaks of {field!r}, which is no output field.",
                hint=f"Did you mean {near[0]!r}?" if near else "",
            )
    for field in outputs:
        if not rubric.get(field, "").strip():
            yield Violation(
                path=f"rubric.{field}",
                code="no-rubric",
                level="warning",
                message=f"The rubric says nothing about {field!r}, so a judge has nothing to go by.",
            )
