"""Templates, compiled: a document is a sequence of passages, each said in one of several ways.

A passage's template is literal text with ``{slots}``. All templates of a script become one flat array of codes – ids of
literals, or references to slots – and writing n documents is a handful of array operations over all of their pieces at
once, whatever n is. Where each slot's text stands in each document falls out of the same pass.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soaptune.common.arrow import Table
from soaptune.errors import DataError
from soaptune.generation.arrays import Bools, Ints, numpy
from soaptune.generation.pools import FrozenPool, Pool, Ragged
from soaptune.generation.random import Draws

__all__ = ["Phrase", "Script", "Slots", "Written"]

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Phrase:
    """One way to put a passage.

    Attributes:
        text: Literal text with ``{slot}``; ``{Slot}`` is the slot's text with a capital first letter.
        when: The axis values that it fits, by axis; an axis that is not named does not matter.
    """

    text: str
    when: Mapping[str, tuple[str, ...]]


class Slots:
    """The names of a generator's slots, in order.

    Args:
        names: The slots.
        macros: Names that stand for several slots and text between them, such as a list of items.
    """

    def __init__(self, names: Sequence[str], macros: Mapping[str, str] | None = None) -> None:
        self.names = tuple(names)
        self._index = {name: k for k, name in enumerate(self.names)}
        self._macros = dict(macros or {})

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> int:
        return self._index[name]

    def codes(self, text: str, pool: Pool) -> list[int]:
        """A template as codes: a literal's id, or for slot s the number ``-1 - 2 s``, one less when capitalised.

        Args:
            text: The template.
            pool: Where literals go.

        Returns:
            The codes.

        Raises:
            DataError: The template names a slot that does not exist.
        """
        text = _FIELD.sub(self._expand, text)
        codes: list[int] = []
        for k, part in enumerate(_FIELD.split(text)):
            if k % 2 == 0:
                codes += [pool.add(part)] if part else []
                continue
            plain = part[0].lower() + part[1:]
            if plain not in self._index:
                raise DataError(f"The template {text!r} has a slot {part!r}, which the generator does not fill.")
            codes.append(-1 - 2 * self._index[plain] - (plain != part))
        return codes

    def _expand(self, match: re.Match[str]) -> str:
        name = match[1]
        plain = name[0].lower() + name[1:]
        text = self._macros.get(plain)
        if text is None:
            return match[0]
        # A capital goes to the first thing of the macro, which is a slot.
        return text if plain == name else "{" + text[1].upper() + text[2:]


@dataclass(frozen=True)
class Written:
    """Documents as pieces of a pool.

    Attributes:
        ids: The pieces, all documents after each other.
        bounds: Where each document begins in ``ids``, and at last their number; shape ``(n + 1,)``.
        positions: The first character of each slot's first mention in each document, -1 where it is not mentioned or
            empty; shape ``(n, slots)``.
    """

    ids: Ints
    bounds: Ints
    positions: Ints

    def strings(self, pool: FrozenPool) -> Table:
        """The documents' texts."""
        return pool.joined(self.ids, self.bounds)


class Script:
    """One document's passages, compiled.

    Args:
        name: The document's name, which its random choices are drawn under.
        passages: The ways to put each passage, by the passage's name.
        orders: Orders of all passages, one of which each row takes.
        join: What stands between two passages.
        axes: The values of each axis that a phrase's ``when`` may name.
        slots: The slots.
        pool: Where literals go.

    Raises:
        DataError: A phrase names an unknown axis, value or slot, an order leaves out a passage, or there is a
            combination of axis values for which a passage has no phrase.
    """

    def __init__(
        self,
        name: str,
        *,
        passages: Mapping[str, Sequence[Phrase]],
        orders: Sequence[Sequence[str]],
        join: str,
        axes: Mapping[str, Sequence[str]],
        slots: Slots,
        pool: Pool,
    ) -> None:
        np = numpy()

        self._name = name
        self._slots = slots
        self._passages = tuple(passages)
        self._axes: dict[str, tuple[str, ...]] = {}
        self._choices: dict[str, Ragged] = {}
        with_join: list[list[int]] = [[]]
        without: list[list[int]] = [[]]
        for passage, phrases in passages.items():
            first = len(with_join)
            with_join += [slots.codes(join + p.text, pool) for p in phrases]
            without += [slots.codes(p.text, pool) for p in phrases]
            used = tuple(sorted({axis for p in phrases for axis in p.when}))
            self._check(passage, phrases, axes)
            self._axes[passage] = used
            lists = [
                [first + k for k, p in enumerate(phrases) if all(key[used.index(a)] in v for a, v in p.when.items())]
                for key in itertools.product(*(axes[a] for a in used))
            ]
            for key, items in zip(itertools.product(*(axes[a] for a in used)), lists, strict=True):
                if not items:
                    raise DataError(
                        f"{name}: the passage {passage!r} has no phrase for {dict(zip(used, key, strict=True))}."
                    )
            self._choices[passage] = Ragged(lists)
        # Phrases of the first passage of a document come without the joining text: id + n_phrases.
        self._n_phrases = len(with_join)
        self._codes = Ragged(with_join + without)
        self._sizes = {axis: len(values) for axis, values in axes.items()}
        for order in orders:
            if sorted(order) != sorted(self._passages):
                raise DataError(f"{name}: an order must hold each of the passages {sorted(self._passages)} once.")
        self._orders: Ints = np.array([[self._passages.index(p) for p in order] for order in orders], dtype=np.int64)

    def _check(self, passage: str, phrases: Sequence[Phrase], axes: Mapping[str, Sequence[str]]) -> None:
        for phrase in phrases:
            for axis, values in phrase.when.items():
                if axis not in axes or not set(values) <= set(axes[axis]):
                    raise DataError(
                        f"{self._name}: a phrase of {passage!r} names {axis}={values}, which does not exist."
                    )

    @property
    def passages(self) -> tuple[str, ...]:
        """The passages' names."""
        return self._passages

    def write(
        self, draws: Draws, *, present: Mapping[str, Bools], axes: Mapping[str, Ints], slots: Ints, pool: FrozenPool
    ) -> Written:
        """Writes one document for each row.

        Args:
            draws: The rows' random numbers.
            present: Which rows have a passage, each ``(n,)`` bool; a passage that is not named is always present.
            axes: The rows' axis values as indices, each ``(n,)``.
            slots: The slots' texts as ids, shape ``(n, slots)``.
            pool: The pool that the script was compiled into.

        Returns:
            The documents.
        """
        np = numpy()

        n = draws.n
        phrases: Ints = np.zeros((n, len(self._passages)), dtype=np.int64)
        for column, passage in enumerate(self._passages):
            key: Ints = np.zeros(n, dtype=np.int64)
            for axis in self._axes[passage]:
                key = key * self._sizes[axis] + axes[axis]
            choices = self._choices[passage]
            picked = choices.take(key, draws.below(f"{self._name}.{passage}", choices.counts[key]))
            phrases[:, column] = np.where(present[passage], picked, 0) if passage in present else picked
        order = self._orders[draws.below(f"{self._name}.order", len(self._orders))]
        phrases = np.take_along_axis(phrases, order, axis=1)
        phrases[np.arange(n), np.argmax(phrases > 0, axis=1)] += self._n_phrases
        return self._lay_out(phrases, slots, pool)

    def _lay_out(self, phrases: Ints, slots: Ints, pool: FrozenPool) -> Written:
        """Turns phrases into pieces: literals as they are, slots replaced by the row's text, empty ones dropped."""
        np = numpy()

        n, width = phrases.shape
        flat = phrases.reshape(-1)
        counts = self._codes.counts[flat]
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        codes = self._codes.values[np.repeat(self._codes.starts[flat] - (ends - counts), counts) + np.arange(total)]
        rows = np.repeat(np.arange(n), counts.reshape(n, width).sum(axis=1))
        at = np.flatnonzero(codes < 0)
        slot, capital = np.divmod(-1 - codes[at], 2)
        values = slots[rows[at], slot]
        ids = codes
        ids[at] = values + capital
        full = values > 0
        lengths: Ints = pool.chars[ids]
        stops = np.cumsum(lengths, dtype=np.int64)
        before = np.concatenate([np.zeros(1, np.int64), stops])
        firsts = np.searchsorted(rows, np.arange(n + 1))
        positions: Ints = np.full(slots.shape, -1, dtype=np.int32)
        # Backwards, because of several mentions the first one is to stay.
        back, kinds = at[full][::-1], slot[full][::-1]
        positions[rows[back], kinds] = before[back] - before[firsts[rows[back]]]
        keep = lengths > 0
        kept: Ints = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])[firsts]
        return Written(ids=ids[keep], bounds=kept, positions=positions)
