"""From answers to a report's numbers: predictions parsed, every metric counted, notes on what could not be measured."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from soaptune.engines import Completion, Unanswered
from soaptune.errors import AnswerError
from soaptune.evaluate.examples import Count, Example, Prediction, Scores
from soaptune.evaluate.judges import Judge
from soaptune.evaluate.metrics import invented, rouge_l_fields, schema_valid
from soaptune.facts import Vocabulary
from soaptune.handles.report import Metric
from soaptune.tasks import parsing
from soaptune.tasks.fact import Fact
from soaptune.tasks.spec import TaskSpec

__all__ = ["ALWAYS", "error_codes", "example", "missing_metrics", "predict", "sample", "score"]

ALWAYS = ("schema_valid", "fact_recall", "fact_precision", "fact_f1", "invented_rate", "rouge_l", "perplexity")
"""The metrics of a whole answer, in the order of a report."""


def example(spec: TaskSpec, row: Mapping[str, Any], facts: Sequence[Fact] | None) -> Example:
    """Makes an example of a data set's row.

    Args:
        spec: The task.
        row: The row with the task's columns and ``id``.
        facts: The row's facts, or None when the data set has none.
    """
    source = "\n\n".join(str(row[name]) for name in spec.input_fields)
    reference = {name: str(row[name] or "") for name in spec.output_fields}
    return Example(str(row["id"]), source, reference, None if facts is None else tuple(facts))


def sample(ids: Sequence[str], size: int | None, *, seed: int) -> list[int]:
    """Chooses examples by their id and the seed alone, so that a larger sample contains the smaller one.

    Returns:
        Positions in `ids`, in order; all of them when `size` is None or large enough.
    """
    if size is None or size >= len(ids):
        return list(range(len(ids)))
    draw = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in ids]
    return sorted(sorted(range(len(ids)), key=lambda i: draw[i])[:size])


def predict(spec: TaskSpec, completion: Completion) -> Prediction:
    """Reads a completion as the task's output.

    Args:
        spec: The task.
        completion: What the engine gave.

    Returns:
        The prediction. Its error is a code of `soaptune.tasks.parsing.CODES`; ``"cut-off"`` for an answer that used up
        its tokens and is not valid as it stands; ``"not-asked"`` where the engine could not ask, as for a prompt that
        is too long; ``"no-answer"`` where it asked and got nothing.
    """
    if completion.error is not None:
        return Prediction("", None, "no-answer" if isinstance(completion.error, Unanswered) else "not-asked")
    try:
        output = parsing.parse(spec, completion.text)
    except AnswerError as error:
        return Prediction(completion.text, None, "cut-off" if completion.finish_reason == "length" else error.code)
    # In the form in which the references are stored, so that 1 and 1.0 are the same number.
    return Prediction(completion.text, {**dict.fromkeys(spec.output_fields, ""), **spec.stored(output)})


def score(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    losses: Sequence[tuple[float, int] | None],
    *,
    judge: Judge,
    vocabulary: Vocabulary,
) -> list[Scores]:
    """Counts every metric for every example.

    Args:
        examples: The examples.
        predictions: One answer for each.
        losses: For each example the loss of its reference answer (nats) and the answer's tokens, or None.
        judge: What decides whether an answer states what it should.
        vocabulary: The fact values of the whole data set and the terms of the task's lexicon.

    Returns:
        For each example its counts by metric name.
    """
    judged = judge.score(examples, predictions, vocabulary=vocabulary)
    rows: list[Scores] = []
    for one, prediction, loss, verdict in zip(examples, predictions, losses, judged, strict=True):
        row = {"schema_valid": schema_valid(prediction), **verdict}
        row["invented_rate"] = invented(one, prediction, vocabulary)
        row["rouge_l"] = Count(rouge_l_fields(one.reference, prediction.fields), 1.0)
        if loss is not None:
            row["perplexity"] = Count(loss[0], float(loss[1]))
        rows.append(row)
    return rows


def error_codes(predictions: Sequence[Prediction]) -> dict[str, int]:
    """How many answers are not valid, by error code, the most frequent first."""
    return dict(Counter(p.error for p in predictions if p.fields is None).most_common())


def missing_metrics(
    metrics: Mapping[str, Metric], *, who: str, fields: Sequence[str], has_facts: bool, explained: Collection[str] = ()
) -> list[str]:
    """Gives in sentences which of the usual metrics are absent, and why.

    Args:
        metrics: The metrics of one model by plain name.
        who: The model, as a sentence names it.
        fields: The task's output fields, of each of which there are fact metrics too.
        has_facts: Whether the data has facts.
        explained: Metrics whose absence has its own note already.
    """
    absent = [name for name in ALWAYS if name not in metrics and (has_facts or not name.startswith("fact_"))]
    absent = [name for name in absent if name not in explained]
    notes = [f"Not measured for {who}, since there was nothing to count: {', '.join(absent)}."] if absent else []
    if not has_facts:
        return notes

    def without(name: str) -> list[str]:
        # Where a metric is absent as a whole, that is noted above.
        return [field for field in fields if name in metrics and f"{name}/{field}" not in metrics]

    if unstated := without("fact_recall"):
        which = ", ".join(f"fact_recall/{field}, fact_f1/{field}" for field in unstated)
        notes.append(f"Not measured, since no fact of the examples belongs to the field: {which}.")
    if unchecked := without("fact_precision"):
        which = ", ".join(f"fact_precision/{field}" for field in unchecked)
        notes.append(f"Not measured for {who}, since no valid answer states anything checkable in the field: {which}.")
    return notes
