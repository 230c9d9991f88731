"""What a metric sees of a row: the example with its reference and facts, and what the model made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from soaptune.tasks.fact import Fact

__all__ = ["Count", "Example", "Prediction", "Scores"]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the data set.

    Attributes:
        id: The row's id.
        source: The input fields' text, joined by blank lines.
        reference: The right answer's text by output field.
        facts: The row's facts, or None when the data set has none to offer.
    """

    id: str
    source: str
    reference: Mapping[str, str]
    facts: tuple[Fact, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer to one example.

    Attributes:
        text: The answer as the model wrote it.
        fields: Its text by output field, or None when the answer is not a valid output of the task.
        error: Why it is not valid, as a stable word; empty when it is.
    """

    text: str
    fields: Mapping[str, str] | None
    error: str = ""


class Count(NamedTuple):
    """What one example adds to a ratio; sums of counts over examples give the metric.

    Attributes:
        hits: The numerator.
        total: The denominator.
    """

    hits: float
    total: float


Scores = Mapping[str, Count]
"""The counts of one example by metric name."""
