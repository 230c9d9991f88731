"""What a job on Snowflake leaves behind, opened: each kind of handle lies where its content lies."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from soaptune.common.files import MANIFEST
from soaptune.errors import ConfigError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.snowflake.handles.endpoint import SnowflakeEndpoint
from soaptune.snowflake.handles.model import open_model, receive_model
from soaptune.snowflake.handles.report import open_report, write_report_table
from soaptune.snowflake.handles.service import ServiceManifest
from soaptune.snowflake.jobs.experiments import track
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.tables.query import Place

if TYPE_CHECKING:
    from soaptune.snowflake.backend import SnowflakeBackend
    from soaptune.snowflake.jobs.job import SnowflakeJob

__all__ = ["open_result", "place_of", "receive", "table_name"]


def open_result(backend: SnowflakeBackend, job: SnowflakeJob) -> Any:
    """Opens what a job has left, keeps a report's metrics in a table, and tracks the run.

    Args:
        backend: The job's backend.
        job: A job that has ended well.

    Returns:
        A `TableDataset`, `StageModel`, `StageReport` or `SnowflakeEndpoint`.

    Raises:
        BackendError: The account cannot be asked.
        DataError: The output has no manifest, or one that this version does not read.
    """
    place, output = place_of(backend), job.output
    raw = _manifest(output)
    kind = raw.get("kind")
    if kind == "model":
        handle: Any = open_model(output)
    elif kind == "report":
        report = open_report(output)
        handle = report.kept_in(write_report_table(place, table_name(job.spec.name), job.id, report))
    elif kind == "endpoint":
        handle = SnowflakeEndpoint[Any](_service(raw, output), place.connection)
    elif kind == "dataset":
        handle = _dataset(raw, place)
    else:
        known = "dataset, model, report, endpoint"
        raise DataError(f"{output.location}/{MANIFEST} is of kind {kind!r}; this soaptune knows {known}.")
    track(place, backend.experiment, job.id, job.spec, output)
    return handle


def receive(backend: SnowflakeBackend, handle: Any) -> Any:
    """Copies what a handle stands for into the account; the same content is copied once.

    Args:
        backend: The backend whose jobs are to read it.
        handle: A `Dataset` or a `Model`.

    Returns:
        A handle to the copy; the handle itself where it lies there already.

    Raises:
        BackendError: The account refuses.
        ConfigError: The handle is of neither kind.
    """
    if not isinstance(handle, (Dataset, Model)):
        raise ConfigError(f"a {type(handle).__name__} cannot be copied to Snowflake: a Dataset or a Model can")
    if handle.location.backend == backend.name:
        return handle
    if isinstance(handle, Model):
        return receive_model(backend.files, handle)
    return _receive_dataset(place_of(backend), handle)


def place_of(backend: SnowflakeBackend) -> Place:
    """The backend's schema, as tables are looked for and written in it."""
    return Place(backend.connection, backend.database_name, backend.schema_name)


def table_name(text: str) -> str:
    """A job's name as the names of tables begin: capitals, digits and underscores."""
    return re.sub(r"[^A-Z0-9_]", "_", text.upper())


def _manifest(output: StageFolder) -> dict[str, Any]:
    where = f"{output.location}/{MANIFEST}"
    text = output.read_text(MANIFEST)
    if text is None:
        raise DataError(f"{where} does not exist.")
    try:
        raw: Any = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not JSON.") from error
    if not isinstance(raw, dict):
        raise DataError(f"{where} does not describe a result.")
    return cast("dict[str, Any]", raw)


def _service(raw: dict[str, Any], output: StageFolder) -> ServiceManifest:
    try:
        return ServiceManifest.model_validate(raw)
    except ConfigError as error:
        raise DataError(f"{output.location}/{MANIFEST}: {error}") from error


def _dataset(raw: dict[str, Any], place: Place) -> Any:
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.spec import TableSource

    where = raw.get("tables") or raw.get("source")
    if isinstance(where, str):
        return TableDataset(place, TableSource.parse(where))
    raise DataError("the manifest of this dataset does not say in which tables it lies")


def _receive_dataset(place: Place, dataset: Dataset) -> Any:
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.write import save

    # Named by its rows, so that what is there under that name is the same.
    name = f"{table_name(dataset.task.name)}_{dataset.fingerprint.removeprefix('sha256:')[:12].upper()}"
    return TableDataset(place, save(place, dataset, name, overwrite=False))
