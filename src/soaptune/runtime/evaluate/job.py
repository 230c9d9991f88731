"""The evaluation job: asks models, scores answers, leaves a report.

It writes ``../output/``: ``report.json``, ``predictions.parquet`` (the only file with text from the data),
``progress.jsonl`` and, last, ``manifest.json``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soaptune.common.files import MANIFEST, write_json
from soaptune.common.versions import installed_versions
from soaptune.engines import Cortex, Engine
from soaptune.errors import BackendError, ConfigError, DataError
from soaptune.evaluate.evaluator import EvalPayload, Evaluator, lexicon_of
from soaptune.evaluate.scoring import error_codes, example, missing_metrics, sample
from soaptune.evaluate.summary import compare, summarise
from soaptune.facts import Vocabulary
from soaptune.handles.dataset import Dataset
from soaptune.handles.folder_model import FolderModel, open_model
from soaptune.handles.report import REPORT_FILE, EvalReport, Metric, ReportLineage
from soaptune.jobs.place import Place
from soaptune.runtime.engines.opening import open_engine, source_of_base, source_of_model
from soaptune.runtime.evaluate.asking import Answers, Questions
from soaptune.runtime.evaluate.notes import notes_of_answers, notes_of_facts, notes_of_plan
from soaptune.runtime.evaluate.tables import fact_values, write_predictions
from soaptune.runtime.inputs import DATA, MODEL, open_dataset
from soaptune.runtime.progress import Progress
from soaptune.tasks.code import Hook
from soaptune.tasks.hooks import load_lexicon
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from soaptune.runtime.engines.cortex import CortexEngine

__all__ = ["evaluate"]

_PREDICTIONS = "predictions.parquet"


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
    if model is not None:
        model.verify()  # the report is of exactly these files
    learned = plan.task if model is None else model.manifest.task
    spec = learned or data.task
    rows = _sampled(data, settings)
    facts, values = data.facts(settings.split), fact_values(data)
    examples = [example(spec, row, facts[row["id"]] if values else None) for row in rows]
    terms, lexicon_notes = _lexicon(plan.lexicon, named=lexicon_of(spec, data.task))
    progress = Progress(output, total=len(rows), unit="examples")
    questions = Questions(settings, spec, rows, examples, Vocabulary([*values, *terms]), progress)

    answers: dict[str, Answers] = {}
    # The base model first: when it cannot be had, that is known before any time is spent.
    if model is not None and settings.base and plan.base is not None:
        # No name holds this engine, so that its memory is free again before the next one is loaded.
        answers["base"] = questions.put_to(open_engine(settings.engine, source_of_base(plan.base, model)), "base model")
    cortex = _cortex(settings.engine, place) if isinstance(settings.engine, Cortex) else None
    answers["model"] = questions.put_to(_engine(plan, model, cortex), "model" if cortex is None else "Cortex model")
    notes = [
        *notes_of_plan(plan, learned, data, len(rows)),
        *notes_of_facts(has_facts=bool(values), has_terms=bool(terms)),
        *lexicon_notes,
    ]
    report = _report(plan, data, spec, answers, notes, has_facts=bool(values), plan_fingerprint=place.plan)
    write_predictions(
        output / _PREDICTIONS,
        spec,
        examples,
        {who: (a.completions, a.predictions, a.scores) for who, a in _model_first(answers)},
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


def _sampled(data: Dataset, settings: Evaluator) -> list[dict[str, Any]]:
    """The rows that are scored."""
    rows: list[dict[str, Any]] = data.table(settings.split).to_pylist()
    if not rows:
        raise DataError(f"the split {settings.split!r} of the data set has no rows")
    return [rows[index] for index in sample([str(row["id"]) for row in rows], settings.max_samples, seed=settings.seed)]


def _model_first(answers: Mapping[str, Answers]) -> Iterator[tuple[str, Answers]]:
    """The answers as a report shows them: of the model, then of its base, if that was asked."""
    yield "model", answers["model"]
    if "base" in answers:
        yield "base", answers["base"]


def _report(
    plan: EvalPayload,
    data: Dataset,
    spec: TaskSpec,
    answers: Mapping[str, Answers],
    notes: list[str],
    *,
    has_facts: bool,
    plan_fingerprint: str,
) -> EvalReport:
    settings = plan.evaluator
    how = {"resamples": settings.resamples, "seed": settings.seed}
    perplexity = not isinstance(settings.engine, Cortex)
    explained = () if perplexity else ("perplexity",)
    metrics: dict[str, Metric] = {}
    for which, of_one in _model_first(answers):
        who, prefix = ("the model", "") if which == "model" else ("the base model", "base/")
        summary = summarise(of_one.scores, **how)
        metrics.update({prefix + name: metric for name, metric in summary.items()})
        notes = [
            *notes,
            *notes_of_answers(of_one, who, perplexity=perplexity),
            *missing_metrics(summary, who=who, fields=spec.output_fields, has_facts=has_facts, explained=explained),
        ]
    base = answers.get("base")
    return EvalReport(
        n=len(answers["model"].scores),
        metrics=metrics,
        comparison=() if base is None else compare(base.scores, answers["model"].scores, **how),
        errors={who: error_codes(of_one.predictions) for who, of_one in _model_first(answers)},
        notes=tuple(dict.fromkeys(notes)),  # what holds for both models is noted once
        synthetic=data.manifest.synthetic,
        predictions=_PREDICTIONS,
        lineage=ReportLineage(
            model_fingerprint=plan.model_fingerprint,
            base_model="" if base is None else plan.base_name,
            data_fingerprint=data.fingerprint,
            split=settings.split,
            task=spec.name,
            task_fingerprint=spec.fingerprint,
            evaluator=settings.model_dump(mode="json", exclude={"token"}),
            versions=installed_versions("soaptune", "torch", "transformers", "peft", "numpy"),
            plan_fingerprint=plan_fingerprint,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ),
    )


def _lexicon(allowed: Hook | None, *, named: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The terms of a task's lexicon, and a note where they cannot be had: the rest of an evaluation does without.

    Only the plan says which lexicon is asked: what the manifests of model and data name may be anything.
    """
    if allowed is None:
        left_out = (
            "The task's lexicon was left out, so that fewer inventions are seen: its code was not allowed to run."
        )
        return (), [left_out] if named else []
    try:
        return load_lexicon(allowed.path, allow_code=(allowed.module,)), []
    except ConfigError as error:
        return (), [f"The task's lexicon was left out, so that fewer inventions are seen. {error}"]


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
