"""Imports pyarrow, and repairs of the Arrow data that fakesnow answers with."""

from __future__ import annotations

import importlib
from base64 import b64decode, b64encode
from typing import Any


def pyarrow(module: str = "pyarrow") -> Any:
    """A module of pyarrow, which ships no type information."""
    return importlib.import_module(module)


def with_null_timestamps(data: dict[str, Any]) -> dict[str, Any]:
    """Makes missing timestamps arrive as NULL: fakesnow sends them as the beginning of 1970.

    Args:
        data: An answer with its rows.

    Returns:
        The answer, with the rows replaced if it has timestamps.
    """
    encoded = data.get("rowsetBase64")
    kinds = [str(column["type"]) for column in data.get("rowtype", ())]
    if not encoded or not any(kind.startswith("timestamp") for kind in kinds):
        return data
    pa = pyarrow()

    reader: Any = pa.ipc.open_stream(b64decode(encoded))
    table: Any = reader.read_all().combine_chunks()
    arrays = [
        _repaired(column) if kind.startswith("timestamp") else column
        for kind, column in zip(kinds, table.columns, strict=True)
    ]
    sink: Any = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=table.schema))
    return {**data, "rowsetBase64": b64encode(sink.getvalue()).decode()}


def _repaired(column: Any) -> Any:
    pa = pyarrow()

    if not column.num_chunks or not pa.types.is_struct(column.type):
        return column
    struct = column.chunk(0)
    children: list[Any] = [struct.field(place) for place in range(struct.type.num_fields)]
    return pa.StructArray.from_arrays(
        [child.fill_null(0) for child in children], fields=list(struct.type), mask=children[0].is_null()
    )
