"""A dataset's own rows that come back as a source: outputs that are not plain strings are JSON text there.

Other sources may have text in such a field as well, so a file is read this way as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from soaptune.common.json_text import decode_json
from soaptune.tasks.spec import TaskSpec
from soaptune.tasks.validation import is_valid

__all__ = ["decoded_outputs"]

Columns: TypeAlias = Mapping[str, Sequence[Any]]


def decoded_outputs(columns: Columns, spec: TaskSpec, *, marked: bool, skip: Collection[int]) -> dict[str, list[Any]]:
    """The values of output fields that a source has as a dataset stores them.

    A source is a dataset's own when every value of every output field that is not a plain string is JSON text which
    fits the field. In a source without the mark of our own files, one of these texts must also be in quotes: numbers
    and the word ``null`` may be texts of somebody else's.

    Args:
        columns: The source's values by the dataset's column.
        spec: The task.
        marked: Whether the source has the mark of a dataset's own files.
        skip: Rows that could not be read.

    Returns:
        The decoded columns; none when the source is another one, or has no such field.
    """
    found: dict[str, list[Any]] = {}
    shown = marked
    for field in spec.output_fields:
        if spec.is_text(field):
            continue
        values: list[Any] = []
        schema = spec.field_schema(field)
        for index, text in enumerate(columns[field]):
            value = text if index in skip else _decoded(text)
            if index not in skip and (value is _OTHER or not is_valid(schema, value)):
                return {}
            shown = shown or (index not in skip and isinstance(value, str))
            values.append(value)
        found[field] = values
    return found if shown else {}


_OTHER = object()


def _decoded(text: Any) -> Any:
    try:
        return decode_json(text) if isinstance(text, str) else _OTHER
    except (ValueError, RecursionError):
        return _OTHER
