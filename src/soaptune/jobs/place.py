"""`Place`: where a job runs, reads and writes. It is the one file that `Backend.lower` adds to a payload."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from typing_extensions import Self

from soaptune.common.files import read_json
from soaptune.config import Config
from soaptune.errors import ConfigError
from soaptune.handles.location import Location
from soaptune.jobs.output import FolderOutput, Output
from soaptune.jobs.spec import Inputs, JobKind

__all__ = ["KEEPS_VARIABLE", "PLACE_FILE", "Account", "Place"]

PLACE_FILE = "place.json"
"""Its name in ``app/``."""

KEEPS_VARIABLE = "SOAPTUNE_KEEPS"
"""Environment variable of a job that names the folder in which its kept folders are found by their names."""


class Account(Config):
    """The part of a Snowflake account that a job works in; all names exact."""

    database: str
    """The database."""
    db_schema: str
    """The schema."""
    compute_pool: str
    """The pool that the job runs in."""
    integrations: tuple[str, ...] = ()
    """What lets it reach hosts."""
    experiment: str | None = None
    """The experiment that gets a run for the job, as a person writes it; None tracks nothing."""


class Place(Config):
    """Where a job runs, reads and writes."""

    format_version: Literal[1] = 1

    name: str = ""
    """What the job is called."""

    kind: JobKind
    """What the job leaves behind."""

    plan: str
    """The plan's fingerprint; every manifest carries it."""

    backend: str
    """The kind of backend."""

    nodes: int = Field(default=1, ge=1)
    """How many machines the job runs on."""

    inputs: Inputs = Field(default_factory=dict[str, Any])
    """Where its inputs lie. Folders and stages are found in ``../inputs/<name>``, whatever their place was before."""

    keeps: dict[str, Location] = Field(default_factory=dict[str, Any])
    """Where its kept folders lie; the job finds each in ``$SOAPTUNE_KEEPS/<name>``."""

    output: Output = FolderOutput()
    """What it leaves."""

    account: Account | None = None
    """The account that it runs in, if it runs in one."""

    @classmethod
    def read(cls, app: str | Path = ".") -> Self:
        """Reads what a backend wrote.

        Args:
            app: The job's ``app/`` folder.

        Raises:
            ConfigError: There is none, or it is of another release.
        """
        file = Path(app) / PLACE_FILE
        try:
            return cls.model_validate(read_json(file))
        except ConfigError as error:
            raise ConfigError(f"{file} was not written by this version of soaptune: {error}") from error
