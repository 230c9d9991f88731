"""The numbers that a prediction states and its source does not.

It errs on the side of the prediction: what it reports is not stated in the source in any form known here.
"""

from __future__ import annotations

from soaptune.facts.numbers import Quantity, quantities

__all__ = ["unsupported_numbers"]


def unsupported_numbers(prediction: str, source: str) -> list[Quantity]:
    """Finds the numbers of a prediction that its source does not state.

    Definition: a quantity of the prediction (see `soaptune.facts.numbers.quantities`) is supported when a quantity of
    the source has the same number and the same unit, or one of the two has no unit ("°" goes with every temperature). A
    value of several numbers (``120/80``, ``3-5``) is supported when the source has it, or each of its numbers. A single
    number is also supported by a part of such a value. Numbers that a prediction gives only by "a", "one", "once" or
    "twice" are not tested; in the source they count as stated.

    Args:
        prediction: What the model wrote.
        source: What it was given.

    Returns:
        The unsupported quantities in order, repeats included, with their places in the prediction.
    """
    stated: dict[str, set[str]] = {}
    for found in quantities(source):
        for number in {found.number, *found.parts}:
            stated.setdefault(number, set()).add(found.unit)

    def supported(wanted: Quantity) -> bool:
        parts = (wanted.number,) if wanted.number in stated else wanted.parts
        return all(any(_compatible(wanted.unit, unit) for unit in stated.get(part, ())) for part in parts)

    return [found for found in quantities(prediction) if not found.implicit and not supported(found)]


def _compatible(one: str, other: str) -> bool:
    return one == other or not one or not other or (one[0] == other[0] == "°" and "°" in (one, other))
