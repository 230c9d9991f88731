"""The data source: rows of a soaptune dataset folder as chat conversations, or as plain text."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from arctic_training.config.data import DataSourceConfig
from arctic_training.data.source import DataSource
from datasets import Dataset

from soaptune.errors import DataError
from soaptune.tasks import rendering
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from arctic_training.data.utils import DatasetType

__all__ = ["ParquetSource", "ParquetSourceConfig"]


class ParquetSourceConfig(DataSourceConfig):
    """Where the rows are."""

    path: Path
    """ Dataset folder, absolute or relative to the job's working directory. """

    task: Path | None = None
    """ The task, which turns a row into a conversation. Without it, rows bring ``messages`` or ``text``. """


class ParquetSource(DataSource):
    """Reads ``<path>/<split>.parquet``; renders each row with the task's templates where there is a task."""

    name = "soaptune_parquet"
    config: ParquetSourceConfig

    def load(self, config: ParquetSourceConfig, split: str) -> DatasetType:
        """Loads one split.

        Args:
            config: Where the rows are.
            split: Which split; ArcticTraining calls the one it evaluates on ``eval``, we call it ``validation``.

        Returns:
            A dataset with the columns ``id`` and either ``messages`` or ``text``.

        Raises:
            DataError: The split or a column that is needed is missing.
        """
        name = "validation" if split == "eval" else split
        file = config.path / f"{name}.parquet"
        if not file.is_file():
            raise DataError(f"there is no split {name!r} in {config.path}: {file.name} is missing")
        columns = set(pq.read_schema(file).names)
        if config.task is not None:
            spec = TaskSpec.model_validate(json.loads(config.task.read_text(encoding="utf-8")))
            wanted = ["id", *spec.input_fields, *spec.output_fields]
            missing = sorted(set(wanted) - columns)
            if missing:
                raise DataError(f"{file} lacks the column(s) {', '.join(missing)}, which the task {spec.name!r} needs")
            return self._dataset(file, wanted, lambda row: {"id": row["id"], "messages": conversation(spec, row)})
        kind = next((k for k in ("messages", "text") if k in columns), None)
        if kind is None or "id" not in columns:
            raise DataError(
                f"{file} needs the columns 'id' and 'messages' or 'text' when no task is given; "
                f"it has {sorted(columns)}"
            )
        return self._dataset(file, ["id", kind], lambda row: row)

    def _dataset(self, file: Path, columns: list[str], convert: Any) -> Dataset:
        def rows() -> Iterator[dict[str, Any]]:
            for batch in pq.ParquetFile(file).iter_batches(columns=columns):
                for row in batch.to_pylist():
                    yield convert(row)

        # A cache folder of the job's own, so that no other run's rows are ever picked up.
        cache = self.data_factory.config.cache_dir / "rows"
        return Dataset.from_generator(rows, cache_dir=str(cache), fingerprint=f"{file.stem}-{file.stat().st_mtime_ns}")


def conversation(spec: TaskSpec, row: dict[str, Any]) -> list[dict[str, str]]:
    """The prompt of a row and the answer that is to be learned."""
    answer = {"role": "assistant", "content": rendering.answer(spec, spec.outputs(row))}
    return [*({"role": m["role"], "content": m["content"]} for m in rendering.messages(spec, row)), answer]
