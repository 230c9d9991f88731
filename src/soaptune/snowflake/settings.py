"""`SnowflakeSettings`: the arguments of a `SnowflakeBackend` as one value, without the way to connect.

What reaches the SDK is checked here, since it puts some of it into SQL as it is and only warns about the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from soaptune.config import Config
from soaptune.errors import ConfigError
from soaptune.handles.location import Location, StagePath
from soaptune.jobs.place import Account
from soaptune.jobs.spec import JobSpec, Keeps
from soaptune.snowflake.names import Name, fold, parse, split

__all__ = ["HasSettings", "SnowflakeSettings"]

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_NOT_IN_PATHS = frozenset("/\\'\n\r\t")

_CREDENTIALS = re.compile(r"://[^/@\s]+@")
"""A user or token in an address; the plain ``git+ssh://git@`` is no secret, but needs a key that no job has."""


def _checked(text: str) -> str:
    fold(text)
    return text


def _listed(value: Any, info: ValidationInfo) -> Any:
    # The letters of a text would be taken for the names.
    if isinstance(value, str):
        raise ValueError(f"it is a list; write {info.field_name}=[{value!r}]")
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


Written = Annotated[str, AfterValidator(_checked)]
"""A name as a person writes it, which some object can have."""

Names = Annotated[tuple[Written, ...], BeforeValidator(_listed)]
"""Several of them."""


class SnowflakeSettings(Config):
    """What decides how jobs run in an account. Names are as a person writes them; properties give the exact ones."""

    model_config = ConfigDict(populate_by_name=True)

    compute_pool: str
    """The compute pool that jobs run on."""

    database: Written
    """The database with everything."""

    db_schema: Written = Field(alias="schema")
    """The schema with everything."""

    stage: str = "SOAPTUNE_STAGE"
    """The stage with the jobs' files, bare or qualified."""

    external_access_integrations: Names = ()
    """What lets jobs reach hosts."""

    warehouse: Written | None = None
    """The warehouse for SQL; the connection's own when None."""

    role: Written | None = None
    """The role; the connection's own when None."""

    runtime_environment: str | None = None
    """The tag or full name of the jobs' image; Snowflake's choice when None."""

    target_instances: int = Field(default=1, ge=1, strict=True)
    """How many nodes a job runs on."""

    min_instances: int | None = Field(default=None, ge=1, strict=True)
    """With how many of them a job starts; with all when None."""

    env: dict[str, str] = Field(default_factory=dict[str, str])
    """Environment variables of all jobs, no secrets."""

    pip_requirements: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """What jobs install beside what their step needs."""

    query_tag: str = "soaptune"
    """What marks our statements in the query history."""

    experiment: Written | None = "SOAPTUNE"
    """The experiment that gets a run for each job; None tracks nothing."""

    @field_validator("compute_pool")
    @classmethod
    def _plain(cls, value: str) -> str:
        if _PLAIN.fullmatch(value.strip('"')) is None:
            raise ValueError(f"{value!r} is not a plain name (letters, digits, _ and $), as pools have")
        return value

    @field_validator("database", "db_schema", "stage")
    @classmethod
    def _in_paths(cls, value: str, info: ValidationInfo) -> str:
        parts = split(value) if info.field_name == "stage" else [fold(value)]
        if any(_NOT_IN_PATHS.intersection(part) for part in parts):
            raise ValueError(f"{value!r} has a character that the path of a stage cannot hold")
        if len(parts) > 3:
            raise ValueError(f"{value!r} has more than the three parts DATABASE.SCHEMA.STAGE")
        return value

    @field_validator("runtime_environment")
    @classmethod
    def _image(cls, value: str | None) -> str | None:
        if value is not None and _IMAGE.fullmatch(value) is None:
            raise ValueError(f"{value!r} is neither a tag (2.3.1) nor an image (repository/image:tag)")
        return value

    @field_validator("min_instances")
    @classmethod
    def _at_most_all(cls, value: int | None, info: ValidationInfo) -> int | None:
        most = info.data.get("target_instances")
        if value is not None and most is not None and value > most:
            raise ValueError(f"{value} is more than target_instances={most}")
        return value

    @field_validator("env")
    @classmethod
    def _as_in_a_spec(cls, value: dict[str, str]) -> dict[str, str]:
        try:
            JobSpec(name="env", entrypoint=("env",), env=value)
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("JobSpec: env: ")) from error
        return value

    @field_validator("pip_requirements")
    @classmethod
    def _requirements(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, text in enumerate(value):
            if _CREDENTIALS.search(text):
                raise ValueError(f"[{number}] carries a password or token, and requirements are written to the stage")
            if not text.strip() or "\n" in text:
                raise ValueError(f"{text!r} is not one requirement")
        return value

    @property
    def pool_name(self) -> str:
        """The exact name of the compute pool."""
        return fold(self.compute_pool)

    @property
    def database_name(self) -> str:
        """The exact name of the database."""
        return fold(self.database)

    @property
    def schema_name(self) -> str:
        """The exact name of the schema."""
        return fold(self.db_schema)

    @property
    def stage_name(self) -> Name:
        """The full name of the stage."""
        return parse(self.stage, database=self.database_name, schema=self.schema_name)

    @property
    def warehouse_name(self) -> str | None:
        """The exact name of the warehouse, where one is named."""
        return fold(self.warehouse) if self.warehouse else None

    @property
    def integration_names(self) -> tuple[str, ...]:
        """The exact names of the external access integrations."""
        return tuple(fold(name) for name in self.external_access_integrations)

    def kept(self, keeps: Keeps) -> dict[str, Location]:
        """Where the kept folders of a job lie: on the stage, beside all jobs.

        Args:
            keeps: Their keys, by name.
        """
        stage = self.stage_name
        names = (stage.database, stage.schema, stage.name)
        return {name: StagePath(stage=names, path=f"keeps/{name}/{key}") for name, key in keeps.items()}

    @property
    def account(self) -> Account:
        """The part of the account that jobs work in."""
        return Account(
            database=self.database_name,
            db_schema=self.schema_name,
            compute_pool=self.pool_name,
            integrations=self.integration_names,
            experiment=self.experiment,
        )

    @property
    def recorded(self) -> dict[str, Any]:
        """What is written down with a job."""
        return {
            "compute_pool": self.pool_name,
            "target_instances": self.target_instances,
            "runtime_environment": self.runtime_environment,
            "external_access_integrations": list(self.integration_names),
        }


class HasSettings:
    """Settings that can be read by the names of the backend's arguments."""

    settings: SnowflakeSettings
    """All of them."""

    @property
    def compute_pool(self) -> str:
        """The compute pool, as it was written."""
        return self.settings.compute_pool

    @property
    def database(self) -> str:
        """The database, as it was written."""
        return self.settings.database

    @property
    def schema(self) -> str:
        """The schema, as it was written."""
        return self.settings.db_schema

    @property
    def stage(self) -> str:
        """The stage, as it was written."""
        return self.settings.stage

    @property
    def external_access_integrations(self) -> tuple[str, ...]:
        """What lets jobs reach hosts, as it was written."""
        return self.settings.external_access_integrations

    @property
    def warehouse(self) -> str | None:
        """The warehouse, as it was written."""
        return self.settings.warehouse

    @property
    def role(self) -> str | None:
        """The role, as it was written."""
        return self.settings.role

    @property
    def runtime_environment(self) -> str | None:
        """The tag or full name of the jobs' image."""
        return self.settings.runtime_environment

    @property
    def target_instances(self) -> int:
        """How many nodes a job runs on."""
        return self.settings.target_instances

    @property
    def min_instances(self) -> int | None:
        """With how many of them a job starts."""
        return self.settings.min_instances

    @property
    def env(self) -> Mapping[str, str]:
        """Environment variables of all jobs."""
        return self.settings.env

    @property
    def pip_requirements(self) -> tuple[str, ...]:
        """What jobs install beside what their step needs."""
        return self.settings.pip_requirements

    @property
    def query_tag(self) -> str:
        """What marks our statements in the query history."""
        return self.settings.query_tag

    @property
    def experiment(self) -> str | None:
        """The experiment that gets a run for each job."""
        return self.settings.experiment

    @property
    def database_name(self) -> str:
        """The exact name of the database."""
        return self.settings.database_name

    @property
    def schema_name(self) -> str:
        """The exact name of the schema."""
        return self.settings.schema_name

    @property
    def stage_name(self) -> Name:
        """The full name of the stage."""
        return self.settings.stage_name
