"""Recall and precision of facts.

*Recall* is the share of an example's facts that the answer states in the field where they belong; what counts as stated
is `soaptune.facts.contains`.

*Precision* is the share of the answer's checkable items (see `soaptune.facts.items`) that are right where they stand:
they are, or are part of, a fact of this example that belongs to this field, or the reference states them in this field.
So a reference has a recall and a precision of 1 when its facts stand in it word for word.

Limits: words are compared, not meanings. A paraphrase of a fact is not found, and an invented statement whose words
occur in no fact of the data set and not in the task's lexicon is not checked (garbled words cost recall, not
precision). An answer that is not valid has no fields: none of its facts stands in the right one, and the items in its
text count as wrong.
"""

from __future__ import annotations

from soaptune.evaluate.examples import Count, Example, Prediction
from soaptune.facts import DENIED_KINDS, Item, Vocabulary, contains, score_facts, unstated
from soaptune.tasks.fact import Fact

__all__ = ["fact_precision", "fact_recall"]


def fact_recall(example: Example, prediction: Prediction) -> dict[str, Count]:
    """Counts the facts that an answer states in the right field.

    Args:
        example: An example with facts.
        prediction: The answer.

    Returns:
        Facts found and facts in all by output field; a fact of a field that the task does not have is left out.
    """
    scores = score_facts(example.facts or (), prediction.fields)
    found = {field: Count(float(score.hits), float(score.total)) for field, score in scores.items()}
    return {field: found.get(field, Count(0.0, 0.0)) for field in example.reference}


def fact_precision(example: Example, prediction: Prediction, vocabulary: Vocabulary) -> dict[str, Count]:
    """Counts the checkable items of an answer that are right where they stand.

    Args:
        example: An example with facts.
        prediction: The answer.
        vocabulary: The fact values of the whole data set and the terms of the task's lexicon.

    Returns:
        Items that are right and items in all by output field. The items of an answer that is not valid are under the
        empty name, none of them right.
    """
    if prediction.fields is None:
        return {"": Count(0.0, float(len(vocabulary.items(prediction.text))))}
    counts: dict[str, Count] = {}
    for field, reference in example.reference.items():
        items = vocabulary.items(prediction.fields.get(field, ""))
        facts = [fact for fact in example.facts or () if fact.field == field]
        wrong = [item for item in unstated(items, reference) if not any(_part_of(item, fact) for fact in facts)]
        counts[field] = Count(float(len(items) - len(wrong)), float(len(items)))
    return counts


def _part_of(item: Item, fact: Fact) -> bool:
    if item.quantity:
        return not unstated([item], fact.value)
    return item.denied == (fact.kind in DENIED_KINDS) and contains(fact.value, item.text)
