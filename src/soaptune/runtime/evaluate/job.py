"""The evaluation job: asks models, scores answers, leaves a report.

It writes ``../output/``: ``report.json``, ``predictions.parquet`` (the only file with text from the data),
``progress.jsonl`` and, last, ``manifest.json``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soaptune.common.files import MANIFEST, write_json
from soaptune.common.versions import installed_versions
from soaptune.engines import Completion, Cortex, Engine, GenerationRequest
from soaptune.errors import BackendError, ConfigError, DataError
from soaptune.evaluate.evaluator import EvalPayload
from soaptune.evaluate.examples import Example, Prediction, Scores
from soaptune.evaluate.scoring import error_codes, example, missing_metrics, predict, sample, score
from soaptune.evaluate.summary import compare, summarise
from soaptune.facts import Vocabulary
from soaptune.handles.dataset import Dataset
from soaptune.handles.folder_model import FolderModel, open_model
from soaptune.handles.report import REPORT_FILE, EvalReport, Metric, ReportLineage
from soaptune.jobs.place import Place
from soaptune.runtime.engines.opening import open_engine, source_of_base, source_of_model
from soaptune.runtime.evaluate.tables import fact_values, write_predictions
from soaptune.runtime.inputs import DATA, MODEL, open_dataset
from soaptune.runtime.progress import Progress
from soaptune.tasks import rendering
from soaptune.tasks.hooks import load_lexicon
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from soaptune.runtime.engines.cortex import CortexEngine

__all__ = ["evaluate"]

_SPARE_SHARE, _SPARE_TOKENS, _UNCOUNTED = 1.25, 32, 2048
_PREDICTIONS = "predictions.parquet"


@dataclass
class Answers:
    """What one model made of the examples."""

    completions: list[Completion]
    predictions: list[Prediction]
    scores: list[Scores]
    unmeasured: int


def evaluate(plan: EvalPayload, place: Place, output: Path) -> EvalReport:
    """Evaluates as planned.

    Args:
        plan: What to evaluate, and how.
        place: Where the job runs.
        output: The folder to write to.

    Returns:
        The report, as it was written.

    Raises:
        DataError: The split is empty or lacks a field of the task.
        EngineError: A model cannot be loaded.
    """
    settings = plan.evaluator
    data = open_dataset(DATA, place=place)
    # A Cortex model is asked in the place of the tuned one, whose files do not come into the job.
    model = None if isinstance(settings.engine, Cortex) else open_model(MODEL)
    found = plan.model_fingerprint if model is None else model.fingerprint
    if (found, data.fingerprint) != (plan.model_fingerprint, plan.data_fingerprint):
        raise DataError("the model or the data set is not the one that this evaluation was planned for")
    learned = plan.task if model is None else model.manifest.task
    spec = learned or data.task
    rows: list[dict[str, Any]] = data.table(settings.split).to_pylist()
    if not rows:
        raise DataError(f"the split {settings.split!r} of the data set has no rows")
    chosen = sample([str(row["id"]) for row in rows], settings.max_samples, seed=settings.seed)
    total, rows = len(rows), [rows[index] for index in chosen]
    facts = data.facts(settings.split)
    values = fact_values(data)
    examples = [example(spec, row, facts[row["id"]] if values else None) for row in rows]
    score_base = model is not None and settings.base and plan.base is not None

    progress = Progress(output, total=len(rows), unit="examples")
    terms, lexicon_notes = _lexicon(spec.lexicon or data.task.lexicon)
    runner = _Runner(plan, spec, rows, examples, Vocabulary([*values, *terms]), progress)
    # The base model first: when it cannot be had, that is known before any time is spent.
    base = None
    if model is not None and settings.base and plan.base is not None:
        base = runner.run(open_engine(settings.engine, source_of_base(plan.base, model)), "base model")
    cortex = _cortex(settings.engine, place) if isinstance(settings.engine, Cortex) else None
    tuned = runner.run(_engine(plan, model, cortex), "model" if model is not None else "Cortex model")

    how = {"resamples": settings.resamples, "seed": settings.seed}
    metrics = summarise(tuned.scores, **how)
    notes = _notes(plan, learned, data, len(rows), total)
    notes += [] if values else [_without_facts(bool(terms))]
    notes += lexicon_notes
    asked: dict[str, Any] = {"fields": spec.output_fields, "has_facts": bool(values)}
    asked["explained"] = () if model is not None else ("perplexity",)
    notes += _unmeasured(tuned, "the model", perplexity=model is not None)
    notes += missing_metrics(metrics, who="the model", **asked)
    errors = {"model": error_codes(tuned.predictions)}
    everything: dict[str, Metric] = dict(metrics)
    answers = {"model": tuned}
    if base is not None:
        of_base = summarise(base.scores, **how)
        everything.update({f"base/{name}": metric for name, metric in of_base.items()})
        notes += _unmeasured(base, "the base model", perplexity=True)
        notes += missing_metrics(of_base, who="the base model", **asked)
        errors["base"] = error_codes(base.predictions)
        answers["base"] = base
    write_predictions(
        output / _PREDICTIONS,
        spec,
        examples,
        {who: (a.completions, a.predictions, a.scores) for who, a in answers.items()},
    )
    report = EvalReport(
        n=len(rows),
        metrics=everything,
        comparison=() if base is None else compare(base.scores, tuned.scores, **how),
        errors=errors,
        notes=tuple(dict.fromkeys(notes)),  # what holds for both models is noted once
        synthetic=data.manifest.synthetic,
        predictions=_PREDICTIONS,
        lineage=ReportLineage(
            model_fingerprint=plan.model_fingerprint,
            base_model=plan.base_name if score_base else "",
            data_fingerprint=data.fingerprint,
            split=settings.split,
            task=spec.name,
            task_fingerprint=spec.fingerprint,
            evaluator=settings.model_dump(mode="json", exclude={"token"}),
            versions=installed_versions("soaptune", "torch", "transformers", "peft", "numpy"),
            plan_fingerprint=place.plan,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ),
    )
    report.save(output / REPORT_FILE)
    write_json(
        output / MANIFEST,
        {"format_version": 1, "kind": "report", "fingerprint": report.fingerprint, "plan_fingerprint": place.plan},
    )
    if cortex is not None:
        # Only now: until the report is there, another attempt goes on with these answers. `cleanup` drops it too.
        with contextlib.suppress(BackendError):
            cortex.forget()
    return report


class _Runner:
    """Asks one model after the other the same things."""

    def __init__(
        self,
        plan: EvalPayload,
        spec: TaskSpec,
        rows: Sequence[dict[str, Any]],
        examples: Sequence[Example],
        vocabulary: Vocabulary,
        progress: Progress,
    ) -> None:
        self._settings = plan.evaluator
        self._spec = spec
        self._examples = examples
        self._prompts = [
            [{"role": turn["role"], "content": turn["content"]} for turn in rendering.messages(spec, row)]
            for row in rows
        ]
        self._references = [_reference(spec, row) for row in rows]
        self._vocabulary = vocabulary
        self._progress = progress

    def run(self, engine: Engine, who: str) -> Answers:
        settings = self._settings
        self._progress.begin(f"{who}, perplexity")
        measured = engine.measure(
            [
                None if answer is None else [*prompt, {"role": "assistant", "content": answer}]
                for prompt, answer in zip(self._prompts, self._references, strict=True)
            ]
        )
        self._progress.add(len(self._prompts))
        limit = settings.max_new_tokens or self._room(measured.longest)
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

    def _room(self, longest: int | None) -> int:
        if longest is None:
            # Nobody counts; two characters to a token is less than any tokenizer makes of plain text.
            return max(_UNCOUNTED, *(len(answer) // 2 for answer in self._references if answer is not None), 0)
        return int(longest * _SPARE_SHARE) + _SPARE_TOKENS


def _engine(plan: EvalPayload, model: FolderModel | None, cortex: CortexEngine | None) -> Engine:
    """What answers as the model that is evaluated: the tuned one, or the Cortex model in its place."""
    if cortex is not None:
        return cortex
    assert model is not None, "without a Cortex model there is a tuned one"
    return open_engine(plan.evaluator.engine, source_of_model(model, plan.base))


def _cortex(engine: Cortex, place: Place) -> CortexEngine:
    from soaptune.runtime.engines.cortex import CortexEngine, answers_table

    # Two evaluations at a time share no table; the same one, tried again, goes on where it was.
    return CortexEngine(engine.model, answers_table(place))


def _reference(spec: TaskSpec, row: dict[str, Any]) -> str | None:
    try:
        return rendering.answer(spec, spec.outputs(row))
    except DataError:  # a reference that is no valid answer has no perplexity; the report counts it
        return None


def _unmeasured(answers: Answers, who: str, *, perplexity: bool) -> list[str]:
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


def _lexicon(path: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The terms of a task's lexicon, and a note where they cannot be had: the rest of an evaluation does without."""
    if path is None:
        return (), []
    try:
        return load_lexicon(path), []
    except ConfigError as error:
        return (), [f"The task's lexicon was left out, so that fewer inventions are seen. {error}"]


def _without_facts(has_terms: bool) -> str:
    checked = "numbers and the terms of the task's lexicon" if has_terms else "numbers"
    return f"The data has no facts: fact metrics are left out, and invented_rate checks {checked} only."


def _notes(plan: EvalPayload, task: TaskSpec | None, data: Dataset, n: int, total: int) -> list[str]:
    settings = plan.evaluator
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
    if task is not None and task.fingerprint != data.task.fingerprint:
        notes.append("The model was asked with the task that it learned, which is not quite the data set's task.")
    if settings.base and plan.base is None and not isinstance(settings.engine, Cortex):
        notes.append("There is no base model to compare with.")
    return notes
