"""The notes of a report: what its reader must know of the sample, the engine and what could not be measured."""

from __future__ import annotations

from soaptune.engines import Cortex
from soaptune.evaluate.evaluator import EvalPayload
from soaptune.handles.dataset import Dataset
from soaptune.runtime.evaluate.asking import Answers
from soaptune.tasks.spec import TaskSpec

__all__ = ["notes_of_answers", "notes_of_facts", "notes_of_plan"]


def notes_of_plan(plan: EvalPayload, learned: TaskSpec | None, data: Dataset, n: int) -> list[str]:
    """What follows from how the evaluation was set up.

    Args:
        plan: The evaluation.
        learned: The task that the model has learned; None where it has learned none.
        data: The data set.
        n: How many examples were scored.
    """
    settings = plan.evaluator
    total = data.counts[settings.split]
    notes: list[str] = []
    if isinstance(settings.engine, Cortex):
        notes.append(
            f"The answers are those of Snowflake's Cortex model {settings.engine.model}, as an alternative to the "
            "tuned model; no number here is of the tuned model or of its base. Who serves that model may change it "
            "under the same name."
        )
        notes.append("There is no perplexity, since Cortex gives no likelihoods.")
    if n < total:
        notes.append(f"Scored {n} of the split's {total} examples, chosen by seed {settings.seed}.")
    if settings.constrained:
        notes.append(
            "Decoding was constrained to the task's schema, so schema_valid says nothing about the model alone."
        )
    if learned is not None and learned.fingerprint != data.task.fingerprint:
        notes.append("The model was asked with the task that it learned, which is not quite the data set's task.")
    if settings.base and plan.base is None and not isinstance(settings.engine, Cortex):
        notes.append("There is no base model to compare with.")
    return notes


def notes_of_facts(*, has_facts: bool, has_terms: bool) -> list[str]:
    """What is not checked where the data has no facts.

    Args:
        has_facts: Whether it has.
        has_terms: Whether the task has a lexicon.
    """
    if has_facts:
        return []
    checked = "numbers and the terms of the task's lexicon" if has_terms else "numbers"
    return [f"The data has no facts: fact metrics are left out, and invented_rate checks {checked} only."]


def notes_of_answers(answers: Answers, who: str, *, perplexity: bool) -> list[str]:
    """How many examples got no answer, or no perplexity.

    Args:
        answers: The answers of a model.
        who: The model, for the sentences.
        perplexity: Whether the model has one at all.
    """
    notes: list[str] = []
    long = sum(prediction.error == "not-asked" for prediction in answers.predictions)
    if long:
        notes.append(f"{long} prompts are too long for {who} and count as wrong answers.")
    failed = sum(prediction.error == "no-answer" for prediction in answers.predictions)
    if failed:
        notes.append(
            f"{failed} prompts got no answer from {who} and count as wrong answers; the table of answers says why."
        )
    if perplexity and answers.unmeasured:
        notes.append(
            f"The perplexity of {who} leaves out {answers.unmeasured} references that are too long or no valid answers."
        )
    return notes
