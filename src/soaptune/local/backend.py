"""`LocalBackend`: jobs as processes on this machine, each in a folder of its own."""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from soaptune.common import files
from soaptune.errors import BackendError, ConfigError, DataError, JobNotFound, SoaptuneError, Violation
from soaptune.handles import open_handle
from soaptune.handles.deletion import Copy
from soaptune.handles.location import Folder
from soaptune.jobs.arguments import require_key, require_spec
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.estimate import Estimate
from soaptune.jobs.job import Job
from soaptune.jobs.lower import lowered
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec
from soaptune.local.environment import command_line, environment
from soaptune.local.findings import findings
from soaptune.local.folders import SPEC_FILE, job_folders, read_spec
from soaptune.local.job import LocalJob
from soaptune.local.keys import Keys, is_job_id
from soaptune.local.machine import detect
from soaptune.local.processes import machine
from soaptune.local.states import STATE_FILE, reserve_space, write_state
from soaptune.local.supervisor import ALREADY_SUPERVISED
from soaptune.local.supervisor import command as supervisor_command

__all__ = ["LocalBackend"]


class LocalBackend:
    """Runs jobs on this machine (Linux; macOS, where less is known of a job's processes).

    Every job has a folder ``<root>/jobs/<id>/`` (its *stage*) with ``app/`` (what was submitted), ``inputs/``,
    ``output/``, ``log.txt`` and its state, and caches, a temporary folder and a port of its own. What a job's ``keeps``
    name lies in ``<root>/keeps/<name>/<key>``, beside all jobs: it stays when their folders are removed. Nothing is
    written before the first job.

    Examples:
        >>> backend = LocalBackend("runs")
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "runs",
        *,
        threads: int | None = None,
        detach: bool = False,
        grace: float = 10.0,
    ) -> None:
        """Names the place.

        Args:
            root: The folder for jobs; made when the first one is submitted.
            threads: How many threads a job may compute with; the machine's cores when None.
            detach: Whether all jobs go on when this process ends, not only those whose spec says so.
            grace: Seconds that a job has to end by itself when it is cancelled, before it is killed.

        Raises:
            ConfigError: `threads` or `grace` is not a number that it can be.
        """
        if threads is not None and threads < 1:
            raise ConfigError(f"LocalBackend: threads is {threads}, and a job computes with at least 1; None for all")
        if grace < 0:
            raise ConfigError(f"LocalBackend: grace is {grace:g}, and it is a number of seconds from 0 on")
        self._root = Path(root).expanduser().absolute()
        self._threads = threads
        self._detach = detach
        self._grace = grace

    @property
    def name(self) -> str:
        """``"local"``."""
        return "local"

    @property
    def capabilities(self) -> Capabilities:
        """Folders of a machine that is known; see `soaptune.jobs.backend.Backend.capabilities`."""
        return Capabilities(reads=frozenset({"folder"}), machine=detect())

    def lower(self, plan: Plan) -> JobSpec:
        """Turns what a step wants into a job; see `soaptune.jobs.backend.Backend.lower`."""
        keeps = {name: Folder(path=str(self._kept(name, key))) for name, key in plan.keeps.items()}
        return lowered(plan, backend=self.name, keeps=keeps)

    def estimate(self, plan: Plan) -> Estimate:
        """Counts nothing: what jobs of this machine take costs nothing but time.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{plan.name}: there is nothing to count before a job of this machine runs")

    @property
    def root(self) -> Path:
        """The folder for jobs, absolute."""
        return self._root

    def preflight(self, spec: JobSpec) -> list[Violation]:
        """What stands in the way of a job here; see `soaptune.jobs.backend.Backend.preflight`."""
        return findings(spec, self.capabilities, self._root)

    def submit(self, spec: JobSpec, *, key: str | None = None, retry: bool = False) -> Job[Any]:
        """Starts a job and comes back at once; see `soaptune.jobs.backend.Backend.submit`.

        Raises:
            ConfigError: `retry` without a key.
            BackendError: Something is missing that the job needs, nothing can be written to the root, or the key
                belongs to another job.
        """
        require_spec(spec)
        require_key(key, retry=retry)
        try:
            return self._submit(spec, key, retry=retry)
        except (OSError, DataError) as error:
            raise BackendError(f"the job {spec.name!r} cannot be started in {self._root}: {error}") from error

    def _submit(self, spec: JobSpec, key: str | None, *, retry: bool) -> LocalJob:
        if key is None:
            job_id = self._new_id(spec)
            try:
                return self._start(spec, job_id)
            except KeyboardInterrupt:
                # Nobody will ever hear of this id. Under a key a job stays: who submits again goes on with it.
                if (job := self._existing(job_id)) is not None:
                    job.cancel()
                raise
        # Held until the supervisor is there: another process with the same key waits, and then finds the job.
        with self._keys.lock(self._keys.file(key)):
            tries = self._keys.tries(key)
            if not tries:
                # Before anything starts: who submits again after a crash in between finds this id and goes on with it.
                tries = self._keys.add(key, (), self._new_id(spec))
            job = self._existing(tries[-1])
            if job is None:
                return self._start(spec, tries[-1])
            if job.spec != spec:
                raise BackendError(f"the key {key!r} belongs to the job {job.id}, whose spec is another one")
            if job.never_started:
                # Its submitter may have been killed in the last moment. A second supervisor would do no harm either.
                self._refuse_what_cannot_start(spec)
                return self._launch(spec, job.id)
            if retry and job.status in ("failed", "cancelled"):
                job.end_if_lost()
                self._refuse_what_cannot_start(spec)
                return self._start(spec, self._keys.add(key, tries, self._new_id(spec))[-1])
            return job

    def find(self, key: str) -> Job[Any] | None:
        """Finds the job of a submission, without starting one; see `soaptune.jobs.backend.Backend.find`.

        Raises:
            BackendError: The record of the key or of the job cannot be read.
        """
        try:
            tries = self._keys.tries(key)
            return self._existing(tries[-1]) if tries else None
        except (OSError, DataError) as error:
            raise BackendError(f"the record of the key {key!r} in {self._root} cannot be read: {error}") from error

    def job(self, job_id: str) -> Job[Any]:
        """Finds a job again; see `soaptune.jobs.backend.Backend.job`.

        Raises:
            JobNotFound: There is none of that id; the error names the nearest.
            BackendError: The job's record cannot be read.
        """
        bare = job_id.removeprefix("local:")
        found = self._existing(bare) if is_job_id(bare) else None
        if found is None:
            known = [stage.name for stage in self._stages()]
            near = difflib.get_close_matches(bare, known, n=3, cutoff=0.5) or known[:3]
            others = f"; near ones are {', '.join(near)}" if near else "; there are none yet"
            raise JobNotFound(f"there is no job {job_id!r} in {self._root}{others}")
        return found

    def jobs(self) -> list[Job[Any]]:
        """All jobs under this root, the newest first; what cannot be read is left out."""
        found: list[Job[Any]] = []
        for stage in self._stages():
            try:
                found.append(self._find(stage.name))
            except BackendError:  # another version's, or damaged; asked for by its id it says so
                continue
        return found

    def receive(self, handle: Any) -> Any:
        """Brings what a handle stands for to this machine; see `soaptune.jobs.backend.Backend.receive`.

        The same content is brought only once.
        """
        if isinstance(handle.location, Folder):
            return handle
        folder = self._root / "copies" / handle.fingerprint.removeprefix("sha256:")[:16]
        return open_handle(folder) if (folder / files.MANIFEST).is_file() else handle.download(folder)

    def cleanup(
        self,
        older_than: timedelta | float | None = None,
        *,
        jobs: Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> list[str]:
        """Removes jobs that have ended, with their results; see `soaptune.local.cleanup.cleanup`.

        Args:
            older_than: Only what was submitted longer ago than this; seconds, when it is a number.
            jobs: Only these, by id.
            dry_run: Whether to list what would be removed, and leave it.

        Returns:
            What was removed.

        Raises:
            BackendError: Something could not be removed, or a job that is named still runs or is needed.
        """
        from soaptune.local.cleanup import cleanup

        chosen = None if jobs is None else {self.job(one).id for one in jobs}
        return cleanup(self._root, older_than=older_than, jobs=chosen, dry_run=dry_run)

    def copies_of(self, data: Any) -> list[Copy]:
        """What jobs of this backend hold of a dataset's text; see `soaptune.Dataset.delete`."""
        from soaptune.local.copies import copies_of

        return copies_of(data, self._root)

    def __repr__(self) -> str:
        return f"LocalBackend({str(self._root)!r})"

    def _stages(self) -> list[Path]:
        found: list[tuple[int, Path]] = []
        for stage in job_folders(self._root):
            file = stage / SPEC_FILE
            with contextlib.suppress(OSError):  # removed in between
                if file.is_file() and not file.is_symlink():
                    found.append((file.stat().st_mtime_ns, stage))
        return [stage for _, stage in sorted(found, reverse=True)]

    def _stage(self, job_id: str) -> Path:
        return self._root / "jobs" / job_id

    def _kept(self, name: str, key: str) -> Path:
        return self._root / "keeps" / name / key

    def _new_id(self, spec: JobSpec) -> str:
        return f"{spec.name}-{datetime.now(timezone.utc):%Y%m%d}-{secrets.token_hex(4)}"

    @property
    def _keys(self) -> Keys:
        return Keys(self._root / "keys")

    def _existing(self, job_id: str) -> LocalJob | None:
        stage = self._stage(job_id)
        if stage.is_symlink():  # it leads out of this root, where nothing is ours
            raise BackendError(f"{stage} is a link: a job's folder must lie in {self._root} itself")
        return self._find(job_id) if (stage / SPEC_FILE).is_file() else None

    def _find(self, job_id: str) -> LocalJob:
        stage = self._stage(job_id)
        try:
            spec = read_spec(stage)
        except ConfigError as error:
            message = f"{stage / SPEC_FILE} was not written by this version of soaptune: {error}"
            raise BackendError(message) from error
        except (DataError, OSError, ValueError, TypeError, RecursionError) as error:
            raise BackendError(f"the record of the job {job_id} cannot be read: {error}") from error
        return LocalJob(job_id, spec, stage, grace=self._grace)

    def _refuse_what_cannot_start(self, spec: JobSpec) -> None:
        missing = [finding for finding in self.preflight(spec) if finding.level == "error"]
        if missing:
            reasons = "; ".join(f"{finding.path}: {finding.message}" for finding in missing)
            raise BackendError(f"the job {spec.name!r} cannot start on this machine: {reasons}")

    def _start(self, spec: JobSpec, job_id: str) -> LocalJob:
        self._refuse_what_cannot_start(spec)
        stage = self._stage(job_id)
        if os.path.lexists(stage):  # whatever it is, it is not a job of ours
            raise BackendError(f"{stage} is in the way: it is no job, and is not removed")
        # Made beside its place, so that no folder is ever found there that is not a whole job.
        made = stage.with_name(f".{job_id}.{secrets.token_hex(4)}")
        try:
            self._write(spec, made)
            made.rename(stage)
        except BaseException:  # an interrupt too: nothing has started, so that nothing is to remain
            shutil.rmtree(made, ignore_errors=True)
            raise
        try:
            return self._launch(spec, job_id)
        except Exception:  # unlike an interrupt, which may come when a supervisor is there already
            shutil.rmtree(stage, ignore_errors=True)
            raise

    def _write(self, spec: JobSpec, stage: Path) -> None:
        for folder in ("app", "inputs", "output", "cache"):
            files.private_folder(stage / folder)
        for name, text in spec.files.items():
            files.write_text(stage / "app" / name, text)
        for name, place in spec.places.items():
            link = stage / "inputs" / name
            files.private_folder(link.parent)
            if isinstance(place, Folder):
                link.symlink_to(Path(place.path).expanduser().absolute(), target_is_directory=True)
        for name, key in spec.keeps.items():
            kept = self._kept(name, key)
            files.private_folder(kept)
            files.private_folder(stage / "keeps")
            (stage / "keeps" / name).symlink_to(kept, target_is_directory=True)
        (stage / "log.txt").touch(mode=0o600)
        reserve_space(stage)
        write_state(stage, "pending", machine=machine())
        # The last of all: a folder without it is not a job yet.
        files.write_json(stage / SPEC_FILE, spec.model_dump(mode="json"))

    def _launch(self, spec: JobSpec, job_id: str) -> LocalJob:
        stage = self._stage(job_id)
        env = environment(spec, stage, threads=self._threads)
        parent = "0" if spec.detach or self._detach else str(os.getpid())
        supervisor = [*supervisor_command(), str(stage), parent, str(self._grace), spec.kind, "--"]
        (stage / STATE_FILE).touch()  # a supervisor that comes too late goes away
        with (stage / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [*supervisor, *command_line(spec)],
                env=env,
                cwd=stage,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal reaches the submitter alone, who then decides what becomes of the job.
                start_new_session=True,
            )
        job = LocalJob(job_id, spec, stage, grace=self._grace, supervisor=process)
        threading.Thread(target=_reap_supervisor, args=(process, job), name=f"soaptune-{job_id}", daemon=True).start()
        return job


def _reap_supervisor(supervisor: subprocess.Popen[bytes], job: LocalJob) -> None:
    """Waits for a supervisor, which is otherwise a zombie when nobody asks about its job any more."""
    if supervisor.wait() not in (0, ALREADY_SUPERVISED):
        with contextlib.suppress(SoaptuneError, OSError):
            job.end_if_lost()  # it was killed, and perhaps its guard as well
