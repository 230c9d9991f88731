"""Datasets in tables as text: how their place and the types of their columns are written and read.

Nothing here knows Snowflake's SDK, and no rows are in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from soaptune.common.arrow import arrow
from soaptune.common.json_text import parse_json
from soaptune.errors import ConfigError, DataError
from soaptune.handles.location import Tables, TableSplit
from soaptune.snowflake.names import Name

__all__ = [
    "ACCOUNT_FINGERPRINT",
    "ROW",
    "described",
    "is_old_address",
    "moved",
    "read_schema",
    "read_tables",
    "table_beside",
    "table_of",
    "write_schema",
    "write_tables",
]

_OLD_PREFIX = "tables:"

ROW = "SOAPTUNE_ROW"
"""The column of our own tables that keeps the order of the rows, from 0."""

ACCOUNT_FINGERPRINT = "account-sha256:"
"""What a fingerprint begins with that was computed by SQL, from rows that no client has read."""


def table_of(part: TableSplit) -> Name | None:
    """The full name of a split's table; None where it is a query."""
    return Name(*part.table) if part.table else None


def described(part: TableSplit) -> str:
    """The table of a split for a message, or that it is a query."""
    return Name(*part.table).sql if part.table else "a query"


def table_beside(source: Tables, suffix: str) -> Name:
    """The table of a dataset's name with a suffix: with ``"LEDGER"`` it is ``SOAP_LEDGER``."""
    return Name(source.database, source.db_schema, f"{source.name}_{suffix}")


def read_tables(text: str, *, queries: bool = False) -> Tables:
    """Reads where a dataset lies, as a manifest, a table of manifests or a job's record has it.

    Args:
        text: JSON. The first release put ``tables:`` before it.
        queries: Whether it may hold queries, as what a user has submitted may. What others wrote may not: its queries
            would be run with the rights of whoever opens it.

    Raises:
        DataError: It does not describe a dataset in tables, another release of soaptune wrote it, or it holds a query.
    """
    raw = parse_json(text.removeprefix(_OLD_PREFIX), where="The description of a dataset in tables")
    try:
        source = Tables.model_validate(raw)
    except ConfigError as error:
        message = f"The place of a dataset in tables cannot be read by this soaptune: {error}"
        raise DataError(message) from error
    unknown = {*source.fingerprints, *source.manifest.counts} - {*source.splits}
    if unknown:
        raise DataError(f"The manifest of {source} speaks of splits that have no table: {', '.join(sorted(unknown))}.")
    for split, part in source.splits.items():
        if part.sql is not None and not queries:
            raise DataError(
                f"The split {split!r} of {source} is a query that somebody else has written down, and such a query is "
                "not run. If you trust it, load it yourself: backend.load_dataset({'" + split + "': 'SELECT ...'}, "
                "task=...)."
            )
        if "id" not in part.columns and not part.made_ids:
            raise DataError(f"The split {split!r} of {source} has no column 'id'.")
        lacking = [column for column, own in part.columns.items() if not own and column not in part.absent]
        if lacking:
            raise DataError(f"The split {split!r} of {source} does not say where its column {lacking[0]!r} is.")
    return source


def is_old_address(text: str) -> bool:
    """Whether a text is an address as the first release wrote it."""
    return text.startswith(_OLD_PREFIX)


def write_tables(source: Tables) -> str:
    """Where a dataset lies, as text: the same place gives the same bytes."""
    content = source.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def moved(source: Tables, database: str, schema: str) -> Tables:
    """The dataset whose manifest was found in a schema, which may have been cloned or renamed since it was written.

    Args:
        source: The dataset as its manifest has it.
        database: The exact name of the database.
        schema: The exact name of the schema.
    """
    splits = {
        split: part.replace(table=(database, schema, part.table[2])) if part.table else part
        for split, part in source.splits.items()
    }
    ledger = (database, schema, source.ledger[2]) if source.ledger else None
    return source.replace(database=database, db_schema=schema, splits=splits, ledger=ledger)


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
