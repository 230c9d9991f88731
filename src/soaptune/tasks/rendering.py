"""From rows to conversations: the messages that a model is given, and the answer that it must write.

All of it works on a `TaskSpec` alone, so that a job renders exactly what the client renders. The inputs are data: they
are put into the template's places and never read as a template themselves, so braces in a transcript are inert. Chat
control tokens in them (``<|im_end|>``) are left alone here; `soaptune.prompting` escapes them when a chat template is
applied, the same way for training and for serving.
"""

from __future__ import annotations

import difflib
import json
import string
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from soaptune.errors import AnswerError, DataError
from soaptune.tasks import parsing
from soaptune.tasks.canonical import canonical_fields, jsonable
from soaptune.tasks.message import Message
from soaptune.tasks.spec import TaskSpec

__all__ = ["Message", "answer", "messages", "placeholders", "user_text"]

_FORMATTER = string.Formatter()


@lru_cache(maxsize=256)
def _pieces(template: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Splits a template into (text, field) pairs and gives what is wrong with it; a field may be empty."""
    pieces: list[tuple[str, str]] = []
    problems: list[str] = []
    try:
        for text, field, form, conversion in _FORMATTER.parse(template):
            if field is not None and (not field.isidentifier() or form or conversion):
                problems.append(f"the placeholder {{{field}}} is not a plain field name")
                pieces.append((text, ""))
            else:
                pieces.append((text, field or ""))
    except ValueError as error:
        problems.append(f"the braces do not match ({error})")
    return tuple(pieces), tuple(problems)


def placeholders(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reads a user template.

    Args:
        template: Text with places such as ``{dialogue}``; ``{{`` and ``}}`` stand for braces.

    Returns:
        The names of the input fields, each once, in order; and what is wrong with the template, as sentences.
    """
    pieces, problems = _pieces(template)
    return tuple(dict.fromkeys(field for _, field in pieces if field)), problems


def user_text(template: str, inputs: Mapping[str, Any]) -> str:
    """Fills a user template.

    Args:
        template: A template without faults.
        inputs: The input fields; other keys are ignored. A string is put in as it is, anything else as JSON text.

    Returns:
        The text of the user's turn.

    Raises:
        DataError: The template is faulty, or an input field is missing, is None or is no JSON value.
    """
    pieces, problems = _pieces(template)
    if problems:
        raise DataError(f"The user template cannot be used: {problems[0]}.")
    return "".join(text + (_input(inputs, field) if field else "") for text, field in pieces)


def _input(inputs: Mapping[str, Any], field: str) -> str:
    if field not in inputs:
        near = difflib.get_close_matches(field, [str(key) for key in inputs], n=1)
        hint = f" (is it {near[0]!r}?)" if near else ""
        raise DataError(f"The input field {field!r} is missing{hint}.")
    value = inputs[field]
    if value is None:
        raise DataError(f"The input field {field!r} has no value.")
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"The input field {field!r} is a {type(value).__name__}, which is no text.") from error


def messages(spec: TaskSpec, inputs: Mapping[str, Any]) -> list[Message]:
    """Gives the conversation up to the answer: the system's turn, unless its prompt is empty, and the user's.

    Args:
        spec: The task.
        inputs: The input fields; other keys are ignored, so that a whole row can be given.

    Returns:
        One or two messages.

    Raises:
        DataError: An input field is missing or has no value.
    """
    user: Message = {"role": "user", "content": user_text(spec.user_template, inputs)}
    if not spec.system_prompt:
        return [user]
    return [{"role": "system", "content": spec.system_prompt}, user]


def answer(spec: TaskSpec, outputs: Mapping[str, Any] | BaseModel) -> str:
    """Gives the JSON text that the model must write: the output fields in the task's order, on one line.

    The text is a valid answer: `soaptune.tasks.parsing.parse` reads it back. It is the same for a mapping and for an
    instance of the output's class: see `soaptune.tasks.canonical`.

    Args:
        spec: The task.
        outputs: The output, or a mapping of its fields to their values; other keys are ignored. No value is read as
            JSON text: the row of a dataset is given as ``spec.outputs(row)``.

    Returns:
        The answer, without a line break at its end.

    Raises:
        DataError: The outputs are no valid answer; the message names the field, not the value.
    """
    if isinstance(outputs, BaseModel):
        values = jsonable(outputs)
    else:
        values = {field: jsonable(outputs[field]) for field in spec.output_fields if field in outputs}
    try:
        ordered = canonical_fields(spec.output_schema, values)
        text = json.dumps(ordered, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError("The outputs cannot be written as JSON text.") from error
    try:
        parsing.parse(spec, text)
    except AnswerError as error:
        raise DataError(f"The outputs are no valid answer of the task {spec.name!r}. {error}") from error
    return text
