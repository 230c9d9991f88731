"""What a reader of Hugging Face's `DatasetDict` expects of a dataset: splits by name, filter, map and select.

Nothing changes a dataset that is written. Each operation reads the rows into this process, writes a new dataset, and
notes in its ledger what became of every row.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from soaptune.common.arrow import Table, arrow
from soaptune.errors import DataError
from soaptune.handles.ledger import RowLedger
from soaptune.handles.readers.rows import RawRows, wanted_columns, well_formed
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from soaptune.handles.dataset import Dataset
    from soaptune.handles.folder_dataset import FolderDataset

__all__ = ["DatasetOperations", "derived"]

Row = dict[str, Any]


class DatasetOperations:
    """The part of `Dataset` that is built on its public methods alone, and works wherever the rows lie.

    ``len``, iteration, ``keys``, ``values`` and ``items`` are those of a mapping from split to rows. Two datasets are
    equal when their rows are, by their fingerprints.
    """

    def __len__(self) -> int:
        return len(_dataset(self).splits)

    def __iter__(self) -> Iterator[str]:
        return iter(_dataset(self).splits)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DatasetOperations):
            return NotImplemented
        return _dataset(self).fingerprint == _dataset(other).fingerprint

    def __hash__(self) -> int:
        return hash(_dataset(self).fingerprint)

    def keys(self) -> KeysView[str]:
        """The names of the splits, in order."""
        return _dataset(self).counts.keys()

    def values(self) -> ValuesView[Any]:
        """The splits as Hugging Face datasets, in order."""
        return self._opened().values()

    def items(self) -> ItemsView[str, Any]:
        """The name of each split with its rows as a Hugging Face dataset, in order."""
        return self._opened().items()

    @property
    def num_rows(self) -> dict[str, int]:
        """The number of rows of each split, by Hugging Face's name; the same as `counts`."""
        return _dataset(self).counts

    def _opened(self) -> dict[str, Any]:
        return {split: _dataset(self)[split] for split in self}

    def filter(self, function: Callable[[Row], bool], *, into: str | Path | None = None) -> FolderDataset:
        """Keeps the rows for which a function is true.

        Args:
            function: Takes a row with all its columns; outputs that are not strings come as the values that they are
                (a number, a list), not as the JSON text that is stored.
            into: The folder to write; None stands for ``runs/data/<content address>``.

        Returns:
            The new dataset; a row that is left out is ``dropped`` in its ledger, with the function's name.

        Raises:
            DataError: The function fails for a row, or no row is left.
        """
        dataset, name = _dataset(self), _name(function)
        ledger, kept = RowLedger(), dict[str, Table]()
        for split in self:
            table = dataset.table(split)
            chosen = [bool(_call(function, row, split, index)) for index, row in enumerate(_rows(table, dataset.task))]
            kept[split] = table.filter(arrow().array(chosen, arrow().bool_()))
            _note(ledger, split, table, chosen, step="filter", reason=f"filtered out by {name}")
        return derived(dataset, kept, ledger, {"step": "filter", "function": name}, into)

    def select(
        self, indices: Iterable[int] | Mapping[str, Iterable[int]], *, into: str | Path | None = None
    ) -> FolderDataset:
        """Keeps rows by their places, in the order of these.

        Args:
            indices: Places from 0, negative ones from the end: for every split the same, or a mapping from split to
                its places, where splits that are not named stay as they are.
            into: The folder to write; None stands for ``runs/data/<content address>``.

        Returns:
            The new dataset; a row that is not selected is ``dropped`` in its ledger.

        Raises:
            DataError: There is no such split or row, or one is selected twice.
        """
        dataset = _dataset(self)
        given: Any = indices
        if not isinstance(given, Iterable):
            raise DataError(f"select() takes places of rows, such as range(100), not a {type(given).__name__}.")
        if isinstance(indices, Mapping):
            wanted = {split: list(places) for split, places in cast("Mapping[str, Iterable[int]]", indices).items()}
        else:
            places = list(indices)
            wanted = dict.fromkeys(self, places)
        unknown = [split for split in wanted if split not in dataset.splits]
        if unknown:
            raise DataError(f"The dataset has no split {unknown[0]!r}; it has {', '.join(dataset.splits)}.")
        ledger, kept = RowLedger(), dict[str, Table]()
        for split in self:
            table = dataset.table(split)
            rows = _places(wanted.get(split, range(table.num_rows)), table.num_rows, split)
            kept[split] = table.take(arrow().array(rows, arrow().int64()))
            chosen = set(rows)
            marks = [row in chosen for row in range(table.num_rows)]
            _note(ledger, split, table, marks, step="select", reason="not selected")
        return derived(dataset, kept, ledger, {"step": "select"}, into)

    def map(
        self,
        function: Callable[[Row], Mapping[str, Any] | None],
        *,
        on_bad_row: Literal["error", "ledger"] = "error",
        into: str | Path | None = None,
    ) -> FolderDataset:
        """Changes rows: what a function returns replaces or adds columns, the other columns stay as they are.

        Values of the task's fields are checked as those of a file are.

        Args:
            function: Takes a row as `filter` does and returns the columns that change, or None for none.
            on_bad_row: ``"error"`` raises at the first row that cannot be used; ``"ledger"`` leaves such rows out.
            into: The folder to write; None stands for ``runs/data/<content address>``.

        Returns:
            The new dataset; the ledger says which rows were changed and which left out.

        Raises:
            DataError: The function fails, changes an id, or changes a field whose facts stay behind; or a row cannot
                be used.
        """
        dataset, name = _dataset(self), _name(function)
        ledger, made = RowLedger(), dict[str, Table]()
        for split in self:
            table = dataset.table(split)
            changes = [
                _changes(_call(function, row, split, index), row, dataset.task, split, index)
                for index, row in enumerate(_rows(table, dataset.task))
            ]
            made[split] = _changed(table, changes, dataset.task, split, on_bad_row, ledger, name)
        return derived(dataset, made, ledger, {"step": "map", "function": name}, into)


def derived(
    dataset: Dataset, splits: Mapping[str, Table], ledger: RowLedger, how: Mapping[str, Any], into: str | Path | None
) -> FolderDataset:
    """Writes the dataset that a step made of another one, with the lineage and the ledger of both.

    Args:
        dataset: The dataset that the rows come from.
        splits: The rows.
        ledger: What the step did to each row of the dataset.
        how: The step and its options.
        into: The folder to write; None stands for ``runs/data/<content address>``.
    """
    from soaptune.handles.dataset import Dataset

    if not any(table.num_rows for table in splits.values()):
        raise DataError(f"No row is left after {how['step']}().")
    manifest = dataset.manifest
    lineage = {**how, "from": {"fingerprint": dataset.fingerprint, "how": manifest.how}}
    merged = dataset.ledger.merge(ledger)
    return Dataset.write(into, splits, task=dataset.task, how=lineage, ledger=merged, synthetic=manifest.synthetic)


def _dataset(operations: DatasetOperations) -> Dataset:
    return cast("Dataset", operations)


def _rows(table: Table, task: TaskSpec) -> Iterator[Row]:
    for row in table.to_pylist():
        yield {**row, **task.outputs(row)}


def _call(function: Callable[[Row], Any], row: Row, split: str, index: int) -> Any:
    try:
        return function(row)
    except Exception as error:  # whatever the caller's function raises; its words may quote the row
        raise DataError(f"{_name(function)} fails at {split} row {index + 1} ({type(error).__name__}).") from error


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _note(ledger: RowLedger, split: str, table: Table, kept: Sequence[bool], *, step: str, reason: str) -> None:
    ids: list[str] = table.column("id").to_pylist()
    for id, stays in zip(ids, kept, strict=True):
        ledger.add(id, split=split, fate="kept" if stays else "dropped", reason="" if stays else reason, step=step)


def _places(places: Iterable[int], count: int, split: str) -> list[int]:
    rows: list[int] = []
    for place in places:
        if not -count <= place < count:
            raise DataError(f"The split {split!r} has no row {place}; it has {count}, counted from 0.")
        rows.append(place % count)
    if len(set(rows)) != len(rows):
        raise DataError(f"A row of the split {split!r} is selected twice.")
    return rows


def _changes(found: Any, row: Row, task: TaskSpec, split: str, index: int) -> Row:
    where = f"map(): {split} row {index + 1}"
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise DataError(f"{where}: a dict of the columns that change is expected, not a {type(found).__name__}.")
    given = dict(cast("Mapping[str, Any]", found))
    changed = {name: value for name, value in given.items() if name not in row or row[name] != value}
    if "id" in changed:
        raise DataError(f"{where}: the id of a row stays as it is; the ledger knows the row by it.")
    if row.get("facts") and "facts" not in given and any(name in task.fields for name in changed):
        raise DataError(
            f"{where}: a field changes whose facts were found in the old text; return its 'facts' too ([] for none)."
        )
    return changed


def _changed(
    table: Table,
    changes: Sequence[Row],
    task: TaskSpec,
    split: str,
    bad_rows: Literal["error", "ledger"],
    ledger: RowLedger,
    name: str,
) -> Table:
    """A split with the changed columns in place; the columns that no row changes keep their Arrow types."""
    columns = list(dict.fromkeys(column for change in changes for column in change))
    ids: list[str] = table.column("id").to_pylist()
    needed = dict.fromkeys(["id", *task.fields, *columns])
    raw = RawRows(f"map(): {split}")
    for row, change in zip(_rows(table, task), changes, strict=True):
        raw.add({column: value for column, value in {**row, **change}.items() if column in needed}, line=None)
    if not columns or not raw.count:
        ledger.extend(ids, split=split, fate="kept", step="map")
        return table
    # What the dataset has already is not held against it: a field that was empty may stay so.
    empty = [f for f in task.fields if any(v == "" for v in table.column(f).to_pylist())]
    wanted = wanted_columns(task, {}, allow_empty=empty, make_ids=False)
    made, dropped = well_formed(raw, wanted, task=task, split=split, bad_rows=bad_rows)
    reasons = {row - 1: reason for row, reason in dropped}
    for index, id in enumerate(ids):
        reason = reasons.get(index, f"changed by {name}" if changes[index] else "")
        ledger.add(id, split=split, fate="dropped" if index in reasons else "kept", reason=reason, step="map")
    kept = [index for index in range(len(ids)) if index not in reasons]
    result = table.take(arrow().array(kept, arrow().int64()))
    for column in columns:
        place = result.column_names.index(column) if column in result.column_names else result.num_columns
        add = result.set_column if place < result.num_columns else result.add_column
        result = add(place, column, made.column(column))
    return result
