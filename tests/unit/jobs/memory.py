"""A backend without processes: what a second backend must bring, and no more."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from soaptune.errors import ConfigError, Violation
from soaptune.handles.deletion import Copy
from soaptune.handles.storage import FolderFiles
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.estimate import Estimate
from soaptune.jobs.job import Event, Job
from soaptune.jobs.lower import lowered
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec


class MemoryJob(Job[Any]):
    """A job that goes through the states it is given, one at each look."""

    def __init__(self, spec: JobSpec, *, states=("done",), log=(), progress=(), reason="", made: Any = "made") -> None:
        super().__init__("memory-1", spec)
        self.states = list(states)
        self.log = list(log)
        self.lines = list(progress)
        self.why = reason
        self.made = made
        self.cancelled = False
        self.MAX_POLL_INTERVAL = 0.001

    @property
    def status(self):
        if self.cancelled:
            return "cancelled"
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, BaseException):
            raise state
        return state

    @property
    def reason(self) -> str:
        return self.why

    @property
    def url(self) -> str:
        return "memory:///1"

    @property
    def output(self) -> FolderFiles:
        return FolderFiles("/nowhere")

    def events(self) -> list[Event]:
        return [Event(kind="progress", data=line) for line in self.lines]

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        yield from self.log

    def cancel(self) -> None:
        self.cancelled = True

    def delete(self, *, dry_run: bool = False) -> list[str]:
        return [self.id]

    def _has_result(self) -> bool:
        return self.made is not None

    def _open(self) -> Any:
        return self.made


class MemoryBackend:
    """Gives one prepared job to whoever submits."""

    def __init__(self, *, findings: list[Violation] | None = None, **job: Any) -> None:
        self.findings = findings or []
        self.how = job
        self.submitted: list[tuple[JobSpec, str | None]] = []
        self.last: MemoryJob | None = None

    @property
    def name(self) -> str:
        return "memory"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(reads=frozenset({"folder"}))

    def lower(self, plan: Plan) -> JobSpec:
        return lowered(plan, backend=self.name)

    def estimate(self, plan: Plan) -> Estimate:
        raise ConfigError(f"{plan.name}: nothing can be counted in memory")

    def receive(self, handle: Any) -> Any:
        return handle

    def preflight(self, spec: JobSpec) -> list[Violation]:
        return self.findings

    def submit(self, spec: JobSpec, *, key: str | None = None, retry: bool = False) -> Job[Any]:
        self.submitted.append((spec, key))
        self.last = MemoryJob(spec, **self.how)
        return self.last

    def job(self, job_id: str) -> Job[Any]:
        assert self.last is not None
        return self.last

    def find(self, key: str) -> Job[Any] | None:
        return self.last if self.submitted and self.submitted[-1][1] == key else None

    def jobs(self) -> list[Job[Any]]:
        return [self.last] if self.last else []

    def cleanup(
        self,
        older_than: timedelta | float | None = None,
        *,
        jobs: Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> list[str]:
        return []

    def copies_of(self, data: Any) -> list[Copy]:
        return []
