"""The tables of a backend's schema: opening datasets in them, making datasets of them, writing datasets into them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from soaptune.handles.dataset import Dataset
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.query import SchemaRef
    from soaptune.tasks.spec import HasSpec, TaskSpec

__all__ = ["TableStore"]


class TableStore(ABC):
    """What `SnowflakeBackend` does with datasets in tables."""

    @property
    @abstractmethod
    def schema_ref(self) -> SchemaRef:
        """The schema, and the way to it."""

    def dataset(self, name: str, *, task: TaskSpec | HasSpec | None = None) -> TableDataset:
        """Opens a dataset in tables: one that soaptune wrote, or tables of your own.

        Args:
            name: What the tables begin with: ``"SOAP"`` stands for ``SOAP_TRAIN``, ``SOAP_VALIDATION`` and
                ``SOAP_TEST``, as far as they are there; or the name of a single table.
            task: The task; needed for tables that soaptune did not write.

        Returns:
            A handle to the rows; none is read.

        Raises:
            DataError: There are no such tables, they lack a column, or are being written.
            BackendError: Snowflake refused.
        """
        from soaptune.snowflake.tables.load import open_dataset

        return open_dataset(self.schema_ref, name, task=task)

    def load_dataset(
        self,
        source: str | Mapping[str, str],
        *,
        task: TaskSpec | HasSpec,
        columns: Mapping[str, str] | None = None,
        split: str = "train",
        name: str = "",
        on_bad_row: Literal["error", "ledger"] = "error",
        allow_empty: Collection[str] = (),
        synthetic: bool = False,
        fingerprint: Literal["account", "rows"] = "account",
    ) -> TableDataset:
        """Makes a dataset of tables, queries or versions of Snowflake Datasets; the rows stay where they are.

        Args:
            source: A table, a query or ``snow://dataset/<name>/versions/<version>`` (becomes one split), or a mapping
                from split to one of them.
            task: The task. Its fields are found in columns of the same name, capitals or not.
            columns: The column for a field of the task (or for ``id``, ``group``, ``facts``), where it has another
                name: ``{"dialogue": "CONVERSATION"}``.
            split: The split that a single source becomes.
            name: What tables begin with that are derived from this dataset; the first table's name when empty.
            on_bad_row: ``"error"`` raises where a row lacks a field; ``"ledger"`` leaves such rows out and notes them.
            allow_empty: Fields of the task that may be empty.
            synthetic: Whether the examples are made up.
            fingerprint: ``"account"``: SQL hashes the rows where they are. ``"rows"`` reads all of them into this
                process, for the fingerprint that a folder with the same rows has.

        Raises:
            DataError: A column is missing, rows lack a field, or an id stands twice.
            BackendError: Snowflake refused.
        """
        from soaptune.snowflake.tables.load import Loading, load_dataset

        how = Loading(
            task=task,
            columns=columns or {},
            name=name,
            on_bad_row=on_bad_row,
            allow_empty=allow_empty,
            synthetic=synthetic,
            fingerprint=fingerprint,
        )
        return load_dataset(self.schema_ref, {split: source} if isinstance(source, str) else source, how)

    def save(self, dataset: Dataset, *, name: str, overwrite: bool = False) -> TableDataset:
        """Writes a dataset into tables under a name of your choice; `receive` chooses one by itself.

        Args:
            dataset: A dataset of this machine, or one in tables, whose rows are then copied inside the account.
            name: What the tables begin with: ``"SOAP"`` gives ``SOAP_TRAIN`` and so on, ``SOAP_LEDGER`` and
                ``SOAP_MANIFEST``.
            overwrite: Whether tables that are there already are replaced. Where they hold the very same dataset nothing
                is written.

        Returns:
            The dataset in tables.

        Raises:
            DataError: Tables are in the way, or a column has a type that a table cannot hold.
            BackendError: Snowflake refused.
        """
        from soaptune.snowflake.tables.prepare import save_dataset

        return save_dataset(self.schema_ref, dataset, name, overwrite=overwrite)
