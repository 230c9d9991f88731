"""The data source for rows in Snowflake's tables: the same rows, in the same order, as from a dataset folder.

ArcticTraining's own source puts a table's name into SQL as it is, and reads the whole result into memory; this one
quotes what it names, and takes the rows batch by batch through Snowflake's `DataConnector`.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arctic_training.config.data import DataSourceConfig
from arctic_training.data.snowflake_source import SnowflakeDataSource
from datasets import Dataset

from soaptune.errors import DataError
from soaptune.runtime.arctic.source import conversation
from soaptune.runtime.inputs import open_dataset
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.snowflake.tables.spec import ROW
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from arctic_training.data.utils import DatasetType

__all__ = ["SnowflakeTablesConfig", "SnowflakeTablesSource"]

_BATCH = 1_024


class SnowflakeTablesConfig(DataSourceConfig):
    """Where the rows are."""

    path: Path
    """ Folder with the ``tables.json`` that says where, absolute or relative to the job's working directory. """

    task: Path | None = None
    """ The task, which turns a row into a conversation. Without it, rows bring ``messages`` or ``text``. """

    column_mapping: dict[str, str] = {}
    """ Not used: the columns' names are in ``tables.json``. ArcticTraining's class looks at it. """


class SnowflakeTablesSource(SnowflakeDataSource):
    """Reads a split from its table; renders each row with the task's templates where there is a task."""

    name = "soaptune_snowflake"
    config: SnowflakeTablesConfig

    def load(self, config: SnowflakeTablesConfig, split: str) -> DatasetType:
        """Loads one split.

        Args:
            config: Where the rows are.
            split: Which split; ArcticTraining calls the one it evaluates on ``eval``, we call it ``validation``.

        Returns:
            A dataset with the columns ``id`` and either ``messages`` or ``text``.

        Raises:
            DataError: The split or a column that is needed is missing.
        """
        data = open_dataset(config.path)
        if not isinstance(data, TableDataset):
            raise DataError(f"{config.path} is not a dataset in tables: it lacks tables.json")
        name = "validation" if split == "eval" else split
        if config.task is not None:
            spec = TaskSpec.model_validate(json.loads(config.task.read_text(encoding="utf-8")))
            stream = self._stream(data, name, ["id", *spec.fields])
            return self._dataset(name, stream, lambda row: {"id": row["id"], "messages": conversation(spec, row)})
        columns = list(data.source.splits[name].columns) if name in data.splits else []
        kind = next((k for k in ("messages", "text") if k in columns), None)
        if kind is None:
            raise DataError(
                f"the split {name!r} needs a column 'messages' or 'text' when no task is given; "
                f"it has {sorted(columns)}"
            )
        stream = self._stream(data, name, ["id", kind])
        return self._dataset(name, stream, lambda row: {"id": row["id"], kind: _opened(row[kind])})

    def _stream(self, data: TableDataset, split: str, columns: list[str]) -> Any:
        from snowflake.ml.data.data_connector import DataConnector

        session = self.session or data.place.connection.session()
        connector = DataConnector.from_sql(data.sql(split, columns, numbered=True), session=session)
        return connector.to_huggingface_dataset(streaming=True, batch_size=_BATCH)

    def _dataset(self, split: str, stream: Any, convert: Any) -> Dataset:
        order: list[int] = []

        def rows() -> Iterator[dict[str, Any]]:
            for row in stream:
                order.append(int(row[ROW]))
                yield convert(row)

        # A cache folder of the job's own, so that no other run's rows are ever picked up.
        cache = self.data_factory.config.cache_dir / "rows"
        print(f"soaptune: reading the split {split} from Snowflake", flush=True)
        made = Dataset.from_generator(rows, cache_dir=str(cache), fingerprint=f"snowflake-{split}")
        # Snowflake's faster reader on its own machines takes results as they come.
        if order != sorted(order):
            made = made.select(sorted(range(len(order)), key=order.__getitem__))
        return made


def _opened(value: Any) -> Any:
    """Messages as a list: a table holds them as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
