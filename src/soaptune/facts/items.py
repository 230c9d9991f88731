"""Checkable items: the statements in a free text that can be looked up without understanding it.

Two kinds of them: *terms*, the values of a vocabulary (the fact values that occur anywhere in a data set, and the names
of its task's lexicon), and *quantities*, numbers with the unit behind them. Everything else in a text is not checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from soaptune.facts.matching import TermIndex, contains
from soaptune.facts.numbers import quantities
from soaptune.facts.support import unsupported_numbers

__all__ = ["Item", "Vocabulary", "unsaid"]


@dataclass(frozen=True, slots=True)
class Item:
    """One checkable statement of a text.

    Attributes:
        text: A term as the vocabulary has it, or a quantity in its one spelling (``"25 mg"``).
        quantity: Whether it is a quantity.
        denied: Whether the text denies the term, wherever it names it.
    """

    text: str
    quantity: bool = False
    denied: bool = False


class Vocabulary:
    """The terms that are looked for in texts.

    Args:
        values: The terms, such as the values of a data set's facts, in any order, repeats allowed.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        # A bare quantity is checked wherever it stands, so it is no term.
        self._index = TermIndex([value for value in dict.fromkeys(values) if not _is_quantity(value)])

    def __len__(self) -> int:
        return len(self._index)

    def items(self, text: str) -> tuple[Item, ...]:
        """Finds the items of a text: the longest terms first from the left, then the quantities beside them.

        A number that is only said by "a", "one", "once" or "twice" may not be meant as one and is no item.

        Args:
            text: Any text.

        Returns:
            Each different item once: terms, then quantities, each in the order in which they first occur.
        """
        places = self._index.find(text)
        terms = [Item(term, denied=not contains(text, term)) for term, _, _ in places]
        beside = [
            Item(str(found), quantity=True)
            for found in quantities(text)
            if not found.implicit and not any(start <= found.start < end for _, start, end in places)
        ]
        return tuple(dict.fromkeys([*terms, *beside]))


def unsaid(items: Iterable[Item], text: str, *, either_way: bool = False) -> tuple[Item, ...]:
    """Finds the items that a text does not say.

    A term is said where its words stand side by side, denied where the item is denied and not denied where it is not.
    A quantity is said where its number stands with the same unit, or one of the two has no unit; see
    `soaptune.facts.unsupported_numbers`. What is not said here is not said in any form known to this package, so that a
    rate built on it is a lower bound.

    Args:
        items: The items.
        text: Where to look.
        either_way: Whether a term counts as said also where one of the two denies it and the other does not.

    Returns:
        The items that are not said, in order.
    """
    return tuple(item for item in items if not _says(text, item, either_way))


def _says(text: str, item: Item, either_way: bool) -> bool:
    if item.quantity:
        return not unsupported_numbers(item.text, text)
    kinds = ("", "denied") if either_way else ("denied" if item.denied else "",)
    return any(contains(text, item.text, kind) for kind in kinds)


def _is_quantity(value: str) -> bool:
    found = quantities(value)
    return len(found) == 1 and not value[: found[0].start].strip() and not value[found[0].end :].strip()
