"""Counter-based randomness: every value is a hash of the seed, the row's index and the name of what is drawn.

There is no state that advances, so a row's values do not depend on which other rows are made, in what order or in
which process. Only integer arithmetic is used, so they do not depend on the machine either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from soaptune.generation.arrays import Bools, Ints, numpy

__all__ = ["Draws", "permutation"]

_GAMMA = 0x9E3779B97F4A7C15


def _mix(x: Ints) -> Ints:
    """The finalizer of splitmix64, on an array of uint64 that it may overwrite."""
    np = numpy()

    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _salt(seed: int, name: str, part: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}/{part}".encode(), digest_size=8).digest(), "little")


class Draws:
    """Random columns for some rows.

    Args:
        seed: The seed of the whole.
        rows: The rows' indices, shape ``(n,)``, non-negative integers.
    """

    def __init__(self, seed: int, rows: Ints) -> None:
        np = numpy()

        self.seed = seed
        self.n = len(rows)
        self._counters: Ints = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA)

    def bits(self, name: str, part: int = 0) -> Ints:
        """64 random bits for each row, shape ``(n,)`` uint64.

        Args:
            name: What is drawn; another name gives unrelated values.
            part: Which of several values of that name.
        """
        np = numpy()

        return _mix(self._counters + np.uint64(_salt(self.seed, name, part)))

    def below(self, name: str, bound: int | Ints, part: int = 0) -> Ints:
        """A whole number from 0 to ``bound - 1`` for each row, shape ``(n,)`` int64.

        Args:
            name: What is drawn.
            bound: How many values are possible, at least 1 and below 2**32: one number, or one for each row.
            part: Which of several values of that name.
        """
        np = numpy()

        wide = np.asarray(bound).astype(np.uint64)
        return (((self.bits(name, part) >> np.uint64(32)) * wide) >> np.uint64(32)).astype(np.int64)

    def between(self, name: str, low: int | Ints, high: int | Ints) -> Ints:
        """A whole number from ``low`` to ``high``, both included, for each row, shape ``(n,)`` int64."""
        np = numpy()

        first = np.asarray(low)
        return first + self.below(name, np.maximum(np.asarray(high) - first + 1, 1))

    def chance(self, name: str, share: float | Ints) -> Bools:
        """Whether something with the probability ``share`` happens, shape ``(n,)`` bool.

        Args:
            name: What is drawn.
            share: A probability, or one for each row.
        """
        np = numpy()

        threshold = np.rint(np.asarray(share, dtype=np.float64) * 2.0**32).astype(np.uint64)
        return (self.bits(name) >> np.uint64(32)) < threshold

    def weighted(self, name: str, weights: Sequence[float]) -> Ints:
        """An index into ``weights`` for each row, shape ``(n,)`` int64, in proportion to the weights."""
        np = numpy()

        ends = np.cumsum(np.asarray(weights, dtype=np.float64))
        thresholds = np.rint(ends / ends[-1] * 2.0**32).astype(np.uint64)
        return np.searchsorted(thresholds[:-1], self.bits(name) >> np.uint64(32), side="right").astype(np.int64)

    def distinct(self, name: str, counts: Ints, k: int) -> Ints:
        """``k`` different numbers below each row's count, in random order.

        Args:
            name: What is drawn.
            counts: How many there are to choose from in each row, shape ``(n,)``.
            k: How many to draw.

        Returns:
            Shape ``(n, k)`` int64; -1 where a row has no more to choose from.
        """
        np = numpy()

        width = max(int(counts.max(initial=0)), k, 1)
        keys: Ints = np.empty((self.n, width), dtype=np.uint64)
        for j in range(width):
            # The lowest bits carry the index, so that sorting the keys sorts the indices: no second gather is needed.
            keys[:, j] = (self.bits(name, j) & np.uint64(0x7FFFFFFFFFFFFF00)) | np.uint64(j)
            keys[:, j] |= np.where(j < counts, np.uint64(0), np.uint64(1) << np.uint64(63))
        keys.sort(axis=1)
        picked: Ints = (keys[:, :k] & np.uint64(0xFF)).astype(np.int64)
        picked[np.arange(k)[None, :] >= counts[:, None]] = -1
        return picked


def permutation(seed: int, name: str, n: int) -> Ints:
    """The numbers 0 to ``n - 1`` in an order that the seed and the name fix, shape ``(n,)`` int64."""
    np = numpy()

    return np.argsort(Draws(seed, np.arange(n)).bits(name), kind="stable").astype(np.int64)
