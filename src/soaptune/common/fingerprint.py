"""Fingerprints: equal content has an equal one, whatever the file, the machine or the order of columns."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from soaptune.common.arrow import Table, arrow, compute
from soaptune.errors import DataError

__all__ = ["TableHasher", "fingerprint", "fingerprint_table"]


def fingerprint(obj: Any) -> str:
    """The fingerprint of an object that JSON can say.

    Args:
        obj: Dicts with string keys, lists or tuples, strings, finite numbers, booleans and None.

    Returns:
        ``"sha256:<64 hex digits>"`` of the object's canonical JSON (sorted keys, no spaces, ASCII).

    Raises:
        DataError: The object holds NaN or an infinity.
    """
    try:
        text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except ValueError as error:
        raise DataError(f"An object with NaN or an infinity has no fingerprint: {error}.") from error
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def fingerprint_table(table: Table) -> str:
    """The fingerprint of a table's rows.

    It depends on the column names, the values and the order of the rows; not on the order of the columns, chunks,
    row groups, dictionary encoding, string or integer width, schema metadata, or what lies in memory below a null.

    Args:
        table: A `pyarrow.Table`.

    Returns:
        ``"sha256:<64 hex digits>"``.

    Raises:
        DataError: Two columns share a name, or a column has a type without a canonical form (unions, maps).
    """
    hasher = TableHasher(table.schema)
    hasher.update(table)
    return hasher.digest()


class TableHasher:
    """Fingerprints rows that come piece by piece, in bounded memory.

    Each column has a few byte streams of its own (which rows are null, how long each value is, the values end to
    end); since they are hashed apart, pieces of any size give the same result.
    """

    def __init__(self, schema: Any) -> None:
        """Starts without rows.

        Args:
            schema: The `pyarrow.Schema` of all pieces.
        """
        names: list[str] = list(schema.names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"The column {twice[0]!r} stands twice in the table.")
        self._streams: dict[str, Any] = {}
        self._rows = 0
        pa = arrow()
        for field in schema:
            # Also a table without rows or chunks has streams, so that it differs from one without the column.
            self._walk(pa.array([], type=_plain_type(field.type, field.name)), json.dumps(field.name))

    def update(self, piece: Table) -> None:
        """Adds the rows of a table or record batch that has the schema's columns."""
        self._rows += piece.num_rows
        for name, column in zip(piece.schema.names, piece.columns, strict=True):
            plain = _plain_type(column.type, name)
            for chunk in getattr(column, "chunks", [column]):
                self._walk(_as_plain(chunk, plain), json.dumps(name))

    def digest(self) -> str:
        """The fingerprint of all rows so far, as ``"sha256:<hex>"``."""
        streams = {path: stream.hexdigest() for path, stream in self._streams.items()}
        return fingerprint({"rows": self._rows, "streams": streams})

    def _feed(self, path: str, data: Any) -> None:
        self._streams.setdefault(path, hashlib.sha256()).update(data)

    def _walk(self, array: Any, path: str) -> None:
        pa, pc = arrow(), compute()
        kind = array.type
        if array.null_count:
            self._feed(f"{path}/valid", _fixed_bytes(pc.cast(array.is_valid(), pa.uint8()), 1))
        else:
            self._feed(f"{path}/valid", b"\x01" * len(array))
        if pa.types.is_null(kind):
            return
        if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            empty = pa.scalar("" if pa.types.is_large_string(kind) else b"", kind)
            filled = array.fill_null(empty) if array.null_count else array
            lengths = pc.cast(pc.binary_length(filled), pa.int64())
            self._feed(f"{path}/{kind}/lengths", _fixed_bytes(lengths, 8))
            self._feed(f"{path}/{kind}", _text_bytes(filled))
        elif pa.types.is_large_list(kind):
            lengths = pc.cast(pc.list_value_length(array).fill_null(0), pa.int64())
            self._feed(f"{path}/list/lengths", _fixed_bytes(lengths, 8))
            self._walk(pc.list_flatten(array), f"{path}/list")
        elif pa.types.is_struct(kind):
            for index, child in enumerate(array.flatten()):  # flatten() also carries the parent's nulls down
                self._walk(child, f"{path}/{json.dumps(kind.field(index).name)}")
        else:
            filled = array.fill_null(pa.scalar(0, kind)) if array.null_count else array
            self._feed(f"{path}/{kind}", _fixed_bytes(filled, kind.bit_width // 8))


def _plain_type(kind: Any, column: str) -> Any:
    """The type in which a column is hashed, so that encodings and widths do not matter."""
    pa = arrow()
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type, column)
    if t.is_dictionary(kind) or t.is_run_end_encoded(kind):
        return _plain_type(kind.value_type, column)
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind) or t.is_decimal(kind):
        return pa.large_string()
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind):
        return pa.large_binary()
    if t.is_boolean(kind):
        return pa.uint8()
    if t.is_uint64(kind):
        return kind
    if t.is_integer(kind) or t.is_temporal(kind):
        return pa.int64()
    if t.is_floating(kind):
        return pa.float64()
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return pa.large_list(_plain_type(kind.value_type, column))
    if t.is_struct(kind):
        return pa.struct([(field.name, _plain_type(field.type, column)) for field in kind])
    if t.is_null(kind):
        return kind
    raise DataError(f"The column {column!r} has the type {kind}, which a dataset cannot hold.")


def _as_plain(array: Any, plain: Any) -> Any:
    pa = arrow()
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _as_plain(array.storage, plain)
    if pa.types.is_dictionary(kind):
        return _as_plain(array.dictionary_decode(), plain)
    if kind == plain:
        return array
    if pa.types.is_temporal(kind):
        # Not every temporal type casts to int64 at once; all of them cast to the integer of their own width.
        return array.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(plain)
    if pa.types.is_struct(kind):
        children = [_as_plain(child, plain.field(i).type) for i, child in enumerate(array.flatten())]
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(plain), mask=mask)
    if pa.types.is_large_list(plain):
        large = array if pa.types.is_large_list(kind) else array.cast(pa.large_list(kind.value_type))
        values = _as_plain(large.flatten(), plain.value_type)
        return _large_list(large, values, plain)
    return array.cast(plain)


def _large_list(array: Any, values: Any, plain: Any) -> Any:
    """The lists of `array` over converted values, rebuilt from their lengths (flattening drops what nulls cover)."""
    pa, pc = arrow(), compute()
    lengths = pc.cast(pc.list_value_length(array).fill_null(0), pa.int64())
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    mask = array.is_null() if array.null_count else None
    return pa.LargeListArray.from_arrays(offsets, values, type=plain, mask=mask)


def _fixed_bytes(array: Any, width: int) -> Any:
    data = array.buffers()[1]
    if data is None:
        return b""
    return memoryview(data)[array.offset * width : (array.offset + len(array)) * width]


def _text_bytes(array: Any) -> Any:
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return b""
    bounds = memoryview(offsets).cast("B").cast("q")
    return memoryview(data)[bounds[array.offset] : bounds[array.offset + len(array)]]
