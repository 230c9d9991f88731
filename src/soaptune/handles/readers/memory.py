"""Rows that lie in memory: lists of dicts, frames, Arrow tables and Hugging Face datasets.

A library is recognised by the type of what it made, so that none is imported for the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from soaptune.common.arrow import arrow
from soaptune.errors import DataError
from soaptune.handles.readers.columnar import hugging_face_rows, table_rows
from soaptune.handles.readers.rows import RawRows

__all__ = ["READ", "read_memory"]

READ = "a path, a list of paths or of dicts, a pandas or polars frame, an Arrow table, or a Hugging Face dataset"
"""What `Dataset.load` reads, for messages."""


def read_memory(source: Any) -> RawRows:
    """Reads rows that are in memory.

    Args:
        source: The rows.

    Returns:
        The rows, with the types that they have.

    Raises:
        DataError: It is nothing that can be read as rows, or it has none.
    """
    rows = _read(source)
    if not rows.count:
        raise DataError(f"{rows.file[0].upper()}{rows.file[1:]} has no rows.")
    return rows


def _read(source: Any) -> RawRows:
    kind = cast("type[Any]", type(source))
    package = kind.__module__.partition(".")[0]
    name = f"the {kind.__name__} of {package}"
    if isinstance(source, list | tuple):
        return _records(list(cast("list[Any]", source)))
    if package == "datasets":
        if not hasattr(source, "with_format") or not hasattr(source, "num_rows"):
            raise DataError(f"{kind.__name__} streams its rows; give a datasets.Dataset that has them all.")
        return hugging_face_rows(name, source)
    if package == "pandas" and kind.__name__ == "DataFrame":
        return _frame(source, name)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):  # polars, DuckDB, Arrow itself
        return table_rows(name, lambda: arrow().table(source), "a table")
    if hasattr(source, "to_arrow"):
        return table_rows(name, source.to_arrow, "a table")
    if package == "soaptune":
        raise DataError(f"This is a Dataset already; Dataset.load() reads {READ}.")
    raise DataError(f"Dataset.load() reads {READ}; this is of the type {kind.__name__}.")


def _records(entries: list[Any]) -> RawRows:
    rows = RawRows("the list of dicts")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping):
            raise DataError(
                f"Entry {number} of the list is of the type {type(entry).__name__}; a list holds either dicts, which "
                "are rows, or the paths of files."
            )
        record = cast("Mapping[Any, Any]", entry)
        if all(isinstance(key, str) for key in record):
            rows.add(record, line=None)
        else:
            rows.add_bad("its keys are not all strings", line=None)
    return rows


def _frame(frame: Any, name: str) -> RawRows:
    pa = arrow()
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        # A column of Python objects of several types, which Arrow does not have: row by row, as Python has them.
        records: list[dict[Any, Any]] = frame.to_dict("records")
        rows = _records([{str(key): _none_for_nan(value) for key, value in record.items()} for record in records])
        rows.file = name
        return rows
    return table_rows(name, lambda: table, "a table")


def _none_for_nan(value: Any) -> Any:
    # pandas has no other way to leave a cell empty; NaN is the value that is not equal to itself.
    return None if isinstance(value, float) and value != value else value
