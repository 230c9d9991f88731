"""What a job was given: its inputs, opened wherever their content lies."""

from __future__ import annotations

from pathlib import Path

from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Tables
from soaptune.jobs.place import PLACE_FILE, Place

__all__ = ["BASE", "DATA", "INPUTS", "MODEL", "OUTPUT", "open_dataset"]

INPUTS = Path("../inputs")
"""The folder of a job's inputs."""

DATA, MODEL, BASE = INPUTS / "data", INPUTS / "model", INPUTS / "base"
"""Where a job finds its dataset, its model, and a base model that came as a folder."""

OUTPUT = Path("../output")
"""Where a job writes."""


def open_dataset(path: str | Path, *, place: Place | None = None) -> Dataset:
    """Opens a dataset that a job was given: a folder, or tables which the job's own session reads.

    Args:
        path: The input, ``../inputs/<name>``, or any other dataset folder.
        place: Where the job runs; what lies in the working directory when None.

    Raises:
        DataError: There is no dataset, or it is broken.
    """
    folder = Path(path)
    if place is None and Path(PLACE_FILE).is_file():
        place = Place.read()
    at = None if place is None or folder.parent != INPUTS else place.inputs.get(folder.name)
    return _tables(at) if isinstance(at, Tables) else Dataset.open(folder)


def _tables(at: Tables) -> Dataset:
    from soaptune.snowflake.session import Connection
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.query import SchemaRef

    # Inside a job the connection is the job's own, with its role and its warehouse.
    return TableDataset(SchemaRef(Connection(), at.database, at.db_schema), at)
