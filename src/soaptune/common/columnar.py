"""Parquet and Arrow files that somebody else may have made: bounded before they unfold, checked before they are used.

Arrow trusts what it has read: an offset that points out of its buffer kills the process as soon as a value is looked
at. And a small file may stand for a very large table, by compression, by dictionaries, or by counting what it does not
hold. Every such file is opened here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from soaptune.common.arrow import Table, arrow, compute, ipc, parquet
from soaptune.errors import DataError

__all__ = ["MOST_BYTES", "MOST_ROWS", "batches_of", "bounded", "read_ipc", "read_parquet", "schema_of", "within"]

MOST_ROWS = 2_000_000
"""Rows that a file may have. Set it higher where a larger one is yours."""

MOST_BYTES = 4_000_000_000
"""Bytes that a file may have once it is unfolded in memory. Set it higher where a larger one is yours."""

_RAISE = "If the file is to be trusted, set soaptune.common.columnar.{} higher."


@contextlib.contextmanager
def _in_memory(path: str | Path) -> Generator[None]:
    try:
        yield
    except MemoryError as error:  # Arrow's own too: a length in the file is more than there is memory
        raise DataError(f"{path} unfolds to more than this machine's memory holds.") from error


def read_parquet(path: str | Path, *, columns: Sequence[str] | None = None, rows: int | None = None) -> Table:
    """Reads a Parquet file.

    Args:
        path: The file.
        columns: Which columns; all of them when None.
        rows: How many rows it must have, where that is known; then `MOST_ROWS` does not count.

    Raises:
        DataError: It unfolds to more than is allowed, or has another number of rows.
        OSError: It cannot be read.
        ValueError: It is broken.
    """
    with _in_memory(path):
        return _parquet(path, columns, rows)


def batches_of(path: str | Path, *, columns: Sequence[str] | None = None) -> Iterator[Table]:
    """The rows of a dataset's own Parquet file piece by piece, as tables, in bounded memory.

    Args:
        path: The file.
        columns: Which columns; all of them when None.

    Raises:
        DataError: A piece unfolds to more than is allowed.
        OSError: It cannot be read.
        ValueError: It is broken.
    """
    with _in_memory(path):
        schema, texts = _measured(path, rows=None, known=True)
        with parquet().ParquetFile(str(path), read_dictionary=texts) as file:
            for piece in file.iter_batches(columns=None if columns is None else list(columns)):
                table = arrow().Table.from_batches([piece])
                yield _as_in(schema, bounded(str(path), _checked(table)))


def _parquet(path: str | Path, columns: Sequence[str] | None, rows: int | None) -> Table:
    schema, texts = _measured(path, rows=rows, known=rows is not None)
    # As dictionaries: a long text that stands in a million rows is then held once, until its size is known.
    with parquet().ParquetFile(str(path), read_dictionary=texts) as file:
        table = bounded(str(path), _checked(file.read(columns=None if columns is None else list(columns))))
    return _as_in(schema, table)


def _measured(path: str | Path, *, rows: int | None, known: bool) -> tuple[Any, list[str]]:
    """The schema of a Parquet file that is not too large by what it says of itself, and its columns of text."""
    t: Any = arrow().types
    with parquet().ParquetFile(str(path)) as probe:
        counted, schema = probe.metadata, probe.schema_arrow
        if rows is not None and counted.num_rows != rows:
            raise DataError(f"{path} has {counted.num_rows:,} row(s), and its manifest says {rows:,}.")
        groups = [counted.row_group(number) for number in range(counted.num_row_groups)]
        most = max([counted.num_rows, sum(group.num_rows for group in groups)])
        size = sum(max(group.total_byte_size, 0) for group in groups)
        within(str(path), rows=0 if known else most, size=size)
    return schema, [field.name for field in schema if t.is_string(field.type) or t.is_binary(field.type)]


def _as_in(schema: Any, table: Table) -> Table:
    wanted = arrow().schema([_plain(schema, field) for field in table.schema], metadata=table.schema.metadata)
    return table if wanted.equals(table.schema) else _undictionaried(table, wanted)


def read_ipc(path: str | Path) -> Table:
    """Reads an Arrow IPC file or stream.

    Args:
        path: The file.

    Raises:
        DataError: It unfolds to more than is allowed.
        OSError: It cannot be read.
        ValueError: It is broken.
    """
    with _in_memory(path):
        return _ipc(path)


def _ipc(path: str | Path) -> Table:
    pa: Any = arrow()
    # Not mapped into memory: a mapped file that is cut off by somebody else later kills whoever reads on.
    with pa.OSFile(str(path), "rb") as source:
        in_file_form = source.read(6) == b"ARROW1"
        source.seek(0)
        batches: list[Any] = []
        rows = size = 0
        with (ipc().open_file if in_file_form else ipc().open_stream)(source) as reader:
            pieces = (reader.get_batch(n) for n in range(reader.num_record_batches)) if in_file_form else reader
            for piece in pieces:
                # Not `nbytes`, which follows offsets that nobody has looked at yet.
                rows, size = rows + piece.num_rows, size + piece.get_total_buffer_size()
                within(str(path), rows=rows, size=size)
                batches.append(piece)
            table = pa.Table.from_batches(batches, reader.schema)
    return bounded(str(path), _checked(table))


def schema_of(path: str | Path) -> Any:
    """The `pyarrow.Schema` of a Parquet file.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is broken.
    """
    return parquet().read_schema(str(path))


def bounded(file: str, table: Table) -> Table:
    """The table, unless its values take more memory than is allowed once each stands for itself.

    Args:
        file: What to call it in messages.
        table: A `pyarrow.Table` whose buffers are known to be whole.

    Raises:
        DataError: It unfolds to more than is allowed, or a column has a type of which that cannot be told.
    """
    size = 0
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            try:
                size += _size(chunk)
            except NotImplementedError as error:
                message = f"{file}: the column {name!r} has the type {column.type}, which is not read."
                raise DataError(message) from error
            within(file, size=size)
    return table


def within(file: str, *, rows: int = 0, size: int = 0) -> None:
    """Refuses what is larger than is allowed.

    Args:
        file: What to call it in the message.
        rows: How many rows it has.
        size: How many bytes it unfolds to.

    Raises:
        DataError: It has too many.
    """
    if rows > MOST_ROWS:
        raise DataError(f"{file} has more than {MOST_ROWS:,} rows. {_RAISE.format('MOST_ROWS')}")
    if size > MOST_BYTES:
        raise DataError(f"{file} unfolds to more than {MOST_BYTES:,} bytes. {_RAISE.format('MOST_BYTES')}")


def _checked(table: Table) -> Table:
    """The table, once all of its offsets, lengths and indices are known to lie where they may."""
    pa: Any = arrow()
    # Text that is not UTF-8 is the fault of its row and not of the file: whoever reads the values says which.
    loose = [pa.chunked_array([_loose(c) for c in column.chunks], _loose_type(column.type)) for column in table.columns]
    pa.table(loose, names=[str(number) for number in range(len(loose))]).validate(full=True)
    return table


def _loose(array: Any) -> Any:
    pa: Any = arrow()
    kind = _loose_type(array.type)
    if kind == array.type:
        return array
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices, _loose(array.dictionary), safe=False)
    return array.view(kind)


def _loose_type(kind: Any) -> Any:
    """The type, with bytes where it has text."""
    pa: Any = arrow()
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _loose_type(kind.value_type))
    return {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}.get(kind, kind)


def _plain(schema: Any, field: Any) -> Any:
    place = schema.get_field_index(field.name)
    return schema.field(place) if place >= 0 else field


def _undictionaried(table: Table, schema: Any) -> Table:
    pa: Any = arrow()
    columns: list[Any] = []
    for column, field in zip(table.columns, schema, strict=True):
        if not pa.types.is_dictionary(column.type) or pa.types.is_dictionary(field.type):
            columns.append(column)
            continue
        # `take` leaves the bytes alone; a cast would look whether they are UTF-8.
        chunks = [chunk.dictionary.take(chunk.indices) for chunk in column.chunks]
        columns.append(pa.chunked_array(chunks, column.type.value_type).cast(field.type))
    return pa.table(columns, schema=schema)


def _size(array: Any) -> int:
    """Bytes of an array's values when each stands for itself, 8 for each place that they take."""
    t, kind = arrow().types, array.type
    if t.is_dictionary(kind):
        return 8 * len(array) + _taken(array.dictionary, array.indices)
    if t.is_struct(kind):
        return 8 * len(array) + sum(_size(array.field(number)) for number in range(kind.num_fields))
    if t.is_map(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        parts = (array.keys, array.items)
        return 8 * len(array) + sum(_size(part.slice(first, last - first)) for part in parts)
    if t.is_list(kind) or t.is_large_list(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return 8 * len(array) + _size(array.values.slice(first, last - first))
    if t.is_fixed_size_list(kind):
        return 8 * len(array) + _size(array.values)
    if t.is_string_view(kind) or t.is_binary_view(kind):
        return 8 * len(array) + sum(_view_lengths(array))
    if t.is_nested(kind) or t.is_run_end_encoded(kind):
        raise NotImplementedError  # unions, and lists that may lie on top of one another
    return 8 * len(array) + int(getattr(array, "storage", array).nbytes)


def _view_lengths(array: Any) -> list[int]:
    # 16 bytes for each value, the first 4 of them its length; Arrow has no function that reads only them.
    views = memoryview(array.buffers()[1]).cast("b").cast("i")
    return [max(length, 0) for length in views[4 * array.offset : 4 * (array.offset + len(array)) : 4].tolist()]


def _taken(values: Any, indices: Any) -> int:
    t, pc = arrow().types, compute()
    kind = values.type
    if t.is_nested(kind) or t.is_dictionary(kind) or t.is_run_end_encoded(kind):
        raise NotImplementedError
    if t.is_string_view(kind) or t.is_binary_view(kind):
        raise NotImplementedError
    texts = (t.is_string, t.is_large_string, t.is_binary, t.is_large_binary)
    if not any(is_one(kind) for is_one in texts):
        return 0
    lengths = pc.cast(pc.binary_length(values), arrow().int64())
    return int(pc.sum(lengths.take(indices)).as_py() or 0)
