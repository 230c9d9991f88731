"""A dataset that a job has made, written into the tables of the account that it runs in."""

from __future__ import annotations

from pathlib import Path

from soaptune.common.files import MANIFEST, write_json
from soaptune.handles.dataset import Dataset
from soaptune.jobs.output import NamedTables
from soaptune.snowflake.names import parse
from soaptune.snowflake.session import Connection
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.snowflake.tables.query import SchemaRef
from soaptune.snowflake.tables.write import save

__all__ = ["save_tables"]


def save_tables(
    made: Dataset, wanted: NamedTables, output: Path, *, connection: Connection | None = None
) -> TableDataset:
    """Writes a dataset into tables, and into the job's output which tables these are.

    Args:
        made: The dataset, in a folder of the job's.
        wanted: The tables.
        output: The job's output folder, for the manifest.
        connection: The way to the account; the job's own when None.

    Raises:
        DataError: Tables are in the way.
        BackendError: The account refuses.
    """
    name = parse(wanted.name)
    schema = SchemaRef(connection or Connection(), name.database, name.schema)
    dataset = TableDataset(schema, save(schema, made, name.name, overwrite=wanted.replace_existing))
    manifest = dataset.manifest.model_dump(mode="json")
    write_json(output / MANIFEST, {**manifest, "tables": dataset.location.model_dump(mode="json")})
    return dataset
