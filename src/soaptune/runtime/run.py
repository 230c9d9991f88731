"""The one entry of all steps' jobs: what runs depends on what the job leaves and on where it runs.

A job starts in its ``app/`` folder: ``step.json`` is the step's payload, ``place.json`` what the backend added.
Training is started by ArcticTraining's own program and does not come here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TypeVar, cast

from soaptune.common.files import read_json
from soaptune.config import Config
from soaptune.errors import ConfigError, SoaptuneError
from soaptune.handles.report import EvalReport
from soaptune.jobs.place import Place
from soaptune.runtime.inputs import OUTPUT
from soaptune.runtime.tracking import track_end

__all__ = ["payload", "run"]

PayloadT = TypeVar("PayloadT", bound=Config)


def run() -> int:
    """Runs the job in whose ``app/`` folder the process was started.

    Returns:
        The exit status; the reason of a failure is the last line on standard error.
    """
    place: Place | None = None
    try:
        place = Place.read()
        made = _run(place)
    except SoaptuneError as error:
        if place is not None:
            track_end(place, ok=False)
        # The last line, which is the reason that a user sees.
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    track_end(place, ok=True, report=made if isinstance(made, EvalReport) else None)
    print(made, flush=True)
    return 0


def payload(form: type[PayloadT], content: Any | None = None) -> PayloadT:
    """Reads a step's payload.

    Args:
        form: What it is.
        content: The content of ``step.json``, where it was read already.

    Raises:
        ConfigError: It is of another release.
    """
    try:
        return form.model_validate(read_json(Path("step.json")) if content is None else content)
    except ConfigError as error:
        raise ConfigError(f"step.json was not written by this version of soaptune: {error}") from error


def _run(place: Place) -> object:
    """Runs what makes the kind of result; each is imported only when it is wanted."""
    if place.kind == "data":
        return _generate(place)
    if place.kind == "report":
        from soaptune.evaluate.evaluator import EvalPayload
        from soaptune.runtime.evaluate.job import evaluate

        return evaluate(payload(EvalPayload), place, OUTPUT)
    if place.kind == "endpoint":
        from soaptune.deploy.payload import ServePayload

        wanted = payload(ServePayload)
        if place.account is not None:
            from soaptune.runtime.snowflake.deploy import deploy

            return deploy(wanted, place, OUTPUT)
        from soaptune.runtime.serve.job import serve

        return serve(wanted, place, OUTPUT)
    raise ConfigError(f"a job of the kind {place.kind!r} has a command line of its own")


def _generate(place: Place) -> str:
    from soaptune.data.payload import CortexPayload, GeneratePayload

    raw = read_json(Path("step.json"))
    mode = cast("dict[str, Any]", raw).get("mode") if isinstance(raw, dict) else None
    if mode == "cortex":
        from soaptune.runtime.snowflake.cortex import generate_with_cortex

        made = generate_with_cortex(payload(CortexPayload, cast("Any", raw)), place, OUTPUT)
    else:
        from soaptune.runtime.generate import generate_into

        made = generate_into(payload(GeneratePayload, cast("Any", raw)), place, OUTPUT)
    counts = ", ".join(f"{split} {count:,}" for split, count in made.counts.items())
    return f"Made {sum(made.counts.values()):,} examples ({counts})."
