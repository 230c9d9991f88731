"""Datasets: examples in named splits, as Parquet files in a folder with a manifest and a row ledger.

A dataset folder holds ``<split>.parquet`` for each split, ``ledger.parquet`` and ``manifest.json``. Its columns are
``id``, the task's input and output fields (strings; outputs that are not strings as JSON text), optionally ``facts``
and ``group``, and any further columns as metadata. A dataset that is written is never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from soaptune.common.arrow import Table
from soaptune.common.lazy import optional
from soaptune.common.wording import did_you_mean
from soaptune.errors import DataError
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.deletion import Deletion, Holder, copies_on, refuse_while_read
from soaptune.handles.ledger import RowLedger
from soaptune.handles.location import Location, Receiver, copied
from soaptune.handles.operations import DatasetOperations
from soaptune.tasks.fact import Fact
from soaptune.tasks.spec import HasSpec, TaskSpec

if TYPE_CHECKING:
    import datasets  # pyright: ignore[reportMissingTypeStubs]

    from soaptune.handles.folder_dataset import FolderDataset

__all__ = ["Dataset", "DatasetManifest", "Fact"]


class Dataset(DatasetOperations, ABC):
    """A handle to examples in named splits. It reads rows only when asked for them.

    `open`, `load` and `write` give a `soaptune.handles.folder_dataset.FolderDataset`, a dataset in a folder of this
    machine; a backend gives those in tables.
    """

    def __init__(self, manifest: DatasetManifest) -> None:
        """Use `Dataset.open`, `Dataset.load` or `Dataset.write` instead.

        Args:
            manifest: The dataset's manifest.
        """
        self._manifest = manifest

    @staticmethod
    def open(path: str | Path) -> FolderDataset:
        """Opens a dataset folder.

        Args:
            path: The folder with the ``manifest.json``.

        Raises:
            DataError: There is no dataset, it is broken, or a newer release of soaptune wrote it.
        """
        from soaptune.handles.folder_dataset import open_dataset

        return open_dataset(path)

    @staticmethod
    def write(
        path: str | Path | None,
        splits: Mapping[str, Table],
        *,
        task: TaskSpec | HasSpec,
        how: Mapping[str, Any],
        ledger: RowLedger | None = None,
        synthetic: bool = False,
        plan_fingerprint: str = "",
    ) -> FolderDataset:
        """Writes a dataset folder, whole or not at all.

        Args:
            path: The folder. It may exist (a job's ``output/``), but must not hold a finished result. None stands
                for ``runs/data/<content address>``, where the same content is written only once.
            splits: A `pyarrow.Table` for each split, with the columns that the module's docstring lists.
            task: The task.
            how: How the rows were made, as JSON-able data for the manifest.
            ledger: What became of every input row; its rows in use must be those of the splits. None stands for a
                ledger in which all rows are kept.
            synthetic: Whether the examples are made up.
            plan_fingerprint: Of the plan of the job that makes it.

        Returns:
            The handle to what was written.

        Raises:
            DataError: A column is missing or of a wrong type, an id is missing or stands twice, the ledger does not
                fit the rows, or the folder holds a finished result.
        """
        from soaptune.handles.writing import write_dataset

        folder = write_dataset(
            path, splits, task=task, how=how, ledger=ledger, synthetic=synthetic, plan_fingerprint=plan_fingerprint
        )
        return Dataset.open(folder)

    @staticmethod
    def load(
        source: object,
        *,
        task: TaskSpec | HasSpec,
        columns: Mapping[str, str] | None = None,
        split: str = "train",
        into: str | Path | None = None,
        on_bad_row: Literal["error", "ledger"] = "error",
        allow_empty: Collection[str] = (),
        ids: Literal["keep", "make"] = "keep",
        synthetic: bool = False,
    ) -> FolderDataset:
        """Reads examples from files or from memory and writes them as a dataset folder.

        The formats of files, by their suffix: ``.jsonl``/``.ndjson``, ``.json`` (a list of objects), ``.csv``,
        ``.tsv``, ``.parquet``, ``.arrow``/``.feather``/``.ipc``, and folders that Hugging Face datasets saved. Text
        is UTF-8, with or without a byte order mark. Columns that are not the task's are kept as metadata; a column
        ``group`` names the scenario whose rows must stay in one split.

        Args:
            source: What becomes one split: a file, a list of files, a list of dicts, a pandas or polars frame, an
                Arrow table (or anything else with ``__arrow_c_stream__``), or a `datasets.Dataset`. Or several splits:
                a mapping from split to one of these (a `datasets.DatasetDict` is one), or a folder, either one that
                ``save_to_disk`` made or one with ``train.csv``, ``validation.csv``, ``test.csv`` and the like.
            task: The task.
            columns: The column of the file for a field of the task (or for ``id``, ``group``, ``facts``), where it
                has another name: ``{"dialogue": "conversation", "S": "subj"}``. A dotted name reaches into
                records: ``{"parties": "output.parties"}``.
            split: The split that a source without splits becomes.
            into: The folder to write; None stands for ``runs/data/<content address>`` below the working
                directory. Loading the same content again reuses it.
            on_bad_row: ``"error"`` raises at the first row that cannot be used; ``"ledger"`` leaves such rows out,
                notes them in the row ledger and loads the rest.
            allow_empty: Fields of the task that may be empty or missing in a row.
            ids: ``"keep"`` takes ids from a column ``id`` if there is one and makes the others; ``"make"`` makes all
                (``"train-000000"``). Ids that stand in several splits are prefixed by their split.
            synthetic: Whether the examples are made up.

        Raises:
            DataError: A file cannot be read, a column is missing, or a row cannot be used; the message names file,
                row (the first row of data is row 1) and column, and never quotes the row.
            MissingExtraError: A package that reads the format is not installed.
        """
        from soaptune.handles.readers.load import load_dataset

        folder = load_dataset(
            source,
            task=task,
            columns=columns or {},
            split=split,
            into=into,
            on_bad_row=on_bad_row,
            allow_empty=allow_empty,
            ids=ids,
            synthetic=synthetic,
        )
        return Dataset.open(folder)

    @property
    @abstractmethod
    def location(self) -> Location:
        """Where the rows lie, and with that which backend's jobs can read them."""

    def copy_to(self, backend: Receiver) -> Dataset:
        """Copies the dataset to where a backend's jobs read it.

        Args:
            backend: The backend.

        Returns:
            A handle to the copy, with the same rows and fingerprint; this handle where it lies there already.
        """
        return copied(self, backend)

    @abstractmethod
    def download(self, path: str | Path) -> FolderDataset:
        """Writes the dataset into a folder of this machine.

        Args:
            path: A new or empty folder.

        Returns:
            The dataset there, with the same rows and fingerprint.

        Raises:
            DataError: The folder holds something else, or the rows are not those that the manifest lists.
        """

    def delete(self, *, on: Holder, dry_run: bool = False) -> Deletion:
        """Removes the dataset, and names what still holds its text: jobs, their caches and results, copies.

        Copies that you have made yourself elsewhere are not known.

        Args:
            on: The backend whose jobs may hold copies.
            dry_run: Whether to list what would be removed, and leave it.

        Returns:
            What was removed, and what still holds the text, with how to remove that.

        Raises:
            BackendError: A running job reads it, or the account refuses.
            DataError: It cannot be removed, or soaptune did not write it.
        """
        copies = copies_on(on, self)
        refuse_while_read(copies)
        return Deletion(removed=tuple(self._remove(dry_run=dry_run)), copies=tuple(copies))

    @property
    def manifest(self) -> DatasetManifest:
        """The content of its ``manifest.json``."""
        return self._manifest

    @property
    def task(self) -> TaskSpec:
        """The task that the examples are of."""
        return self._manifest.task

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the rows of all splits."""
        return self._manifest.fingerprint

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in order."""
        return tuple(self._manifest.counts)

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each split."""
        return dict(self._manifest.counts)

    @property
    @abstractmethod
    def ledger(self) -> RowLedger:
        """What became of every input row."""

    def table(self, split: str) -> Table:
        """All columns of a split, as a `pyarrow.Table`.

        Raises:
            DataError: There is no such split, or its file cannot be read.
        """
        return self._read(split, None)

    def __getitem__(self, split: str) -> datasets.Dataset:
        """A split as a Hugging Face dataset: ``id``, the input fields and the output fields, in that order.

        All columns are strings; an output that is not a string is there as JSON text (`TaskSpec.outputs` decodes a
        row).

        Raises:
            DataError: There is no such split, or its file cannot be read.
            MissingExtraError: The package `datasets` is not installed.
        """
        given: Any = split
        if not isinstance(given, str):
            example = f"dataset[{self.splits[0]!r}]"
            raise DataError(f"A dataset is a mapping from splits to rows: {example}[0] is the first row of a split.")
        table = self._read(split, ["id", *self.task.fields])
        return optional("datasets", extra="train", what="Dataset[split]").Dataset(table)

    def __contains__(self, split: object) -> bool:
        return split in self._manifest.counts

    def facts(self, split: str) -> dict[str, list[Fact]]:
        """The facts of each example of a split, by id; empty lists where the dataset carries none."""
        if "facts" not in self._columns(split):
            return {row: [] for row in self._read(split, ["id"]).column("id").to_pylist()}
        table = self._read(split, ["id", "facts"])
        pairs = zip(table.column("id").to_pylist(), table.column("facts").to_pylist(), strict=True)
        return {row: [_fact(fact) for fact in facts or ()] for row, facts in pairs}

    @abstractmethod
    def verify(self) -> None:
        """Reads all rows and checks that they are the ones that the manifest lists.

        Raises:
            DataError: A file cannot be read, or its rows are others than those that were written.
        """

    @abstractmethod
    def split(
        self,
        sizes: str | tuple[float, ...] | Mapping[str, float] = "80/10/10",
        *,
        seed: int = 42,
        into: str | Path | None = None,
    ) -> Dataset:
        """Splits all rows of this dataset anew; see `soaptune.handles.preparation.split.split_table`.

        Args:
            sizes: ``"80/10/10"``, ``(0.8, 0.1, 0.1)`` or ``{"train": 800, "validation": 100, "test": 100}``.
            seed: Another seed gives another split.
            into: The folder to write; None stands for ``runs/data/<content address>``.
        """

    @abstractmethod
    def deduplicate(self, *, into: str | Path | None = None) -> Dataset:
        """Leaves out rows whose inputs and outputs equal those of an earlier row, in this or an earlier split.

        Args:
            into: The folder to write; None stands for ``runs/data/<content address>``.
        """

    @abstractmethod
    def leakage(self, split: str, *, against: str = "train") -> tuple[str, ...]:
        """The ids of the rows of a split whose inputs also stand in another split (white space aside)."""

    def columns(self, split: str) -> tuple[str, ...]:
        """The names of a split's columns.

        Raises:
            DataError: There is no such split, or its file cannot be read.
        """
        return tuple(self._columns(split))

    @abstractmethod
    def empty_counts(self, split: str, fields: Sequence[str]) -> dict[str, int]:
        """How many rows of a split have nothing, or nothing but white space, in each of some fields.

        Args:
            split: The split.
            fields: Fields of the task.

        Raises:
            DataError: There is no such split or column, or its file cannot be read.
        """

    @abstractmethod
    def _remove(self, *, dry_run: bool) -> list[str]:
        """Removes the rows first and the manifest last; what is gone already is no error."""

    @abstractmethod
    def _columns(self, split: str) -> list[str]:
        """The names of a split's columns."""

    @abstractmethod
    def _read(self, split: str, columns: list[str] | None) -> Table:
        """Some columns of a split, or all of them, with the dataset's types."""

    @abstractmethod
    def _named(self) -> str:
        """The dataset for a message."""

    def _check_split(self, split: str) -> None:
        """Checks that there is a split of a name.

        Raises:
            DataError: There is none.
        """
        if split not in self._manifest.counts:
            raise DataError(f"{self._named()} has no split {split!r}{did_you_mean(split, self.splits)}.")


def _fact(stored: Mapping[str, Any]) -> Fact:
    return Fact(**{name: value for name, value in stored.items() if value is not None})
