"""What a job was given: its inputs, opened wherever their content lies."""

from __future__ import annotations

from pathlib import Path

from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset

__all__ = ["TABLES_FILE", "open_dataset"]

TABLES_FILE = "tables.json"
"""Stands in a job's ``inputs/<name>`` in place of the rows, where these lie in tables."""


def open_dataset(path: str | Path) -> Dataset:
    """Opens a dataset that a job was given: a folder, or tables which the job's own session reads.

    Args:
        path: The job's ``../inputs/<name>``.

    Raises:
        DataError: There is no dataset, or it is broken.
    """
    folder = Path(path)
    file = folder / TABLES_FILE
    if not file.is_file():
        return Dataset.open(folder)
    from soaptune.snowflake.session import Connection
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.query import Place
    from soaptune.snowflake.tables.spec import TableSource

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read.") from error
    source = TableSource.parse(text)
    # Inside a job the connection is the job's own, with its role and its warehouse.
    return TableDataset(Place(Connection(), source.database, source.db_schema), source)
