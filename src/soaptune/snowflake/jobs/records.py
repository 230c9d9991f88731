"""What is written down about every submission, on the stage and before anything is sent: it finds a job again.

    jobs/<job>.json             the submission: the spec, when, for which pool
    <job>/job.json              the same, for the program in the job
    <job>/app, inputs, output   what is sent, what it reads, what it makes
    <job>/state/*.json          the service's name, when it started, how it ended
    keeps/<name>/<key>/         what jobs keep for later ones; no job's own

A job's name is ``SOAPTUNE_<SPEC>_<12 hex digits>``, the digits being those of its idempotency key: whoever submits
again under the same key comes to the same record.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from soaptune.common.files import read_limited
from soaptune.common.json_text import decoded, parse_object, typed
from soaptune.errors import BackendError, ConfigError, DataError, SoaptuneError
from soaptune.jobs.spec import STORED, JobSpec
from soaptune.snowflake.jobs.control import PREFIX
from soaptune.snowflake.jobs.stagefiles import StageFolder, read_location
from soaptune.snowflake.tables.spec import is_old_address, read_tables

__all__ = ["Record", "Records", "digits_of", "job_name"]

_FOLDER = "jobs"
_JOB_FILE = "job.json"

_NAME = re.compile(rf"{PREFIX}[A-Z0-9_]+")
"""The names of jobs: see `job_name`. Whoever may write to the stage can put files of other names there."""

_log = logging.getLogger("soaptune")


@dataclass(frozen=True)
class Record:
    """One submission.

    Attributes:
        job: The job's name.
        spec: What was submitted.
        time: When.
        settings: The backend's settings, as far as they are no secret.
        earlier: The jobs that were sent under the same key before, and failed.
    """

    job: str
    spec: JobSpec
    time: datetime
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    earlier: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The record as JSON; it holds the names of secrets, never their values."""
        data = {
            "job": self.job,
            "time": self.time.isoformat(timespec="milliseconds"),
            "settings": dict(self.settings),
            **({"earlier": list(self.earlier)} if self.earlier else {}),
            "spec": self.spec.model_dump(mode="json"),
        }
        return json.dumps(data, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, job: str) -> Record:
        """Reads a record.

        Args:
            text: The JSON.
            job: The name of the job that it should be of.

        Raises:
            BackendError: It is damaged, or of another version of soaptune.
        """
        where = f"{job}.json"
        try:
            data = parse_object(text, where=where)
            spec = JobSpec.model_validate(_lifted(typed(data, "spec", dict, where=where)), context=STORED)
            time = datetime.fromisoformat(typed(data, "time", str, where=where))
            settings: Any = data.get("settings") or {}
            if time.tzinfo is None or not isinstance(settings, dict):
                raise DataError(f"{where}: the field {'time' if time.tzinfo is None else 'settings'!r} is damaged.")
            tried = cast("list[Any]", typed(data, "earlier", list, where=where)) if data.get("earlier") else []
            earlier = tuple(map(str, tried))
        except ConfigError as error:
            message = f"the record of the job {job} was not written by this version of soaptune: {error}"
            raise BackendError(message) from error
        except (SoaptuneError, ValueError) as error:
            what = str(error) if isinstance(error, DataError) else "the field 'time' is no time"
            raise BackendError(f"the record of the job {job} is damaged: {what}") from error
        return cls(job=job, spec=spec, time=time, settings=cast("dict[str, Any]", settings), earlier=earlier)


def _lifted(spec: Any) -> Any:
    """A spec of the first release with its inputs as they are written today: there they were texts."""
    if not isinstance(spec, dict):
        return spec
    given = cast("dict[str, Any]", spec)
    inputs: Any = given.get("inputs")
    if not isinstance(inputs, dict):
        return given
    return {**given, "inputs": {name: _location(at) for name, at in cast("dict[str, Any]", inputs).items()}}


def _location(place: Any) -> Any:
    if not isinstance(place, str):
        return place
    if is_old_address(place):
        return read_tables(place, queries=True)
    return read_location(place) if place.startswith("@") else place


def digits_of(key: str | None, tries: int = 0) -> str:
    """The end of a job's name.

    Args:
        key: The idempotency key; None draws at random, for a submission that is never repeated.
        tries: How often the submission was tried before, and failed.
    """
    if key is None:
        return secrets.token_hex(6)
    text = f"{key}\0{tries}" if tries else key  # no key that a person writes has a NUL character
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def job_name(spec: JobSpec, digits: str) -> str:
    """The name under which a job is submitted: letters, digits and underscores only.

    Args:
        spec: The job.
        digits: See `digits_of`.
    """
    return f"{PREFIX}{re.sub(r'[^A-Za-z0-9]', '_', spec.name)[:60].upper()}_{digits.upper()}"


class Records:
    """The records of all jobs on a stage."""

    def __init__(self, root: StageFolder) -> None:
        """Names the stage.

        Args:
            root: Its root.
        """
        self._root = root

    def names(self) -> list[str]:
        """The names of all jobs on the stage, in no order."""
        files = [file.path for file in self._root.folder(_FOLDER).list()]
        names = [path.removesuffix(".json") for path in files if path.endswith(".json")]
        return [name for name in names if _NAME.fullmatch(name)]

    def tries(self, key: str) -> list[str]:
        """The jobs that were submitted under a key, the first one first; the last one counts.

        Args:
            key: The idempotency key.
        """
        by_digits = {name.rpartition("_")[2]: name for name in self.names()}
        found: list[str] = []
        while (name := by_digits.get(digits_of(key, len(found)).upper())) is not None:
            found.append(name)
        return found

    def read(self, job: str) -> Record | None:
        """A job's record; None when there is none.

        Args:
            job: The job's name.

        Raises:
            BackendError: It is damaged, or of another version of soaptune.
        """
        text = self._root.folder(_FOLDER).read_text(f"{job}.json")
        return None if text is None else Record.from_json(text, job=job)

    def all(self) -> list[Record]:
        """All records, the newest first; what cannot be read is left out, and named in a warning of the log."""
        found: list[Record] = []
        with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
            self._root.folder(_FOLDER).get_flat(folder)
            for file in Path(folder).glob(f"{PREFIX}*.json"):
                if not _NAME.fullmatch(file.stem):
                    continue
                try:
                    text = decoded(read_limited(file), where=file.name)
                    found.append(Record.from_json(text, job=file.stem))
                except (SoaptuneError, OSError) as error:  # another version's, or damaged
                    _log.warning("a job is left out of the list: %s", error)
        return sorted(found, key=lambda record: record.time, reverse=True)

    def write(self, job: str, spec: JobSpec, settings: Mapping[str, Any], *, earlier: Sequence[str] = ()) -> Record:
        """Writes a submission down.

        Args:
            job: The job's name.
            spec: What is submitted.
            settings: The backend's settings.
            earlier: The jobs that were sent under the same key before.

        Returns:
            The record.
        """
        record = Record(job, spec, datetime.now(timezone.utc), settings, tuple(earlier))
        text = record.to_json()
        self._root.folder(_FOLDER).write(f"{job}.json", text)
        self._root.folder(job).write(_JOB_FILE, text)
        return record

    def forget(self, job: str) -> None:
        """Removes a job's record.

        Args:
            job: The job's name.
        """
        self._root.folder(_FOLDER).remove_file(f"{job}.json")
