"""`Step`: what `DataGenerator`, `Trainer`, `Evaluator` and `Deployer` have in common."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Generator
from typing import Any, Generic

from typing_extensions import TypeVar

from soaptune.config import Config
from soaptune.errors import SoaptuneError, Violation, raise_on_errors
from soaptune.handles.location import misplaced
from soaptune.jobs.arguments import require_backend, require_key
from soaptune.jobs.backend import Backend
from soaptune.jobs.job import Job
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec
from soaptune.jobs.watch import watch

__all__ = ["Step", "cancelled_by_interrupt"]

OutT = TypeVar("OutT", default=Any)

_log = logging.getLogger("soaptune")


class Step(Config, Generic[OutT]):
    """A step is its config: check it, plan it, compile it, run it.

    Subclasses give ``plan(*inputs, given=...)``, which is pure, ``preflight(*inputs, on=...)``, and typed forms of
    ``compile``,
    ``submit`` and ``run``, the last two of which call `_submit` and `_run`. No step asks which backend it is on: it
    reads the backend's `Capabilities`.
    """

    def check(self) -> list[Violation]:
        """All that is wrong with the config itself; reads nothing else."""
        return []

    def _submit(self, *inputs: Any, on: Backend, key: str | None = None, retry: bool = False) -> Job[OutT]:
        """Checks, compiles and submits; warnings of the checks are logged.

        Args:
            *inputs: What `plan` and `preflight` take.
            on: Where it runs.
            key: Idempotency key of the submission.
            retry: Whether a job under the key that failed or was cancelled is tried again.

        Raises:
            ConfigError: `retry` without a key.
            CheckFailed: A check found an error; nothing was started.
            BackendError: The backend cannot start the job.
        """
        require_key(key, retry=retry)
        spec = self._prepare(*inputs, on=on)
        return on.submit(spec, key=key, retry=retry)

    def _run(self, *inputs: Any, on: Backend, key: str | None = None, retry: bool = False) -> OutT:
        """Submits, shows progress until the job has ended, and opens its result.

        An interrupt (Ctrl-C) stops the job with everything that it has started before it goes on, also one that comes
        while the job is being submitted.
        """
        require_key(key, retry=retry)
        spec = self._prepare(*inputs, on=on)
        with cancelled_by_interrupt(on, key) as key:
            job: Job[OutT] = on.submit(spec, key=key, retry=retry)
            watch(job)
            return job.result()

    def _prepare(self, *inputs: Any, on: Backend) -> JobSpec:
        """Checks and compiles; warnings of the checks are logged."""
        what = type(self).__name__
        step: Any = self
        require_backend(on)
        able = on.capabilities
        # A config that is wrong in itself is reported at once, without reading data for the rest.
        warnings = raise_on_errors(what, [*self.check(), *misplaced(inputs, reads=able.reads)])
        found: list[Violation] = step.preflight(*inputs, on=on)
        plan: Plan = step.plan(*inputs, given=able)
        warnings += raise_on_errors(what, [*able.unmet(plan.needs), *found])
        spec = on.lower(plan)
        warnings += raise_on_errors(what, on.preflight(spec))
        for warning in warnings:
            _log.warning("%s: %s", what, warning)
        return spec


@contextlib.contextmanager
def cancelled_by_interrupt(on: Backend, key: str | None = None) -> Generator[str, None, None]:
    """Cancels the job of a submission when an interrupt (Ctrl-C) comes, and lets the interrupt go on.

    The job is known by its key from before it is submitted, so that no moment is left in which it runs and its
    submitter does not know of it.

    Args:
        on: Where the job runs.
        key: Idempotency key of the submission; a new one when None.

    Yields:
        The key to submit under.
    """
    key = key or secrets.token_hex(16)
    try:
        yield key
    except KeyboardInterrupt:
        try:
            if (job := on.find(key)) is not None:
                job.cancel()
        except SoaptuneError as error:  # who interrupts wants to stop, whatever else goes wrong
            _log.warning("the job of the interrupted submission could not be cancelled: %s", error)
        raise
