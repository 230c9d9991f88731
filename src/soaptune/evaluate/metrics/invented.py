"""The invented rate: the share of an answer's checkable items that its input never states.

An item (a fact value that occurs in the data set, a term of the task's lexicon, or a number with its unit; see
`soaptune.facts.items`) is stated when it stands in the input or in a fact of the example, which was found there,
perhaps in other words. Without facts and without a lexicon only quantities are checked. The text of an answer that is
not valid is checked as it stands: breaking the format hides nothing.
"""

from __future__ import annotations

from soaptune.evaluate.examples import Count, Example, Prediction
from soaptune.facts import Item, Vocabulary, unstated

__all__ = ["invented", "invented_items"]


def invented_items(
    example: Example, prediction: Prediction, vocabulary: Vocabulary
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Finds the checkable items of an answer and those of them that the input never states.

    Args:
        example: The example.
        prediction: The answer.
        vocabulary: The fact values of the whole data set and the terms of the task's lexicon; empty without both.

    Returns:
        The invented items, and all items, each once.
    """
    texts = [prediction.text] if prediction.fields is None else list(prediction.fields.values())
    items = tuple(dict.fromkeys(item for text in texts for item in vocabulary.items(text)))
    source = "\n".join([example.source, *(fact.value for fact in example.facts or ())])
    return unstated(items, source, either_way=True), items


def invented(example: Example, prediction: Prediction, vocabulary: Vocabulary) -> Count:
    """Counts what `invented_items` finds: invented items and items in all."""
    wrong, items = invented_items(example, prediction, vocabulary)
    return Count(float(len(wrong)), float(len(items)))
