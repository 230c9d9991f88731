"""`Backend`: where steps run, this machine (`soaptune.local.backend.LocalBackend`) or another; the protocol of all."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Protocol

from soaptune.errors import Violation
from soaptune.handles.deletion import Copy
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.estimate import Estimate
from soaptune.jobs.job import Job
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec

__all__ = ["Backend"]


class Backend(Protocol):
    """A place where jobs run. Cheap to make; nothing connects or is written before the first use."""

    @property
    def name(self) -> str:
        """The kind of backend: ``"local"``."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do. Nothing is asked of anyone."""
        ...

    def lower(self, plan: Plan) -> JobSpec:
        """Turns what a step wants into a job of this backend.

        The plan's payload stays as it is: one file, ``place.json``, is added, which says where the job runs, reads and
        writes. Pure: the same plan gives the same bytes.

        Args:
            plan: What the step wants.
        """
        ...

    def estimate(self, plan: Plan) -> Estimate:
        """Counts what a plan will take, before anything is asked.

        Args:
            plan: What the step wants.

        Raises:
            ConfigError: There is nothing in the plan that can be counted here.
        """
        ...

    def preflight(self, spec: JobSpec) -> list[Violation]:
        """What of this backend stands in the way of a job: everything at once, before anything is sent.

        Args:
            spec: The job.
        """
        ...

    def submit(self, spec: JobSpec, *, key: str | None = None, retry: bool = False) -> Job[Any]:
        """Starts a job and comes back at once.

        Args:
            spec: The job.
            key: Idempotency key of this submission. It is written down before anything is sent: submitting again
                under the same key gives the job that is there already, whatever has become of it.
            retry: Whether a job under the key that failed or was cancelled is tried again. The record of the first
                try stays: `jobs` lists it, and `find` gives the last one.

        Raises:
            ConfigError: `retry` without a key.
            BackendError: The job cannot be started, or the key belongs to a job with another spec.
        """
        ...

    def job(self, job_id: str) -> Job[Any]:
        """Finds a job again, also from another process.

        Args:
            job_id: Its id, bare or qualified with the backend's name.

        Raises:
            JobNotFound: There is none of that id.
        """
        ...

    def find(self, key: str) -> Job[Any] | None:
        """Finds the job of a submission by its idempotency key. Starts nothing, unlike submitting again.

        Args:
            key: The key, as `submit` was given it.

        Returns:
            The job, also one whose `submit` was interrupted on the way; None when nothing was started under this key.
        """
        ...

    def jobs(self) -> list[Job[Any]]:
        """All jobs of this backend, the newest first."""
        ...

    def cleanup(
        self,
        older_than: timedelta | float | None = None,
        *,
        jobs: Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> list[str]:
        """Removes jobs that have ended, with their results. Jobs that run, what they read, and kept folders stay.

        Args:
            older_than: Only what was submitted longer ago than this; seconds, when it is a number.
            jobs: Only these, by id.
            dry_run: Whether to list what would be removed, and leave it.

        Returns:
            What was removed.

        Raises:
            ConfigError: ``older_than`` is negative.
            BackendError: Something could not be removed, or a job that is named still runs or is needed.
        """
        ...

    def copies_of(self, data: Any) -> list[Copy]:
        """What jobs of this backend hold of a dataset's text; see ``dataset.delete``.

        Args:
            data: A `Dataset`.
        """
        ...

    def receive(self, handle: Any) -> Any:
        """Copies what a handle stands for to where this backend's jobs read it; see ``handle.copy_to``.

        Args:
            handle: A `Dataset` or a `Model`, wherever it lies.
        """
        ...
