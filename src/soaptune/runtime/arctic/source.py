"""The data source: rows of a dataset, in a folder or in tables, as chat conversations or as plain text.

ArcticTraining's own source of tables puts a table's name into SQL as it is, and reads the whole result into memory;
here rows come batch by batch through Snowflake's `DataConnector`.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arctic_training.config.data import DataSourceConfig
from arctic_training.data.source import DataSource
from datasets import Dataset as Rows

from soaptune.common.columnar import batches_of
from soaptune.common.files import read_object
from soaptune.common.json_text import decode_json
from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.folder_dataset import FolderDataset
from soaptune.runtime.inputs import open_dataset
from soaptune.tasks import rendering
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from arctic_training.data.utils import DatasetType

__all__ = ["DatasetSource", "DatasetSourceConfig", "conversation"]

_BATCH = 1_024
Row = dict[str, Any]


class DatasetSourceConfig(DataSourceConfig):
    """Which dataset."""

    path: Path
    """ The job's input, or any dataset folder; absolute or relative to the job's working directory. """

    task: Path | None = None
    """ The task, which turns a row into a conversation. Without it, rows bring ``messages`` or ``text``. """


class DatasetSource(DataSource):
    """Reads a split; renders each row with the task's templates where there is a task."""

    name = "soaptune_dataset"
    config: DatasetSourceConfig

    def load(self, config: DatasetSourceConfig, split: str) -> DatasetType:
        """Loads one split.

        Args:
            config: Which dataset.
            split: Which split; ArcticTraining calls the one it evaluates on ``eval``, we call it ``validation``.

        Returns:
            A dataset with the columns ``id`` and either ``messages`` or ``text``.

        Raises:
            DataError: The split or a column that is needed is missing.
        """
        data = open_dataset(config.path)
        name = "validation" if split == "eval" else split
        if name not in data.splits:
            raise DataError(f"the dataset has no split {name!r}; it has {', '.join(data.splits) or 'none'}")
        columns = data.columns(name)
        if config.task is not None:
            spec = TaskSpec.model_validate(read_object(config.task))
            missing = sorted({"id", *spec.fields} - set(columns))
            if missing:
                raise DataError(
                    f"the split {name!r} lacks the column(s) {', '.join(missing)}, which the task {spec.name!r} needs"
                )
            return self._rows(
                data, name, ["id", *spec.fields], lambda row: {"id": row["id"], "messages": conversation(spec, row)}
            )
        kind = next((k for k in ("messages", "text") if k in columns), None)
        if kind is None or "id" not in columns:
            raise DataError(
                f"the split {name!r} needs the columns 'id' and 'messages' or 'text' when no task is given; "
                f"it has {sorted(columns)}"
            )
        return self._rows(data, name, ["id", kind], lambda row: {"id": row["id"], kind: _as_messages(row[kind])})

    def _rows(self, data: Dataset, split: str, columns: list[str], convert: Callable[[Row], Row]) -> Rows:
        # A cache folder of the job's own, so that no other run's rows are ever picked up.
        cache = str(self.data_factory.config.cache_dir / "rows")
        key = f"{split}-{data.fingerprint.rpartition(':')[2][:16]}"
        if isinstance(data, FolderDataset):
            return Rows.from_generator(
                lambda: _of_folder(data, split, columns, convert), cache_dir=cache, fingerprint=key
            )
        print(f"soaptune: reading the split {split} from Snowflake", flush=True)
        order: list[int] = []
        made = Rows.from_generator(
            lambda: _of_tables(data, split, columns, convert, order), cache_dir=cache, fingerprint=key
        )
        # Snowflake's faster reader on its own machines takes results as they come.
        if order != sorted(order):
            made = made.select(sorted(range(len(order)), key=order.__getitem__))
        return made


def conversation(spec: TaskSpec, row: Row) -> list[dict[str, str]]:
    """The prompt of a row and the answer that is to be learned."""
    answer = {"role": "assistant", "content": rendering.answer(spec, spec.outputs(row))}
    return [*({"role": m["role"], "content": m["content"]} for m in rendering.messages(spec, row)), answer]


def _of_folder(data: FolderDataset, split: str, columns: list[str], convert: Callable[[Row], Row]) -> Iterator[Row]:
    for batch in batches_of(data.path / f"{split}.parquet", columns=columns):
        for row in batch.to_pylist():
            yield convert(row)


def _of_tables(
    data: Any, split: str, columns: list[str], convert: Callable[[Row], Row], order: list[int]
) -> Iterator[Row]:
    from snowflake.ml.data.data_connector import DataConnector

    from soaptune.snowflake.tables.spec import ROW

    session = data.place.connection.session()
    connector = DataConnector.from_sql(data.sql(split, columns, numbered=True), session=session)
    for row in connector.to_huggingface_dataset(streaming=True, batch_size=_BATCH):
        order.append(int(row[ROW]))
        yield convert(row)


def _as_messages(value: Any) -> Any:
    """Messages as a list: a table holds them as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            return decode_json(value)
        except (ValueError, RecursionError):
            return value
    return value
