"""Asking a model: what an evaluation wants of an engine, and what the engine's answers come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from soaptune.engines import Completion, Engine, GenerationRequest
from soaptune.errors import DataError
from soaptune.evaluate.evaluator import Evaluator
from soaptune.evaluate.examples import Example, Prediction, Scores
from soaptune.evaluate.scoring import predict, score
from soaptune.facts import Vocabulary
from soaptune.runtime.progress import Progress
from soaptune.tasks import rendering
from soaptune.tasks.spec import TaskSpec

__all__ = ["Answers", "Questions"]

_SPARE_SHARE, _SPARE_TOKENS, _UNCOUNTED = 1.25, 32, 2048


@dataclass
class Answers:
    """What one model made of the examples.

    Attributes:
        completions: Its answers, in the order of the examples.
        predictions: What the task reads from them.
        scores: Their scores.
        unmeasured: How many references have no perplexity.
    """

    completions: list[Completion]
    predictions: list[Prediction]
    scores: list[Scores]
    unmeasured: int


class Questions:
    """What each model is asked, one after the other: the rows of a split as prompts, with their references.

    Args:
        settings: The step.
        spec: The task.
        rows: The rows.
        examples: The same rows, as they are scored.
        vocabulary: The terms that are looked for in answers.
        progress: Where the job shows how far it is.
    """

    def __init__(
        self,
        settings: Evaluator,
        spec: TaskSpec,
        rows: Sequence[dict[str, Any]],
        examples: Sequence[Example],
        vocabulary: Vocabulary,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._examples = examples
        self._prompts = [
            [{"role": turn["role"], "content": turn["content"]} for turn in rendering.messages(spec, row)]
            for row in rows
        ]
        self._references = [_reference(spec, row) for row in rows]
        self._vocabulary = vocabulary
        self._progress = progress

    def put_to(self, engine: Engine, who: str) -> Answers:
        """Asks a model, and scores its answers.

        Args:
            engine: What runs the model.
            who: What the model is, for the progress.

        Raises:
            EngineError: The model cannot answer.
        """
        settings = self._settings
        self._progress.begin(f"{who}, perplexity")
        measured = engine.measure(
            [
                None if answer is None else [*prompt, {"role": "assistant", "content": answer}]
                for prompt, answer in zip(self._prompts, self._references, strict=True)
            ]
        )
        self._progress.add(len(self._prompts))
        limit = settings.max_new_tokens or self._limit(measured.longest)
        schema = self._spec.output_schema if settings.constrained else None
        requests = [GenerationRequest(prompt, limit, schema=schema, seed=settings.seed) for prompt in self._prompts]
        self._progress.begin(f"{who}, answers")
        completions = engine.generate(requests, on_progress=lambda done, _: self._progress.at(done))
        predictions = [predict(self._spec, completion) for completion in completions]
        scores = score(
            self._examples,
            predictions,
            measured.losses,
            judge=settings.judge,
            vocabulary=self._vocabulary,
        )
        return Answers(completions, predictions, scores, sum(loss is None for loss in measured.losses))

    def _limit(self, longest: int | None) -> int:
        if longest is None:
            # The engine counts no tokens; two characters to a token is less than any tokenizer makes of plain text.
            return max(_UNCOUNTED, *(len(answer) // 2 for answer in self._references if answer is not None), 0)
        return int(longest * _SPARE_SHARE) + _SPARE_TOKENS


def _reference(spec: TaskSpec, row: dict[str, Any]) -> str | None:
    try:
        return rendering.answer(spec, spec.outputs(row))
    except DataError:  # a reference that is no valid answer has no perplexity; the report counts it
        return None
