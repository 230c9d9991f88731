"""Judges: what decides whether an answer states what it should.

A judge is a config, so that it travels into the job with the evaluator; it is asked there, for all answers at once, and
gives counts that add up over examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from soaptune.config import Config
from soaptune.evaluate.examples import Count, Example, Prediction, Scores
from soaptune.evaluate.metrics.precision_recall import fact_precision, fact_recall
from soaptune.facts import Vocabulary

__all__ = ["Facts", "Judge"]


class Judge(Protocol):
    """Something that scores answers."""

    @property
    def kind(self) -> str:
        """The judge's name in a report."""
        ...

    def score(
        self, examples: Sequence[Example], predictions: Sequence[Prediction], *, vocabulary: Vocabulary
    ) -> list[Scores]:
        """Scores answers.

        Args:
            examples: The examples.
            predictions: One answer for each example, in the same order.
            vocabulary: The fact values of the whole data set and the terms of the task's lexicon.

        Returns:
            The counts of each example by metric name. A metric that the judge cannot count for an example is absent
            there: unjudged is not wrong.
        """
        ...


class Facts(Config):
    """Scores answers against the facts that the examples carry: exact, offline, without a model.

    Gives ``fact_recall``, ``fact_precision`` (and from both ``fact_f1``), for the whole answer and as
    ``fact_recall/<field>`` for each output field; `soaptune.evaluate.metrics.precision_recall` defines them.
    """

    kind: Literal["facts"] = "facts"
    """Distinguishes the judges in a file."""

    def score(
        self, examples: Sequence[Example], predictions: Sequence[Prediction], *, vocabulary: Vocabulary
    ) -> list[Scores]:
        """Scores answers, see `Judge.score`; an example without facts is unjudged."""
        return [
            {} if example.facts is None else _score(example, prediction, vocabulary)
            for example, prediction in zip(examples, predictions, strict=True)
        ]


def _score(example: Example, prediction: Prediction, vocabulary: Vocabulary) -> Scores:
    scores: dict[str, Count] = {}
    for name, counts in (
        ("fact_recall", fact_recall(example, prediction)),
        ("fact_precision", fact_precision(example, prediction, vocabulary)),
    ):
        scores[name] = Count(sum(c.hits for c in counts.values()), sum(c.total for c in counts.values()))
        scores.update({f"{name}/{field}": counts.get(field, Count(0.0, 0.0)) for field in example.reference})
    return scores
