"""What a prediction states and its source does not: invented numbers and invented names.

Both functions err on the side of the prediction: what they report is not said in the source in any form known here, so
that a rate built on them is a lower bound.
"""

from __future__ import annotations

from collections.abc import Collection

from soaptune.facts.matching import TermIndex, contains
from soaptune.facts.numbers import Quantity, quantities

__all__ = ["unsupported_numbers", "unsupported_terms"]


def unsupported_numbers(prediction: str, source: str) -> list[Quantity]:
    """Finds the numbers of a prediction that its source does not say.

    Definition: a quantity of the prediction (see `soaptune.facts.numbers.quantities`) is supported when a quantity of
    the source has the same number and the same unit, or one of the two has no unit ("°" goes with every temperature). A
    value of several numbers (``120/80``, ``3-5``) is supported when the source has it, or each of its numbers. A single
    number is also supported by a part of such a value. Numbers that a prediction says only by "a", "one", "once" or
    "twice" are not tested; in the source they count as said.

    Args:
        prediction: What the model wrote.
        source: What it was given.

    Returns:
        The unsupported quantities in order, repeats included, with their places in the prediction.
    """
    said: dict[str, set[str]] = {}
    for found in quantities(source):
        for number in {found.number, *found.parts}:
            said.setdefault(number, set()).add(found.unit)

    def supported(wanted: Quantity) -> bool:
        parts = (wanted.number,) if wanted.number in said else wanted.parts
        return all(any(_compatible(wanted.unit, unit) for unit in said.get(part, ())) for part in parts)

    return [found for found in quantities(prediction) if not found.implicit and not supported(found)]


def _compatible(one: str, other: str) -> bool:
    return one == other or not one or not other or (one[0] == other[0] == "°" and "°" in (one, other))


def unsupported_terms(prediction: str, source: str, terms: Collection[str] | TermIndex) -> list[str]:
    """Finds the terms of a prediction that its source does not say.

    Definition: a term stands in the prediction (the longest where several do) and its words stand nowhere in the source
    side by side, denied or not. Words that are no term are not looked at, however wrong they are.

    Args:
        prediction: What the model wrote.
        source: What it was given.
        terms: The names to look for, such as a task's lexicon; a `TermIndex` saves making one for each call.

    Returns:
        The terms as they were given, each once, in the order in which the prediction states them.
    """
    index = terms if isinstance(terms, TermIndex) else TermIndex(terms)
    stated = dict.fromkeys(term for term, _, _ in index.find(prediction))
    return [term for term in stated if not (contains(source, term) or contains(source, term, "denied"))]
