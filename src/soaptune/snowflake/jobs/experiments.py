"""Runs in Snowflake's ExperimentTracking: one for each job, written by the job itself when it ends.

`SnowflakeJob.sync` writes it afterwards for a job that could not; `soaptune.jobs.watch` calls it. Nothing here fails a
job: what cannot be tracked is a warning.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from soaptune.common.files import MANIFEST, write_text
from soaptune.common.json_text import parse_object
from soaptune.errors import DataError
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.report import REPORT_FILE
from soaptune.handles.storage import Files
from soaptune.snowflake.names import quote
from soaptune.snowflake.tables.query import SchemaRef

__all__ = ["DEFAULT_EXPERIMENT", "Run", "collect", "track"]

DEFAULT_EXPERIMENT = "SOAPTUNE"
"""The experiment that runs go to when a backend names none."""

_log = logging.getLogger("soaptune")
_METRICS = "metrics.jsonl"
_STEPS = 200
"""Steps of which metrics are sent: each is a statement of its own."""

_LONGEST = 500
"""Characters of a parameter."""

_PAYLOAD = ("config.yaml", "step.json")


@dataclass(frozen=True)
class Run:
    """What is known of a job, as an experiment holds it.

    Attributes:
        params: Its options, by dotted name.
        metrics: What it measured, by step; values that are no numbers are left out.
        artifacts: Small files by name.
    """

    params: Mapping[str, str]
    metrics: Mapping[int, Mapping[str, float]]
    artifacts: Mapping[str, str]


def collect(name: str, kind: str, app: Files, output: Files) -> Run:
    """Gathers the options and the results of a job.

    Args:
        name: What it is called.
        kind: What it leaves behind.
        app: Its payload.
        output: What it has left.

    Raises:
        BackendError: The stage cannot be read.
    """
    files = {file: text for file in _PAYLOAD if (text := app.read_text(file)) is not None}
    left = {file: text for file in (MANIFEST, REPORT_FILE) if (text := output.read_text(file)) is not None}
    manifest = _object(left.get(MANIFEST, ""))
    report = _object(left.get(REPORT_FILE, ""))
    params = {"name": name, "kind": kind, **_flat(_settings(files, manifest))}
    for key in ("fingerprint", "data_fingerprint", "base", "synthetic", "model_fingerprint", "registry_version"):
        value: Any = manifest.get(key)
        if key == "base" and isinstance(value, dict):
            value = ModelRef.model_validate(value)
        if value is not None:
            params[key] = str(value)
    metrics = _by_step(output.read_text(_METRICS) or "")
    last = max(metrics, default=0)
    final: dict[str, Any] = {}
    for key, metric in _mappings(report.get("metrics")).items():
        final.update({key: metric.get("value"), f"{key}/low": metric.get("low"), f"{key}/high": metric.get("high")})
    counted = _mapping(manifest.get("training"))
    final.update({f"training/{key}": value for key, value in counted.items()})
    if final := _numbers(final):
        metrics[last] = {**metrics.get(last, {}), **final}
    return Run(params, metrics, {**files, **left})


def track(schema: SchemaRef, experiment: str | None, job: str, run: Callable[[], Run], *, ok: bool = True) -> bool:
    """Writes a job's run; one that is written already is left as it is.

    Args:
        schema: The schema of the experiment.
        experiment: Its name, as a person writes it; None writes nothing.
        job: The job's name, which the run gets.
        run: Gives what is known of the job; called only where its run is not there yet.
        ok: Whether it ended well.

    Returns:
        Whether the run is there now.
    """
    if experiment is None:
        return False
    try:
        schema.connection.call("tracking the run", lambda s: _write(s, schema, experiment, job, run, ok=ok))
    except Exception as error:  # whatever it is, the job's result is worth more than its record
        _log.warning("the run %s could not be tracked in the experiment %s: %s", job, experiment, error)
        return False
    return True


def _write(session: Any, schema: SchemaRef, experiment: str, job: str, known: Callable[[], Run], *, ok: bool) -> None:
    tracking = _tracking(session, schema)
    tracking.set_experiment(experiment)
    try:
        tracking.start_run(job)
    except RuntimeError:  # the SDK's word for a run that has ended: it was written before
        return
    run = known()
    tracking.log_params({_quotable(name): _quotable(value) for name, value in run.params.items()})
    for step, metrics in run.metrics.items():
        tracking.log_metrics({_quotable(name): value for name, value in metrics.items()}, step=step)
    with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
        for name, text in run.artifacts.items():
            write_text(Path(folder) / name, text)
            tracking.log_artifact(str(Path(folder) / name))
    tracking.end_run(status="FINISHED" if ok else "FAILED")


def _quotable(text: str) -> str:
    """A text that cannot end what the SDK writes around it, which is two pairs of dollar signs."""
    return text.replace("$", "﹩")


def _tracking(session: Any, place: SchemaRef) -> Any:
    from snowflake.ml.experiment import ExperimentTracking  # pyright: ignore[reportMissingTypeStubs]

    class OwnTracking(ExperimentTracking):
        """One for each use: the SDK's is a singleton that keeps its first session, which may be the user's own."""

        def __new__(cls, *_: Any, **__: Any) -> Any:
            return object.__new__(cls)

    return OwnTracking(
        session,
        database_name=quote(place.database),
        schema_name=quote(place.schema),
        # It would call git; the manifest says which revision of what was used.
        capture_source_info=False,
    )


def _settings(files: Mapping[str, str], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The step's config: of a model in its manifest, of the others in the plan that travelled."""
    if spec := _mapping(manifest.get("spec")):
        return dict(spec)
    plan = _object(files.get("step.json", ""))
    return {key: value for key, value in plan.items() if key != "task"}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            found.update(_flat(cast("dict[str, Any]", item), f"{prefix}{key}."))
        elif item is not None:
            text = item if isinstance(item, str) else json.dumps(item)
            found[f"{prefix}{key}"] = text[:_LONGEST]
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _mappings(value: Any) -> dict[str, dict[str, Any]]:
    return {key: _mapping(item) for key, item in _mapping(value).items()}


def _by_step(text: str) -> dict[int, dict[str, float]]:
    steps: dict[int, dict[str, float]] = {}
    for line in _lines(text):
        step = line.pop("done", None)
        if isinstance(step, int):
            line.pop("total", None)
            steps.setdefault(step, {}).update(_numbers(line))
    if len(steps) <= _STEPS:
        return steps
    ordered = list(steps)
    kept = {ordered[round(index * (len(ordered) - 1) / (_STEPS - 1))] for index in range(_STEPS)}
    # Validation is rare, and what one looks for.
    return {step: values for step, values in steps.items() if step in kept or "eval_loss" in values}


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if found := _object(line):
            yield found


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # a whole number that no float holds
                number = float(value)
                if math.isfinite(number):
                    found[name] = number
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        return parse_object(text, where="the file")
    except DataError:
        return {}
