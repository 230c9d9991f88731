"""From a `JobSpec` to a running ML Job: written down first, then uploaded, then sent, and never sent twice."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from soaptune.common.lazy import optional
from soaptune.errors import BackendError, SoaptuneError
from soaptune.handles.location import Folder, StagePath
from soaptune.jobs.place import PLACE_FILE, Place
from soaptune.jobs.plan import as_json
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.jobs.control import Control, Service
from soaptune.snowflake.jobs.payload import arguments, write_payload
from soaptune.snowflake.jobs.records import Record, Records, digits_of, job_name
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.names import fold, parse, quote
from soaptune.snowflake.session import Connection, is_lost, is_transient, wrap_error
from soaptune.snowflake.settings import SnowflakeSettings

__all__ = ["Submitter", "jobs_module", "secret_references"]

MOUNT = "/mnt/job_stage"
_ATTEMPTS = 3
_PAUSE = 1.0
_guard = threading.Lock()
_sending: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""The lock of each key under which somebody is sending; one that nobody holds is forgotten."""


class Submitter:
    """Sends jobs."""

    def __init__(self, connection: Connection, settings: SnowflakeSettings) -> None:
        """Names the account and how jobs run in it.

        Args:
            connection: The way to the account.
            settings: How jobs run.
        """
        self._connection = connection
        self._settings = settings
        self._root = StageFolder(connection, settings.stage_name)
        self._records = Records(self._root)
        self._control = Control(connection, settings.database_name, settings.schema_name)

    def submit(self, spec: JobSpec, *, key: str | None = None, after: str | None = None) -> Record:
        """Sends a job, or finds the one that was sent under the key.

        Args:
            spec: The job.
            key: The idempotency key.
            after: The job that was sent under the key last and has failed: another one is sent.

        Returns:
            The job's record.

        Raises:
            BackendError: The job cannot be sent, or the key belongs to a job with another spec.
        """
        self._root.make_stage()
        digits = digits_of(key)
        with _lock(digits):  # two threads with one key: the second finds what the first has sent
            tries = self._records.tries(key) if key is not None else []
            record = self._records.read(tries[-1]) if tries else None
            if record is not None and record.spec != spec:
                raise BackendError(f"the key {key!r} belongs to the job {record.job}, whose spec is another one")
            if record is not None and record.job == after:
                record, digits = None, digits_of(key, len(tries))
            if record is not None and self._was_sent(record.job):
                return record
            with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
                # What cannot be sent is refused before anything is written.
                write_payload(self._placed(spec), Path(folder), pip_requirements=self._settings.pip_requirements)
                overrides = secret_references(spec, self._settings.database_name, self._settings.schema_name)
                job = record.job if record is not None else job_name(spec, digits)
                # Before anything is sent: who submits again after a crash in between goes on from here.
                record = record or self._records.write(job, spec, self._settings.recorded, earlier=tries)
                self._upload_inputs(spec, job)
                service = self._only(job, self._send(spec, job, Path(folder), overrides))
            self._root.folder(job, "state").write("service.json", f'{{"service": "{service.name.name}"}}\n')
            return record

    def find(self, key: str) -> Record | None:
        """What was written down about the submission under a key; None where nothing was sent.

        Args:
            key: The idempotency key.
        """
        tries = self._records.tries(key)
        record = self._records.read(tries[-1]) if tries else None
        return record if record is not None and self._was_sent(record.job) else None

    def _was_sent(self, job: str) -> bool:
        if self._control.find(job) is not None:
            return True
        # Services are removed some time after their end; what was written down about them stays.
        notes = ("service.json", "started.json", "ended.json")
        return any(file.path in notes for file in self._root.folder(job, "state").list())

    def _upload_inputs(self, spec: JobSpec, job: str) -> None:
        for name, place in spec.places.items():
            target = self._root.folder(job, "inputs", name)
            if isinstance(place, StagePath):
                target.copy_from(str(place))
            elif isinstance(place, Folder):
                target.put(place.path, skip=("__pycache__", ".git", ".env", ".cache"))
            # Rows in tables stay where they are: the job's place.json names them.

    def _send(self, spec: JobSpec, job: str, app: Path, overrides: dict[str, Any] | None) -> Service:
        """Sends the job; after a lost answer it looks whether the job is there before it sends again."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._execute(spec, job, app, overrides)
            except SoaptuneError:
                raise
            except Exception as error:
                if not (is_lost(error) or is_transient(error)):
                    raise wrap_error(f"submitting the job {job}", error) from error
                if is_lost(error):
                    self._connection.drop()
                time.sleep(_PAUSE * (attempt + 1))  # the statement may still be at work
                service = self._control.find(job)
                if service is not None:
                    return service
                if attempt + 1 == _ATTEMPTS:
                    raise wrap_error(f"submitting the job {job}", error) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _only(self, job: str, sent: Service) -> Service:
        """The one service of a job; a second one is removed.

        Snowflake takes a name twice: another process with the same key may have sent the job too, or a statement whose
        answer was lost may still have been at work. Everybody keeps the oldest.
        """
        try:
            first, *others = self._control.all_of(job) or [sent]
            for one in others:
                self._control.drop(one.name.name)
        except BackendError:  # it was sent, which is worth more
            return sent
        return first

    def _execute(self, spec: JobSpec, job: str, app: Path, overrides: dict[str, Any] | None) -> Service:
        settings = self._settings
        sdk = jobs_module()
        integrations = [_for_sdk(name) for name in settings.integration_names]
        # All that the SDK takes is named here, since it only warns about what it does not know.
        options: dict[str, Any] = {
            "database": quote(settings.database_name),
            "schema": quote(settings.schema_name),
            "name": job,
            "stage_name": settings.stage_name.stage,
            "entrypoint": arguments(spec),
            "target_instances": settings.target_instances,
            "min_instances": settings.min_instances or settings.target_instances,
            "external_access_integrations": integrations or None,
            "env_vars": self._environment(spec),
            "enable_metrics": True,
            "query_warehouse": quote(settings.warehouse_name) if settings.warehouse_name else None,
            "runtime_environment": settings.runtime_environment,
            "spec_overrides": overrides,
            "comment": "soaptune",
        }
        given = {name: value for name, value in options.items() if value is not None}
        session = self._connection.session()
        job_service: Any = sdk.submit_directory(str(app), settings.pool_name, session=session, **given)
        name = parse(str(job_service.id), database=settings.database_name, schema=settings.schema_name)
        return Service(name=name, status="PENDING")

    def _environment(self, spec: JobSpec) -> dict[str, str]:
        defaults = {
            "SOAPTUNE_STAGE": MOUNT,
            # Beside the job, not on its stage, where nothing can be changed in place.
            "HF_HOME": "/tmp/soaptune/huggingface",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
            "WANDB_MODE": "disabled",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return {**defaults, **self._settings.env, **spec.env}

    def _placed(self, spec: JobSpec) -> JobSpec:
        """A job that nobody has lowered, with its place: it finds tables among its inputs by that."""
        if PLACE_FILE in spec.files:
            return spec
        place = Place(
            kind=spec.kind,
            plan="",
            backend="snowflake",
            inputs=spec.inputs,
            keeps=self._settings.kept(spec.keeps),
            output=spec.output,
            account=self._settings.account,
        )
        return spec.replace(files={**spec.files, PLACE_FILE: as_json(place)})


def _lock(digits: str) -> Any:
    with _guard:
        return _sending.setdefault(digits, threading.Lock())


def secret_references(spec: JobSpec, database: str, schema: str) -> dict[str, Any] | None:
    """How a job is given its secrets: Snowflake puts them into its environment, their values pass nowhere else.

    Args:
        spec: The job; its ``secrets`` name secrets in Snowflake, bare ones those of the backend's schema.
        database: The exact name of the backend's database.
        schema: The exact name of the backend's schema.

    Returns:
        What the SDK merges into the service's specification; None for a job without secrets.
    """
    if not spec.secrets:
        return None
    secrets = [
        {
            "snowflakeSecret": {"objectName": parse(source, database=database, schema=schema).sql},
            "secretKeyRef": "secret_string",
            "envVarName": variable,
        }
        for variable, source in spec.secrets.items()
    ]
    return {"spec": {"containers": [{"name": "main", "secrets": secrets}]}}


def jobs_module() -> Any:
    """``snowflake.ml.jobs``; the exception hook that it installs when it is imported is taken out again.

    Raises:
        MissingExtraError: Snowflake's packages are not installed.
    """
    with _same_hook():
        package = "snowflake-ml-python"
        return optional("snowflake.ml.jobs", package=package, extra="snowflake", what="SnowflakeBackend")


@contextmanager
def _same_hook() -> Generator[None]:
    before = sys.excepthook
    try:
        yield
    finally:
        sys.excepthook = before


def _for_sdk(name: str) -> str:
    """A name in a list that Snowflake reads as identifiers: bare where it can be."""
    return name if fold(name) == name and name.isidentifier() else quote(name)
