"""Checkable items: the statements in a free text that can be looked up without understanding it.

Two kinds of them: *terms*, the fact values that occur anywhere in the data set (its vocabulary), and *quantities*,
numbers with the unit behind them. Everything else in a text is not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from soaptune.evaluate.metrics.text import UNITS, contains, is_number, normalise

__all__ = ["Item", "Vocabulary", "supported"]


@dataclass(frozen=True, slots=True)
class Item:
    """One checkable statement.

    Attributes:
        tokens: A term's tokens, or a quantity's number and, where there is one, its unit.
        quantity: Whether it is a quantity.
    """

    tokens: tuple[str, ...]
    quantity: bool = False


class Vocabulary:
    """The terms that a data set's facts speak of.

    Args:
        values: The fact values, in any order, repeats allowed.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        terms = {normalise(value) for value in values} - {()}
        # A bare number is a quantity wherever it stands, so it is no term.
        self._terms = {term for term in terms if not (len(term) == 1 and is_number(term[0]))}
        self._lengths: dict[str, tuple[int, ...]] = {}
        for term in self._terms:
            lengths = {*self._lengths.get(term[0], ()), len(term)}
            self._lengths[term[0]] = tuple(sorted(lengths, reverse=True))

    def __len__(self) -> int:
        return len(self._terms)

    def items(self, text: str) -> tuple[Item, ...]:
        """Finds the items of a text: the longest terms first from the left, then the quantities beside them.

        Args:
            text: Any text.

        Returns:
            Each different item once, in the order in which they first occur.
        """
        tokens = normalise(text)
        found: dict[Item, None] = {}
        index = 0
        while index < len(tokens):
            length = self._term_at(tokens, index)
            if length:
                found[Item(tokens[index : index + length])] = None
            elif is_number(tokens[index]):
                length = _quantity_length(tokens, index)
                found[Item(tokens[index : index + length], quantity=True)] = None
            index += length or 1
        return tuple(found)

    def _term_at(self, tokens: Sequence[str], index: int) -> int:
        for length in self._lengths.get(tokens[index], ()):
            if tuple(tokens[index : index + length]) in self._terms:
                return length
        return 0


def supported(item: Item, texts: Iterable[str]) -> bool:
    """Whether one of the texts says an item.

    A term is said where its words stand side by side. A quantity is said where its number stands with the same unit;
    where either of the two names no unit, the number alone decides.

    Args:
        item: The item.
        texts: Where to look.
    """
    return any(_says(normalise(text), item) for text in texts)


def _says(tokens: tuple[str, ...], item: Item) -> bool:
    if contains(tokens, item.tokens):
        return True
    if not item.quantity:
        return False
    number, unit = _split(item.tokens)
    for index in range(len(tokens)):
        if is_number(tokens[index]):
            length = _quantity_length(tokens, index)
            found, its_unit = _split(tokens[index : index + length])
            if found == number and (not unit or not its_unit):
                return True
    return False


def _split(tokens: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    return (tokens[:-1], tokens[-1]) if tokens[-1] in UNITS else (tokens, "")


def _quantity_length(tokens: Sequence[str], index: int) -> int:
    """Tokens of the quantity that begins here: ``120 / 80``, ``25 mg``, ``3``."""
    length = 3 if index + 2 < len(tokens) and tokens[index + 1] == "/" and is_number(tokens[index + 2]) else 1
    return length + (1 if index + length < len(tokens) and tokens[index + length] in UNITS else 0)
