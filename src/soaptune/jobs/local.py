"""`LocalBackend`: jobs as processes on this machine, each in a folder of its own."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from soaptune.config import summary
from soaptune.errors import BackendError, JobNotFound
from soaptune.handles import files
from soaptune.jobs.environment import command_line, environment
from soaptune.jobs.job import Job
from soaptune.jobs.local_job import LocalJob
from soaptune.jobs.spec import JobSpec
from soaptune.jobs.states import write_state

__all__ = ["LocalBackend"]

_SPEC_FILE = "job.json"


class LocalBackend:
    """Runs jobs on this machine.

    Every job has a folder ``<root>/jobs/<id>/`` (its *stage*) with ``app/`` (what was submitted), ``inputs/``,
    ``output/``, ``log.txt`` and its state, and a cache, a temporary folder and ports of its own. Nothing is
    written before the first job.

    Examples:
        >>> backend = LocalBackend("runs")
    """

    def __init__(self, root: str | os.PathLike[str] = "runs", *, threads: int | None = None) -> None:
        """Names the place.

        Args:
            root: The folder for jobs; made when the first one is submitted.
            threads: How many threads a job may compute with; the machine's cores when None.
        """
        self._root = Path(root).expanduser().absolute()
        self._threads = threads

    @property
    def name(self) -> str:
        """``"local"``."""
        return "local"

    @property
    def root(self) -> Path:
        """The folder for jobs, absolute."""
        return self._root

    def submit(self, spec: JobSpec, *, key: str | None = None) -> Job[Any]:
        """Starts a job and comes back at once; see `soaptune.jobs.backend.Backend.submit`.

        Raises:
            BackendError: A secret's environment variable is not set, an input is not there, or the command is not.
        """
        if key is None:
            return self._start(spec, self._new_id(spec))
        from filelock import FileLock

        keys = self._root / "keys"
        keys.mkdir(parents=True, exist_ok=True)
        record = keys / (hashlib.sha256(key.encode()).hexdigest() + ".json")
        with FileLock(str(record) + ".lock"):
            if record.is_file():
                job_id = files.read_json(record)["id"]
                if (self._stage(job_id) / _SPEC_FILE).is_file():
                    return self.job(job_id)
            else:
                job_id = self._new_id(spec)
                # Before anything starts: who submits again after a crash in between finds this id and goes on with it.
                files.write_json(record, {"id": job_id, "key": key})
            return self._start(spec, job_id)

    def job(self, job_id: str) -> Job[Any]:
        """Finds a job again; see `soaptune.jobs.backend.Backend.job`.

        Raises:
            JobNotFound: There is none of that id; the error names the nearest.
            BackendError: The job's record cannot be read.
        """
        bare = job_id.removeprefix("local:")
        stage = self._stage(bare)
        if re.fullmatch(r"[A-Za-z0-9_-]+", bare) is None or not (stage / _SPEC_FILE).is_file():
            known = [job.id for job in self.jobs()]
            near = difflib.get_close_matches(bare, known, n=3, cutoff=0.5) or known[:3]
            told = f"; near ones are {', '.join(near)}" if near else "; there are none yet"
            raise JobNotFound(f"there is no job {job_id!r} in {self._root}{told}")
        try:
            spec = JobSpec.model_validate(files.read_json(stage / _SPEC_FILE))
        except ValidationError as error:
            raise BackendError(f"{stage / _SPEC_FILE} was not written by this version of soaptune: {summary(error)}") from error
        return LocalJob(bare, spec, stage)

    def jobs(self) -> list[Job[Any]]:
        """All jobs under this root, the newest first."""
        stages = [p.parent for p in (self._root / "jobs").glob(f"*/{_SPEC_FILE}")]
        newest = sorted(stages, key=lambda stage: (stage / _SPEC_FILE).stat().st_mtime_ns, reverse=True)
        return [self.job(stage.name) for stage in newest]

    def __repr__(self) -> str:
        return f"LocalBackend({str(self._root)!r})"

    def _stage(self, job_id: str) -> Path:
        return self._root / "jobs" / job_id

    def _new_id(self, spec: JobSpec) -> str:
        return f"{spec.name}-{datetime.now(timezone.utc):%Y%m%d}-{secrets.token_hex(4)}"

    def _start(self, spec: JobSpec, job_id: str) -> Job[Any]:
        stage = self._stage(job_id)
        _refuse_missing(spec)
        shutil.rmtree(stage, ignore_errors=True)  # what an interrupted submission under the same key has left
        for folder in ("app", "inputs", "output", "cache"):
            (stage / folder).mkdir(parents=True)
        for name, text in spec.files.items():
            target = stage / "app" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(target, text)
        for name, folder in spec.inputs.items():
            (stage / "inputs" / name).symlink_to(Path(folder).absolute(), target_is_directory=True)
        env = environment(spec, stage, threads=self._threads)
        command = command_line(spec, env)
        write_state(stage, "pending")
        files.write_json(stage / _SPEC_FILE, spec.model_dump(mode="json"))
        parent = "0" if spec.detach else str(os.getpid())
        supervisor = [sys.executable, "-m", "soaptune.jobs.supervisor", str(stage), parent, "--", *command]
        with (stage / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                supervisor, env=env, cwd=stage, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return LocalJob(job_id, spec, stage, supervisor=process)


def _refuse_missing(spec: JobSpec) -> None:
    unset = sorted(name for name in spec.secrets.values() if name not in os.environ)
    if unset:
        raise BackendError(f"the job needs the environment variable(s) {', '.join(unset)}; set them and submit again")
    gone = sorted(f"{name} ({folder})" for name, folder in spec.inputs.items() if not Path(folder).is_dir())
    if gone:
        raise BackendError(f"the job's input is not there: {', '.join(gone)}")

