"""`LocalBackend`: jobs as processes on this machine, each in a folder of its own."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
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
from soaptune.jobs.arguments import require_spec
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.estimate import Estimate
from soaptune.jobs.job import Job
from soaptune.jobs.lower import lowered
from soaptune.jobs.needs import Needs
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec
from soaptune.local.environment import command_line, environment, program_path
from soaptune.local.job import LocalJob
from soaptune.local.machine import detect
from soaptune.local.missing import missing
from soaptune.local.states import write_state
from soaptune.local.supervisor import ALREADY_SUPERVISED
from soaptune.local.supervisor import command as supervisor_command

__all__ = ["LocalBackend"]

_SPEC_FILE = "job.json"
_LITTLE_DISK = 1_000_000_000


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
        found = [
            Violation(
                path=f"secrets.{name}",
                code="secret-not-set",
                message=f"The job needs the environment variable {source}, which is not set.",
                hint=f"Set {source} and submit again.",
            )
            for name, source in spec.secrets.items()
            if source not in os.environ
        ]
        places = {f"inputs.{name}": place for name, place in spec.places.items()}
        found += [
            Violation(path=path, code="other-backend", message=f"{place} is not a folder: jobs here read folders only.")
            for path, place in places.items()
            if not isinstance(place, Folder)
        ]
        folders = {path: place.path for path, place in places.items() if isinstance(place, Folder)}
        folders |= {f"code_paths.{number}": folder for number, folder in enumerate(spec.code_paths)}
        found += [
            Violation(path=path, code="no-such-folder", message=f"{folder} is not a folder on this machine.")
            for path, folder in folders.items()
            if not Path(folder).expanduser().is_dir()
        ]
        needs = spec.needs or Needs()
        found += [*self.capabilities.unmet(needs), *missing(needs)]
        try:
            program_path(spec)
        except SoaptuneError as error:
            found.append(Violation(path="entrypoint", code="no-such-program", message=str(error)))
        above = _nearest_folder(self._root)
        if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
            message = f"Nothing can be written to {self._root}: {above} is not a folder that you may write to."
            hint = "Give LocalBackend another root."
            found.append(Violation(path="root", code="root-not-writable", message=message, hint=hint))
        elif (free := shutil.disk_usage(above).free) < _LITTLE_DISK:
            message = f"Only {free / 1e9:.1f} GB are free below {self._root}."
            found.append(Violation(path="root", code="little-disk", level="warning", message=message))
        return found

    def submit(self, spec: JobSpec, *, key: str | None = None) -> Job[Any]:
        """Starts a job and comes back at once; see `soaptune.jobs.backend.Backend.submit`.

        Raises:
            BackendError: Something is missing that the job needs, nothing can be written to the root, or the key
                belongs to another job.
        """
        require_spec(spec)
        try:
            return self._submit(spec, key)
        except OSError as error:
            raise BackendError(f"the job {spec.name!r} cannot be started in {self._root}: {error}") from error

    def _submit(self, spec: JobSpec, key: str | None) -> LocalJob:
        if key is None:
            job_id = self._new_id(spec)
            try:
                return self._start(spec, job_id)
            except KeyboardInterrupt:
                # Nobody will ever hear of this id. Under a key a job stays: who submits again goes on with it.
                if (job := self._existing(job_id)) is not None:
                    job.cancel()
                raise
        from filelock import FileLock

        record = self._record(key)
        files.private_folder(record.parent)
        # Held until the supervisor is there: another process with the same key waits, and then finds the job.
        with FileLock(str(record) + ".lock", mode=0o600):
            if not record.is_file():
                job_id = self._new_id(spec)
                # Before anything starts: who submits again after a crash in between finds this id and goes on with it.
                files.write_json(record, {"id": job_id, "key": key})
                return self._start(spec, job_id)
            job_id = files.read_json(record)["id"]
            job = self._existing(job_id)
            if job is None:
                return self._start(spec, job_id)
            if job.spec != spec:
                raise BackendError(f"the key {key!r} belongs to the job {job_id}, whose spec is another one")
            if not job.never_started:
                return job
            # Its submitter may have been killed in the last moment. A second supervisor would do no harm either.
            self._refuse_what_cannot_start(spec)
            return self._launch(spec, job_id)

    def find(self, key: str) -> Job[Any] | None:
        """Finds the job of a submission, without starting one; see `soaptune.jobs.backend.Backend.find`.

        Raises:
            BackendError: The record of the key or of the job cannot be read.
        """
        try:
            record = self._record(key)
            return self._existing(files.read_json(record)["id"]) if record.is_file() else None
        except (OSError, DataError) as error:
            raise BackendError(f"the record of the key {key!r} in {self._root} cannot be read: {error}") from error

    def job(self, job_id: str) -> Job[Any]:
        """Finds a job again; see `soaptune.jobs.backend.Backend.job`.

        Raises:
            JobNotFound: There is none of that id; the error names the nearest.
            BackendError: The job's record cannot be read.
        """
        bare = job_id.removeprefix("local:")
        found = self._existing(bare) if re.fullmatch(r"[A-Za-z0-9_-]+", bare) else None
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
        for file in (self._root / "jobs").glob(f"*/{_SPEC_FILE}"):
            with contextlib.suppress(OSError):  # removed in between
                found.append((file.stat().st_mtime_ns, file.parent))
        return [stage for _, stage in sorted(found, reverse=True)]

    def _stage(self, job_id: str) -> Path:
        return self._root / "jobs" / job_id

    def _kept(self, name: str, key: str) -> Path:
        return self._root / "keeps" / name / key

    def _new_id(self, spec: JobSpec) -> str:
        return f"{spec.name}-{datetime.now(timezone.utc):%Y%m%d}-{secrets.token_hex(4)}"

    def _record(self, key: str) -> Path:
        return self._root / "keys" / (hashlib.sha256(key.encode()).hexdigest() + ".json")

    def _existing(self, job_id: str) -> LocalJob | None:
        return self._find(job_id) if (self._stage(job_id) / _SPEC_FILE).is_file() else None

    def _find(self, job_id: str) -> LocalJob:
        stage = self._stage(job_id)
        try:
            spec = JobSpec.model_validate(files.read_json(stage / _SPEC_FILE))
        except ConfigError as error:
            message = f"{stage / _SPEC_FILE} was not written by this version of soaptune: {error}"
            raise BackendError(message) from error
        except DataError as error:
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
        shutil.rmtree(stage, ignore_errors=True)  # what an interrupted submission under the same key has left
        try:
            self._write(spec, stage)
        except BaseException:  # an interrupt too: nothing has started, so that nothing is to remain
            shutil.rmtree(stage, ignore_errors=True)
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
        write_state(stage, "pending")
        # The last of all: a folder without it is not a job yet.
        files.write_json(stage / _SPEC_FILE, spec.model_dump(mode="json"))

    def _launch(self, spec: JobSpec, job_id: str) -> LocalJob:
        stage = self._stage(job_id)
        env = environment(spec, stage, threads=self._threads)
        parent = "0" if spec.detach or self._detach else str(os.getpid())
        supervisor = [*supervisor_command(), str(stage), parent, str(self._grace), "--"]
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
            _ = job.status  # it was killed: looking at the job ends at once what is left of it


def _nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest above it that is there."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):  # we may not even look
            if folder.exists():
                return folder
    return Path(path.anchor)
