"""Pools of strings and lists over them: a column of text is a column of ids until it is written.

Every string of a pool also stands in it with a capital first letter, under the id that follows its own; ids of
strings as they are are even, and 0 is the empty string.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from soaptune.common.arrow import Table, arrow
from soaptune.generation.arrays import Ints, numpy

__all__ = ["FrozenPool", "Pool", "Ragged"]


class Pool:
    """Collects strings and gives each one id."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {"": 0}
        self._texts: list[str] = ["", ""]

    def add(self, text: str) -> int:
        """The id of a string, which is added when it is new.

        Args:
            text: The string.

        Returns:
            Its id, an even number; the id after it is the string with a capital first letter.
        """
        known = self._ids.get(text)
        if known is not None:
            return known
        self._ids[text] = len(self._texts)
        self._texts += [text, text[:1].upper() + text[1:]]
        return self._ids[text]

    def add_all(self, texts: Iterable[str]) -> list[int]:
        """The ids of several strings."""
        return [self.add(text) for text in texts]

    def freeze(self) -> FrozenPool:
        """The pool as columns; strings that are added later are not in it."""
        np, pa = numpy(), arrow()

        return FrozenPool(texts=pa.array(self._texts), chars=np.array([len(t) for t in self._texts], dtype=np.int32))


@dataclass(frozen=True)
class FrozenPool:
    """A pool as columns.

    Attributes:
        texts: The strings by id, a pyarrow ``StringArray``.
        chars: Their lengths in characters by id, int32.
    """

    texts: Any
    chars: Ints

    def strings(self, ids: Ints) -> Table:
        """The strings of a column of ids.

        Args:
            ids: Ids of this pool, shape ``(n,)``.

        Returns:
            The strings, length n.
        """
        np, pa = numpy(), arrow()

        return self.texts.take(pa.array(ids.astype(np.int32, copy=False)))

    def joined(self, ids: Ints, bounds: Ints) -> Table:
        """Strings put together from pieces of the pool.

        The pieces of all rows are gathered in one go, which lays them down one after the other in memory; the rows
        are then nothing but other offsets into the same bytes.

        Args:
            ids: The pieces' ids, all rows after each other.
            bounds: Where each row's pieces begin in ``ids``, and at last their number; shape ``(rows + 1,)``.

        Returns:
            The strings, one for each row.
        """
        np, pa = numpy(), arrow()

        pieces: Any = self.strings(ids)
        _, offsets, data = pieces.buffers()
        if len(pieces) == 0:
            return pa.array([""] * (len(bounds) - 1), pa.string())
        at: Ints = np.frombuffer(offsets, dtype=np.int32)[bounds]
        return pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(np.ascontiguousarray(at)), data)


class Ragged:
    """Lists of different lengths in one array: list k is ``values[starts[k] : starts[k] + counts[k]]``.

    Args:
        lists: The lists of whole numbers.
    """

    def __init__(self, lists: Sequence[Sequence[int]]) -> None:
        np = numpy()

        self.counts: Ints = np.array([len(items) for items in lists], dtype=np.int64)
        self.starts: Ints = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)[:-1]]).astype(np.int64)
        self.values: Ints = np.array([x for items in lists for x in items] or [0], dtype=np.int64)

    def take(self, keys: Ints, indices: Ints) -> Ints:
        """Items of the lists: the ``indices[i]``-th of list ``keys[i]``, 0 where the index is negative.

        Args:
            keys: Which list, shape ``(n,)``.
            indices: Which item of it, shape ``(n,)`` or ``(n, k)``.

        Returns:
            The items, in the shape of ``indices``.
        """
        np = numpy()

        starts = self.starts[keys]
        at: Ints = (starts[:, None] if indices.ndim == 2 else starts) + np.maximum(indices, 0)
        return np.where(indices >= 0, self.values[np.minimum(at, len(self.values) - 1)], 0)
