"""What a job on Snowflake leaves behind, opened: each kind of handle lies where its content lies."""

from __future__ import annotations

import json
from typing import Any

from soaptune.common.files import MANIFEST
from soaptune.errors import ConfigError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.folder_model import FolderModel
from soaptune.handles.location import Folder
from soaptune.handles.manifests import kind_of, open_manifest, read_document
from soaptune.handles.model import Model
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.handles.endpoint import SnowflakeEndpoint
from soaptune.snowflake.handles.model import open_model, receive_model
from soaptune.snowflake.handles.report import open_report, report_table
from soaptune.snowflake.handles.service import ServiceManifest
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.names import table_prefix
from soaptune.snowflake.tables.query import SchemaRef

__all__ = ["open_result", "receive"]


def open_result(spec: JobSpec, output: StageFolder, *, schema: SchemaRef) -> Any:
    """Opens what a job has left; nothing is written.

    Args:
        spec: What was submitted.
        output: What it has written.
        schema: The schema that it ran in.

    Returns:
        A `TableDataset`, `StageModel`, `StageReport` or `SnowflakeEndpoint`.

    Raises:
        BackendError: The account cannot be asked.
        DataError: The output has no manifest, or one that this version does not read.
    """
    kind = kind_of(output)
    if kind == "model":
        handle: Any = open_model(output)
    elif kind == "report":
        report = open_report(output)
        handle = report.kept_in(report_table(schema, spec.name))
    elif kind == "endpoint":
        handle = SnowflakeEndpoint[Any](open_manifest(output, ServiceManifest), schema.connection)
    elif kind == "dataset":
        handle = _dataset(read_document(output, MANIFEST) or {}, schema)
    else:
        known = "dataset, model, report, endpoint"
        raise DataError(f"{output.location}/{MANIFEST} is of kind {kind!r}; this soaptune knows {known}.")
    return handle


def receive(handle: Any, *, schema: SchemaRef, files: StageFolder) -> Any:
    """Copies what a handle stands for into the account; the same content is copied once.

    Args:
        handle: A `Dataset` or a `Model`.
        schema: Where a dataset's tables go.
        files: The stage that a model goes to.

    Returns:
        A handle to the copy; the handle itself where it lies there already.

    Raises:
        BackendError: The account refuses.
        ConfigError: The handle is of neither kind.
    """
    if not isinstance(handle, (Dataset, Model)):
        raise ConfigError(f"a {type(handle).__name__} cannot be copied to Snowflake: a Dataset or a Model can")
    if isinstance(handle, FolderModel):
        return receive_model(files, handle)
    if isinstance(handle, Dataset) and isinstance(handle.location, Folder):
        return _receive_dataset(schema, handle)
    return handle


def _dataset(raw: dict[str, Any], place: SchemaRef) -> Any:
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.spec import read_tables

    where = raw.get("tables") or raw.get("source")
    if where is None:
        raise DataError("the manifest of this dataset does not say in which tables it lies")
    return TableDataset(place, read_tables(where if isinstance(where, str) else json.dumps(where)))


def _receive_dataset(place: SchemaRef, dataset: Dataset) -> Any:
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.write import save

    # Named by its rows, so that what is there under that name is the same.
    name = f"{table_prefix(dataset.task.name)}_{dataset.fingerprint.removeprefix('sha256:')[:12].upper()}"
    return TableDataset(place, save(place, dataset, name, overwrite=False))
