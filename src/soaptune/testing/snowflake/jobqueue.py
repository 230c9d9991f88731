"""The queue of jobs: taken on, started when their pool has free nodes, watched, cancelled, dropped."""

from __future__ import annotations

import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake import jobspec
from soaptune.testing.snowflake.jobrecord import Instance, Job, Login
from soaptune.testing.snowflake.launcher import Launcher
from soaptune.testing.snowflake.names import Name, unquoted
from soaptune.testing.snowflake.results import SqlError, exists, missing

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

_CANCEL_SECONDS = 20.0
PREEMPTED = "node preempted"


@dataclass
class JobFault:
    """What shall befall jobs that run.

    Attributes:
        name: The pattern of their names.
        after: How long they run before, in seconds.
        left: How many jobs it still befalls.
        instance: Which of its instances.
        preempt: Whether its node is lost, rather than its processes killed.
    """

    name: re.Pattern[str]
    after: float
    left: int
    instance: int
    preempt: bool


class Jobs:
    """The jobs of an account.

    One thread, made with the first job, starts what waits as soon as its pool has nodes for it, and orders faults.

    Attributes:
        account: Whose jobs they are.
        launcher: Runs their containers.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.launcher = Launcher(account)
        self._jobs: dict[Name, Job] = {}
        self._dropped: list[Job] = []
        self._tokens: dict[str, Job] = {}
        self._faults: list[JobFault] = []
        self._changed = threading.Condition(threading.RLock())
        self._scheduler: threading.Thread | None = None
        self._closed = False

    # ---- asking

    def __iter__(self) -> Iterator[Job]:
        with self._changed:
            return iter(list(self._jobs.values()))

    def history(self) -> list[Job]:
        """All jobs there have been, the latest first."""
        with self._changed:
            return sorted([*self._jobs.values(), *self._dropped], key=lambda job: job.created, reverse=True)

    def get(self, name: Name) -> Job | None:
        """A job by its full name, or None."""
        with self._changed:
            return self._jobs.get(name)

    def find(self, name: Name) -> Job:
        """A job by its full name.

        Raises:
            SqlError: If there is none.
        """
        job = self.get(name)
        if job is None:
            raise missing("Service", name.dotted)
        return job

    def login(self, token: str) -> Login | None:
        """As whom a process of a job logs in, or None if the token is not one of a job that runs."""
        with self._changed:
            job = self._tokens.get(token)
            return job.login if job and job.running else None

    def waiting_for(self, pool: str) -> bool:
        """Whether a job of a pool has not ended."""
        return any(job.pool == pool and job.running for job in self)

    # ---- doing

    def submit(
        self, name: Name, pool: str, options: dict[str, Any], job_options: dict[str, Any], session: Session
    ) -> Job:
        """Takes a job on.

        Args:
            name: Its full name; a suffix is added if the options say so.
            pool: The compute pool, unquoted.
            options: The spec options of the SDK.
            job_options: The job options of the SDK.
            session: Who sends it.

        Raises:
            SqlError: If it cannot run as it is.
        """
        if job_options.get("GENERATE_SUFFIX"):
            name = name._replace(name=name.name + uuid.uuid4().hex[:12].upper())
        account = self.account
        account.integrations.check(job_options.get("EXTERNAL_ACCESS_INTEGRATIONS") or [])
        account.pools.admit(pool, int(job_options.get("MIN_INSTANCES") or job_options.get("TARGET_INSTANCES") or 1))
        spec = jobspec.specification(name, options, job_options)
        container = spec["spec"]["containers"][0]
        warehouse = str(job_options.get("QUERY_WAREHOUSE") or session.warehouse or "")
        job = Job(
            name=name,
            pool=pool,
            login=Login(session.user, session.role, unquoted(warehouse) or None),
            options=job_options,
            spec=spec,
            stage=account.stages.path(str(options["STAGE_PATH"]), session),
            query_id=str(uuid.uuid4()),
            env=jobspec.environment(account, spec, name),
            command=[*map(str, container.get("command") or ()), *map(str, container.get("args") or ())],
        )
        with self._changed:
            if name in self._jobs:
                raise exists("Object", name.dotted)
            if self._closed:
                raise SqlError(604, "SQL execution canceled", "57014")
            self._jobs[name] = job
            job.turn("PENDING", job.message)
            if self._scheduler is None:
                self._scheduler = threading.Thread(target=self._schedule, name="snowflake-jobs", daemon=True)
                self._scheduler.start()
            self._changed.notify_all()
        return job

    def wait(self, job: Job, seconds: float) -> bool:
        """Waits until a job has ended; whether it has."""
        with self._changed:
            self._changed.wait_for(lambda: not job.running or self._closed, seconds)
            return not job.running

    def cancel(self, job: Job) -> None:
        """Kills a job at once and waits until nothing of it is left; one that has ended stays as it is."""
        with self._changed:
            if not job.running:
                return
            job.decide("CANCELLED", "Job was cancelled.")
            if job.status != "CANCELLING":
                job.turn("CANCELLING", "Job is being cancelled.")
            self._stop(job)
        self.wait(job, _CANCEL_SECONDS)

    def cancel_all_in(self, pool: str) -> None:
        """Cancels every job of a pool."""
        for job in self:
            if job.pool == pool:
                self.cancel(job)

    def drop(self, job: Job) -> None:
        """Removes a job; it is killed if it has not ended, and stays in the history."""
        with self._changed:
            job.decide("DELETED", "Job was dropped before it ended.")
            self._stop(job)
        self.wait(job, _CANCEL_SECONDS)
        with self._changed:
            if self._jobs.pop(job.name, None):
                job.deleted = time.time()
                self._dropped.append(job)

    def wake(self) -> None:
        """Looks again whether a job can start: a pool has changed."""
        with self._changed:
            self._changed.notify_all()

    def kill_later(self, name: str, after: float = 0.0, times: int = 1) -> None:
        """Orders that jobs are killed while they run, as by the system: the head's processes end with status 137."""
        self._order(JobFault(re.compile(name, re.IGNORECASE), after, times, 0, preempt=False))

    def preempt_later(self, name: str, after: float = 0.0, instance: int = 0, times: int = 1) -> None:
        """Orders that an instance of jobs loses its node; the job fails, since no job is started anew by itself."""
        self._order(JobFault(re.compile(name, re.IGNORECASE), after, times, instance, preempt=True))

    def close(self) -> None:
        """Kills everything that runs, and waits until nothing is left of it."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.decide("CANCELLED", "The account was closed.")
                self._stop(job)
            containers = [instance.container for job in self._jobs.values() for instance in job.instances]
            self._changed.notify_all()
        if self._scheduler:
            self._scheduler.join()
        for container in containers:
            container.join()
        self.launcher.close()

    # ---- running

    def _order(self, fault: JobFault) -> None:
        with self._changed:
            self._faults.append(fault)
            self._changed.notify_all()

    def _schedule(self) -> None:
        """The scheduler's thread: starts jobs in the order they came, each when its pool has nodes for it."""
        with self._changed:
            while not self._closed:
                for job in [job for job in self._jobs.values() if job.status == "PENDING" and job.ending is None]:
                    self._try_start(job)
                times = [at for at in (self.account.pools.starting_until(), self._apply_due_faults()) if at is not None]
                self._changed.wait(max(0.001, min(times) - time.time()) if times else None)

    def _try_start(self, job: Job) -> None:
        nodes = self.account.pools.take(job.pool, job.id, job.min_instances, job.target_instances)
        if not nodes:
            return
        token = secrets.token_urlsafe(32)
        self._tokens[token] = job
        job.started = time.time()
        try:
            home = self.launcher.prepare(job)
            for index in range(nodes):

                def on_end(code: int, index: int = index) -> None:
                    self._ended(job, index, code)

                container = self.launcher.start(job, index, home, token, on_end)
                job.instances.append(Instance(index, container, job.created, started=time.time()))
        except OSError as error:
            job.decide("INTERNAL_ERROR", str(error))
            self._stop(job)
            return
        job.turn("RUNNING", f"{nodes} of {job.target_instances} instances run.")
        self._changed.notify_all()

    def _ended(self, job: Job, index: int, code: int) -> None:
        """Told by the thread that read an instance's output: nothing of the instance is left."""
        with self._changed:
            instance = job.instances[index]
            instance.exit_code = code
            if code != 0:
                job.decide("FAILED", instance.lost or f"Instance {index}: {instance.message}")
            if job.ending:
                self._stop(job)
            else:
                self._finish(job)

    def _stop(self, job: Job) -> None:
        """Kills what still runs of a job that is decided; the last instance that ends finishes it."""
        for instance in job.instances:
            if instance.exit_code is None:
                instance.container.kill()
        self._finish(job)

    def _finish(self, job: Job) -> None:
        """Gives a job its final status, if all its instances have ended."""
        if not job.running or any(instance.exit_code is None for instance in job.instances):
            return
        if not job.instances and not job.ending:
            return
        job.ended = time.time()
        job.turn(*(job.ending or ("DONE", "Completed successfully")))
        self.account.pools.give(job.pool, job.id)
        self._changed.notify_all()

    def _apply_due_faults(self) -> float | None:
        """Lets the faults happen whose time has come; when the next one is due."""
        due: list[float] = []
        for job in self._jobs.values():
            for fault in self._faults:
                if job.status != "RUNNING" or job.started is None or fault.left < 1 or job.ending:
                    continue
                if not fault.name.search(job.id) or fault.instance >= len(job.instances):
                    continue
                if (at := job.started + fault.after) > time.time():
                    due.append(at)
                    continue
                fault.left -= 1
                instance = job.instances[fault.instance]
                if fault.preempt:
                    instance.lost = PREEMPTED
                    job.decide("FAILED", PREEMPTED)
                instance.container.kill()
        return min(due) if due else None
