"""Where content lies, as pure data: a folder, a folder on a stage, tables, or a query.

Handles carry their location and jobs name their inputs by it. Nothing moves by itself: a step compares the locations of
its inputs with what its backend reads.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias, cast, get_args

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from soaptune.config import Config
from soaptune.errors import ConfigError, Violation
from soaptune.handles.dataset_manifest import DatasetManifest, check_split_name

__all__ = [
    "Folder",
    "InFolder",
    "Location",
    "LocationKind",
    "Query",
    "Receiver",
    "StagePath",
    "TableSplit",
    "Tables",
    "copied",
    "misplaced",
]

LocationKind = Literal["folder", "stage", "tables", "query"]
"""The kinds of places."""


class Folder(Config):
    """A folder of this machine."""

    kind: Literal["folder"] = "folder"

    path: str = Field(min_length=1)
    """Its path."""

    def __str__(self) -> str:
        return self.path


class StagePath(Config):
    """A folder on a stage of a Snowflake account."""

    kind: Literal["stage"] = "stage"

    stage: tuple[str, str, str]
    """Database, schema and name of the stage, exact."""

    path: str = Field(min_length=1)
    """The folder, relative to the stage."""

    def __str__(self) -> str:
        return "@" + ".".join('"' + part.replace('"', '""') + '"' for part in self.stage) + "/" + self.path


class TableSplit(Config):
    """The rows of one split in an account: a table or a query."""

    table: tuple[str, str, str] | None = None
    """Database, schema and name of the table, exact."""

    sql: str | None = None
    """A query, as the user wrote it."""

    columns: dict[str, str]
    """For each column of the dataset its exact name in the table; empty for a field that the table does not have, whose
    value in every row is that in `absent`."""

    order: str | None = None
    """The column that keeps the order of the rows; without one they are ordered by their content."""

    made_ids: bool = False
    """Whether ids are counted, because the table has none."""

    prefixed_ids: bool = False
    """Whether the split's name is put before ids, since some stand in several splits."""

    complete: bool = False
    """Whether rows that lack a field are left out."""

    values: tuple[str, ...] = ()
    """The user's columns that hold values of fields which may be text and something else: read as JSON text."""

    absent: dict[str, str] = Field(default_factory=dict[str, str])
    """What the dataset has for a field where the user's column has nothing, as it is stored."""

    arrow_schema: str = ""
    """The types of the dataset's columns (Arrow's IPC form, base64); empty for the user's own tables."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.table is None) == (self.sql is None):
            raise ValueError("a split is either a table or a query")
        return self


class Tables(Config):
    """A dataset in tables of a Snowflake account."""

    kind: Literal["tables"] = "tables"

    database: str
    """Database in which further tables of the dataset are written; exact, as all names here."""

    db_schema: str
    """Schema in which they are written."""

    name: str
    """The name that the tables begin with (``SOAP`` of ``SOAP_TRAIN``)."""

    splits: dict[str, TableSplit] = Field(min_length=1)
    """Where each split lies."""

    ledger: tuple[str, str, str] | None = None
    """The table of the row ledger; without one all rows count as kept."""

    fingerprints: dict[str, str] = Field(default_factory=dict[str, str])
    """For each split its fingerprint as SQL computes it."""

    manifest: DatasetManifest
    """The dataset's manifest."""

    @model_validator(mode="before")
    @classmethod
    def _first_release(cls, value: Any) -> Any:
        """Reads what the first release wrote: there the fingerprints were called ``prints``."""
        if not isinstance(value, dict) or "prints" not in value:
            return cast("Any", value)
        given = dict(cast("dict[str, Any]", value))
        return {"fingerprints": given.pop("prints"), **given}

    @field_validator("splits")
    @classmethod
    def _names_of_splits(cls, value: dict[str, TableSplit]) -> dict[str, TableSplit]:
        for split in value:
            check_split_name(split)
        return value

    def __str__(self) -> str:
        return f"{self.database}.{self.db_schema}.{self.name}"


class Query(Config):
    """Rows that a person names in an account: a table, a query, or a version of a Snowflake Dataset."""

    kind: Literal["query"] = "query"

    text: str = Field(min_length=1)
    """A table's name, a query, or ``snow://dataset/<name>/versions/<version>``, as it was written."""

    def __str__(self) -> str:
        return self.text


Location: TypeAlias = Annotated[Folder | StagePath | Tables | Query, Field(discriminator="kind")]
"""A place that holds content."""

_KINDS = (Folder, StagePath, Tables, Query)
_WORDS: dict[LocationKind, str] = {
    "folder": "in a folder of this machine",
    "stage": "on a stage in Snowflake",
    "tables": "in tables in Snowflake",
    "query": "behind a query in Snowflake",
}
assert set(_WORDS) == set(get_args(LocationKind))


class InFolder:
    """A handle to content in a folder of this machine."""

    _path: Path

    @property
    def path(self) -> Path:
        """The folder with the manifest, as an absolute path."""
        return self._path

    @property
    def location(self) -> Folder:
        """The folder."""
        return Folder(path=str(self._path))


class Receiver(Protocol):
    """What ``handle.copy_to(backend)`` needs of a backend."""

    def receive(self, handle: Any) -> Any:
        """Copies what a handle stands for to where this backend's jobs read it.

        Args:
            handle: A `Dataset` or a `Model`, wherever it lies.

        Returns:
            A handle to the copy; the handle itself where it lies there already.
        """
        ...


def copied(handle: Any, backend: Any) -> Any:
    """What a backend gives for a handle that is copied to it.

    Args:
        handle: A `Dataset` or a `Model`.
        backend: The backend.

    Raises:
        ConfigError: It is no backend.
    """
    if isinstance(backend, type) or not callable(getattr(backend, "receive", None)):
        what = f"the class {backend.__name__}" if isinstance(backend, type) else f"a {type(backend).__name__}"
        hint = "write copy_to(st.SnowflakeBackend(...)); download(folder) writes into a folder"
        raise ConfigError(f"a copy goes to a backend, and this is {what}: {hint}")
    return backend.receive(handle)


def misplaced(handles: tuple[Any, ...], *, reads: Collection[LocationKind]) -> list[Violation]:
    """One finding for each handle that a backend's jobs cannot read.

    Args:
        handles: The inputs of a step; what has no location goes anywhere.
        reads: The kinds of places that the backend's jobs read.
    """
    found: list[Violation] = []
    for number, handle in enumerate(handles):
        location = getattr(handle, "location", None)
        if isinstance(location, _KINDS) and location.kind not in reads:
            bases = {base.__name__ for base in type(handle).__mro__}
            what = next((name for name in ("Dataset", "Model") if name in bases), type(handle).__name__)
            found.append(
                Violation(
                    path=f"inputs[{number}]",
                    code="other-backend",
                    message=f"The {what} lies {_WORDS[location.kind]}, where this backend's jobs do not read.",
                    hint="Copy it there first: handle.copy_to(backend).",
                )
            )
    return found
