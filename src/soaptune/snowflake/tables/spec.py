"""Where a dataset lies in an account, as pure data: it travels in handles, job specs and the files of a job.

The text form is ``tables:`` and compact JSON. Nothing here knows Snowflake's SDK, and no rows are in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from soaptune.common.arrow import arrow
from soaptune.config import Config, summary
from soaptune.errors import DataError
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.snowflake.names import Name

__all__ = ["ACCOUNT_PRINT", "ROW", "SCHEME", "SplitSource", "TableSource", "read_schema", "write_schema"]

SCHEME = "tables:"
"""What the address of a dataset in tables begins with."""

ROW = "SOAPTUNE_ROW"
"""The column of our own tables that keeps the order of the rows, from 0."""

ACCOUNT_PRINT = "account-sha256:"
"""What a fingerprint begins with that was computed by SQL, from rows that no client has read."""


class SplitSource(Config):
    """The rows of one split: a table or a query."""

    table: tuple[str, str, str] | None = None
    """Database, schema and name of the table, exact."""

    sql: str | None = None
    """A query, as the user wrote it."""

    columns: dict[str, str]
    """For each column of the dataset its exact name in the table."""

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

    @property
    def name(self) -> Name | None:
        """The table's full name, where it is a table."""
        return Name(*self.table) if self.table else None


class TableSource(Config):
    """A dataset in an account."""

    database: str
    """Database in which further tables of the dataset are written; exact, as all names here."""

    db_schema: str
    """Schema in which they are written."""

    name: str
    """The name that the tables begin with (``SOAP`` of ``SOAP_TRAIN``)."""

    splits: dict[str, SplitSource] = Field(min_length=1)
    """Where each split lies."""

    ledger: tuple[str, str, str] | None = None
    """The table of the row ledger; without one all rows count as kept."""

    prints: dict[str, str] = Field(default_factory=dict[str, str])
    """For each split its fingerprint as SQL computes it."""

    manifest: DatasetManifest
    """What the dataset says about itself."""

    @property
    def uri(self) -> str:
        """The address as text: the same source gives the same bytes."""
        said = self.model_dump(mode="json", exclude_defaults=True)
        return SCHEME + json.dumps(said, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads an address, or the JSON in it alone.

        Raises:
            DataError: It is no such address, or another release of soaptune wrote it.
        """
        try:
            return cls.model_validate(json.loads(text.removeprefix(SCHEME)))
        except json.JSONDecodeError as error:
            raise DataError("This is not the address of a dataset in tables: 'tables:' and JSON are needed.") from error
        except ValidationError as error:
            message = f"The address of a dataset in tables cannot be read by this soaptune: {summary(error)}"
            raise DataError(message) from error

    def at(self, database: str, schema: str) -> Self:
        """The dataset whose manifest was found in a schema, which may have been cloned or renamed since it was written.

        Args:
            database: The exact name of the database.
            schema: The exact name of the schema.
        """
        splits = {
            split: part.replace(table=(database, schema, part.table[2])) if part.table else part
            for split, part in self.splits.items()
        }
        ledger = (database, schema, self.ledger[2]) if self.ledger else None
        return self.replace(database=database, db_schema=schema, splits=splits, ledger=ledger)

    def beside(self, suffix: str) -> Name:
        """The table of the dataset's name with a suffix: ``beside("LEDGER")`` is ``SOAP_LEDGER``."""
        return Name(self.database, self.db_schema, f"{self.name}_{suffix}")


def write_schema(schema: Any) -> str:
    """The columns' types as text; metadata of the schema is left out.

    Args:
        schema: A `pyarrow.Schema`.
    """
    return base64.b64encode(schema.remove_metadata().serialize().to_pybytes()).decode("ascii")


def read_schema(text: str) -> Mapping[str, Any]:
    """The types by column, from what `write_schema` wrote; empty for an empty text.

    Raises:
        DataError: The text was changed.
    """
    if not text:
        return {}
    pa: Any = arrow()
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    except (ValueError, OSError) as error:
        raise DataError("The types of a dataset's columns cannot be read; its manifest was changed.") from error
    return dict(zip(schema.names, schema.types, strict=True))
