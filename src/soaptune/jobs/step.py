"""`Step`: what `DataGenerator`, `Trainer`, `Evaluator` and `Deployer` have in common."""

from __future__ import annotations

from typing import Any

from soaptune.config import Config
from soaptune.errors import Violation, raise_on_errors
from soaptune.jobs.backend import Backend
from soaptune.jobs.job import Job
from soaptune.jobs.progress import watch

__all__ = ["Step"]


class Step(Config):
    """A step is its config: check it, compile it, run it.

    Subclasses give ``compile(*inputs, on=...)`` and ``preflight(*inputs, on=...)``, and typed ``submit`` and ``run``
    which call `_submit` and `_run`.
    """

    def check(self) -> list[Violation]:
        """All that is wrong with the config itself; reads nothing else."""
        return []

    def _checked(self, inputs: tuple[Any, ...], on: Backend) -> None:
        what = type(self).__name__
        # A config that is wrong in itself is told at once, without reading data for the rest.
        raise_on_errors(what, self.check())
        step: Any = self
        raise_on_errors(what, step.preflight(*inputs, on=on))

    def _submit(self, *inputs: Any, on: Backend) -> Job[Any]:
        """Checks, compiles and submits.

        Raises:
            CheckFailed: A check found an error.
        """
        self._checked(inputs, on)
        step: Any = self
        return on.submit(step.compile(*inputs, on=on))

    def _run(self, *inputs: Any, on: Backend) -> Any:
        """Submits, shows progress until the job has ended, and opens its result.

        An interrupt (Ctrl-C) stops the job with everything that it has started before it goes on.
        """
        job = self._submit(*inputs, on=on)
        try:
            watch(job)
            return job.result()
        except KeyboardInterrupt:
            job.cancel()
            raise
