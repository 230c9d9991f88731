"""The facts of generated examples, as one column: what each output states and where it stands in the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from soaptune.common.arrow import Table, arrow
from soaptune.errors import DataError
from soaptune.generation.arrays import Ints, numpy
from soaptune.generation.pools import FrozenPool
from soaptune.generation.scripts import Written

__all__ = ["fact_column"]


def fact_column(
    *,
    source: str,
    said_in: Written,
    written_in: Mapping[str, Written],
    kinds: Sequence[str],
    said: Ints,
    written: Ints,
    pool: FrozenPool,
) -> Table:
    """Lists the facts that the outputs of each row state.

    Args:
        source: The input field's name.
        said_in: The input texts.
        written_in: The output texts by field.
        kinds: The kind of fact that each slot holds; an empty string when it holds none.
        said: The slots' texts in the input, as ids, shape ``(n, slots)``.
        written: The slots' texts in the outputs, as ids, shape ``(n, slots)``.
        pool: The pool of the ids.

    Returns:
        One list for each row of ``field, kind, value, start, end, source``: fields in the order given, slots in their
        order.

    Raises:
        DataError: An output states a slot that the input does not say, which is a fault of the templates.
    """
    np, pa = numpy(), arrow()

    slots = np.array([k for k, kind in enumerate(kinds) if kind], dtype=np.int64)
    fields = list(written_in)
    stated = np.stack([written_in[field].positions[:, slots] >= 0 for field in fields], axis=1)
    rows, field, column = np.nonzero(stated)
    slot = slots[column]
    start = said_in.positions[rows, slot]
    if (start < 0).any():
        unsaid: list[int] = np.unique(slot[start < 0]).tolist()
        missing = sorted({kinds[k] for k in unsaid})
        raise DataError(
            f"The templates state facts in the outputs that the input does not say; their kinds: {missing}."
        )
    end = start + pool.chars[said[rows, slot]]
    names: Any = pa.array([*fields, *kinds, source])
    columns = [
        names.take(pa.array(field)),
        names.take(pa.array(len(fields) + slot)),
        pool.strings(written[rows, slot]),
        pa.array(start.astype(np.int32)),
        pa.array(end.astype(np.int32)),
        names.take(pa.array(np.full(len(rows), len(fields) + len(kinds), dtype=np.int32))),
    ]
    items = pa.StructArray.from_arrays(columns, names=["field", "kind", "value", "start", "end", "source"])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(stated.sum(axis=(1, 2)))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), items)
