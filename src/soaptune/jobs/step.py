"""`Step`: what `DataGenerator`, `Trainer`, `Evaluator` and `Deployer` have in common."""

from __future__ import annotations

import logging
from typing import Any

from soaptune.config import Config
from soaptune.errors import Violation, raise_on_errors
from soaptune.handles.location import misplaced
from soaptune.jobs.backend import Backend
from soaptune.jobs.job import Job
from soaptune.jobs.progress import watch
from soaptune.jobs.spec import JobSpec

__all__ = ["Step"]

_log = logging.getLogger("soaptune")


class Step(Config):
    """A step is its config: check it, compile it, run it.

    Subclasses give ``compile(*inputs, on=...)`` and ``preflight(*inputs, on=...)``, and typed ``submit`` and ``run``
    which call `_submit` and `_run`.
    """

    def check(self) -> list[Violation]:
        """All that is wrong with the config itself; reads nothing else."""
        return []

    def _submit(self, *inputs: Any, on: Backend, key: str | None = None) -> Job[Any]:
        """Checks, compiles and submits; warnings of the checks are logged.

        Args:
            *inputs: What `compile` and `preflight` take.
            on: Where it runs.
            key: Idempotency key of the submission.

        Raises:
            CheckFailed: A check found an error; nothing was started.
            BackendError: The backend cannot start the job.
        """
        what = type(self).__name__
        step: Any = self
        # A config that is wrong in itself is told at once, without reading data for the rest.
        warnings = raise_on_errors(what, [*self.check(), *misplaced(inputs, on=on.name)])
        warnings += raise_on_errors(what, step.preflight(*inputs, on=on))
        spec: JobSpec = step.compile(*inputs, on=on)
        warnings += raise_on_errors(what, on.preflight(spec))
        for warning in warnings:
            _log.warning("%s: %s", what, warning)
        return on.submit(spec, key=key)

    def _run(self, *inputs: Any, on: Backend, key: str | None = None) -> Any:
        """Submits, shows progress until the job has ended, and opens its result.

        An interrupt (Ctrl-C) stops the job with everything that it has started before it goes on.
        """
        job = self._submit(*inputs, on=on, key=key)
        try:
            watch(job)
            return job.result()
        except KeyboardInterrupt:
            job.cancel()
            raise
