"""Recall and precision of facts.

*Recall* is the share of an example's facts that stand in the field of the answer where they belong.

*Precision* is the share of the answer's checkable items (see `soaptune.evaluate.metrics.items`) that are right where
they stand: they are, or are part of, a fact of this example that belongs to this field, or the reference says them in this
field. So a reference has a recall and a precision of 1 when its facts stand in it word for word.

Limits: words are compared, not meanings. A paraphrase of a fact is not found, a negated one ("no fever" for "fever")
is, and an invented statement whose words occur in no fact of the data set is not checked (garbled words cost recall, not
precision). An answer that is not valid has no fields: none of its facts stands in the right one, and the items in its
text count as wrong.
"""

from __future__ import annotations

from soaptune.evaluate.examples import Count, Example, Prediction
from soaptune.evaluate.metrics.items import Vocabulary, supported
from soaptune.evaluate.metrics.text import contains, normalise
from soaptune.handles.facts import Fact

__all__ = ["fact_precision", "fact_recall"]


def fact_recall(example: Example, prediction: Prediction) -> dict[str, Count]:
    """Counts the facts that an answer gives in the right field.

    Args:
        example: An example with facts.
        prediction: The answer.

    Returns:
        Facts found and facts in all by output field; a fact of a field that the task does not have is left out.
    """
    written = prediction.fields or {}
    counts: dict[str, Count] = {}
    for field in example.reference:
        wanted = [fact for fact in example.facts or () if fact.field == field]
        tokens = normalise(written.get(field, ""))
        counts[field] = Count(float(sum(contains(tokens, normalise(f.value)) for f in wanted)), float(len(wanted)))
    return counts


def fact_precision(example: Example, prediction: Prediction, vocabulary: Vocabulary) -> dict[str, Count]:
    """Counts the checkable items of an answer that are right where they stand.

    Args:
        example: An example with facts.
        prediction: The answer.
        vocabulary: The fact values of the whole data set.

    Returns:
        Items that are right and items in all by output field. The items of an answer that is not valid are under the
        empty name, none of them right.
    """
    if prediction.fields is None:
        return {"": Count(0.0, float(len(vocabulary.items(prediction.text))))}
    counts: dict[str, Count] = {}
    for field, reference in example.reference.items():
        items = vocabulary.items(prediction.fields.get(field, ""))
        said = [reference, *_values(example.facts or (), field)]
        counts[field] = Count(float(sum(supported(item, said) for item in items)), float(len(items)))
    return counts


def _values(facts: tuple[Fact, ...], field: str) -> list[str]:
    return [fact.value for fact in facts if fact.field == field]
