"""`Job`: a submitted `JobSpec`, the same on every backend."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from soaptune.common.results import NO_MANIFEST
from soaptune.errors import BackendError, JobCancelled, JobFailed, JobTimeout
from soaptune.handles.storage import Files
from soaptune.jobs.hints import hint_for
from soaptune.jobs.spec import JobSpec

__all__ = ["ENDED", "Event", "Job", "JobStatus"]

T = TypeVar("T")

JobStatus = Literal["pending", "running", "done", "failed", "cancelled"]
"""Where a job stands."""

ENDED: frozenset[JobStatus] = frozenset({"done", "failed", "cancelled"})
"""The states that a job never leaves."""

_SHOWN = 20
"""Lines of a log that an error message shows."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job.

    Attributes:
        kind: ``"state"`` or ``"progress"``.
        data: For a state its ``state``, ``time`` and ``reason``; for progress ``done``, ``total``, ``unit`` and what
            else the job counts (``loss``, ``tokens_per_s``).
    """

    kind: Literal["state", "progress"]
    data: dict[str, Any] = field(default_factory=dict[str, Any])


class Job(ABC, Generic[T]):
    """A submitted job. It lives in the backend, not in this object: ``backend.job(id)`` finds it again.

    A backend's own subclass looks at the job; waiting, failing and giving the result are the same on all.
    """

    TAIL = 60
    """Lines of its log that a failed job's error carries."""

    MAX_POLL_INTERVAL = 0.5
    """Seconds between two looks at a job that is waited for, once it has run for a while."""

    def __init__(self, job_id: str, spec: JobSpec) -> None:
        self._id = job_id
        self._spec = spec

    @property
    def id(self) -> str:
        """The job's id."""
        return self._id

    @property
    def spec(self) -> JobSpec:
        """What was submitted."""
        return self._spec

    @property
    @abstractmethod
    def status(self) -> JobStatus:
        """Where the job stands."""

    @property
    @abstractmethod
    def reason(self) -> str:
        """Why the job ended, in words; empty while it runs and when it is done."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a person can look at the job."""

    @property
    @abstractmethod
    def output(self) -> Files:
        """What the job has written; ``job.output.get("here")`` copies it into a folder of this machine."""

    @abstractmethod
    def events(self) -> list[Event]:
        """What has happened so far, in order."""

    def progress(self) -> dict[str, Any]:
        """The last of the job's progress lines; empty before the first one."""
        lines = [event.data for event in self.events() if event.kind == "progress"]
        return lines[-1] if lines else {}

    @abstractmethod
    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines of the job's log, without their line ends.

        Args:
            follow: Whether to wait for further lines until the job ends.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stops the job with everything that it has started. Does nothing to a job that has ended."""

    @abstractmethod
    def delete(self, *, dry_run: bool = False) -> list[str]:
        """Removes the job with its log and everything that it has made, also the dataset or the model that it left.

        Args:
            dry_run: Whether to list what would be removed, and leave it.

        Returns:
            What was removed; empty when there is nothing any more.

        Raises:
            BackendError: It has not ended, another job needs what it made, or something could not be removed.
        """

    def sync(self) -> bool:
        """Writes how the job has ended to the backend's tracker, where the job could not do so itself.

        A job writes its own run when it ends well; one that was killed cannot. A run that is there is left as it is.

        Returns:
            Whether the run is there now: False where the backend tracks nothing, or the job has not ended.
        """
        return False

    @abstractmethod
    def _open(self) -> T:
        """Opens what the job left behind."""

    @abstractmethod
    def _has_result(self) -> bool:
        """Whether there is something to open."""

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the job has ended well; an endpoint's job until it answers.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            JobFailed: It failed; the error has the last lines of the log and what to do about it.
            JobCancelled: It was cancelled.
            JobTimeout: It goes on; the time is up.
        """
        for pause in self.pauses(timeout):
            time.sleep(pause)

    async def wait_async(self, timeout: float | None = None) -> None:
        """As `wait`, without blocking the event loop.

        Args:
            timeout: Seconds to wait at most.
        """
        pauses = self.pauses(timeout)
        # A look at the job may read files or ask a server, so it is taken in a thread.
        while (pause := await asyncio.to_thread(next, pauses, None)) is not None:
            await asyncio.sleep(pause)

    def pauses(self, timeout: float | None = None) -> Iterator[float]:
        """Waits as `wait` does, and leaves the waiting to the caller, who has something else to do meanwhile.

        Args:
            timeout: Seconds to wait at most.

        Yields:
            How many seconds to pause before the next look at the job.

        Raises:
            JobFailed: The job failed.
            JobCancelled: It was cancelled.
            JobTimeout: It goes on; the time is up.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while not self._settled():
            left = pause if end is None else end - time.monotonic()
            if left <= 0:
                raise JobTimeout(f"the job {self.id} is {self.status} after {timeout:g} s; it goes on running")
            yield min(pause, left)
            pause = min(pause * 1.5, self.MAX_POLL_INTERVAL)

    def _settled(self) -> bool:
        """Whether there is nothing more to wait for.

        Raises:
            JobFailed: The job failed.
            JobCancelled: The job was cancelled.
        """
        status = self.status
        if status == "failed":
            raise self.failure()
        if status == "cancelled":
            why = "" if self.reason == "it was cancelled" else f": {self.reason}"
            raise JobCancelled(f"the job {self.id} was cancelled{why}", job_id=self.id, log_tail=self._tail())
        return status == "done" or (self._spec.kind == "endpoint" and self._has_result())

    def failure(self) -> JobFailed:
        """The error that says why a failed job failed."""
        tail = self._tail()
        reason = self.reason or NO_MANIFEST
        hint = self._hint("\n".join([*tail, reason]))
        shown = "\n".join(f"  | {line}" for line in tail[-_SHOWN:])
        message = f"the job {self.id} failed: {reason}"
        if hint:
            message += f"\nWhat to do: {hint}"
        if shown:
            message += f"\nThe end of its log ({self.url}):\n{shown}"
        return JobFailed(message, job_id=self.id, log_tail=tail, hint=hint)

    def _hint(self, log: str) -> str:
        """What to do about a failure, from the end of the log and the reason; empty for one that is not known."""
        return hint_for(log)

    def _tail(self) -> list[str]:
        """The last lines of the log."""
        return list(deque(self.logs(), maxlen=self.TAIL))

    def result(self) -> T:
        """What the job made. Waits for nothing but an endpoint that is starting.

        Returns:
            A handle: a dataset, a model, a report or an endpoint.

        Raises:
            BackendError: The job has not ended yet, or leaves no handle.
            JobFailed: The job failed.
            JobCancelled: The job was cancelled.
        """
        if self._spec.kind == "endpoint":
            self.wait()
        if not self._settled():
            raise BackendError(f"the job {self.id} is {self.status}; wait() for it first")
        if self._spec.kind == "command":
            message = f"the job {self.id} ran a command line and leaves no handle; its files are at {self.url}"
            raise BackendError(message)
        if not self._has_result():
            raise self.failure()
        return self._open()

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.status})"

    def _repr_html_(self) -> str:
        return f"<code>{self.id}</code>: {self.status}"
