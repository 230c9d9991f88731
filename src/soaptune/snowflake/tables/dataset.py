"""`TableDataset`: a handle to examples in Snowflake's tables. The rows stay there until someone asks for them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from soaptune.common.arrow import Table, arrow
from soaptune.common.fingerprint import fingerprint_table
from soaptune.common.wording import did_you_mean
from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.folder_dataset import FolderDataset
from soaptune.handles.ledger import LedgerRow, RowLedger
from soaptune.handles.location import Tables, TableSplit
from soaptune.handles.preparation.split import Sizes
from soaptune.handles.writing import in_form
from soaptune.snowflake.names import Name, quote
from soaptune.snowflake.session import wrap_error
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.query import SchemaRef
from soaptune.snowflake.tables.spec import ACCOUNT_FINGERPRINT, ROW, described, read_schema, table_beside, table_of
from soaptune.snowflake.tables.types import as_text, from_table
from soaptune.snowflake.tables.write import account_fingerprint, text_columns
from soaptune.tasks.fact import facts_type

__all__ = ["TableDataset"]


class TableDataset(Dataset):
    """A handle to a dataset in an account.

    Training, evaluation, splitting and de-duplication use it where it lies. `table`, ``dataset["train"]``, `facts` and
    `download` bring rows to this process, as their names have it.
    """

    def __init__(self, place: SchemaRef, source: Tables) -> None:
        """Use ``backend.dataset``, ``backend.load_dataset`` or ``backend.save`` instead.

        Args:
            place: The way to the account, and where tables that are derived from this dataset are written.
            source: Where the rows lie, and what they are.
        """
        super().__init__(source.manifest)
        self._place = place
        self._source = source

    @property
    def source(self) -> Tables:
        """Where the rows lie, as pure data."""
        return self._source

    @property
    def place(self) -> SchemaRef:
        """The way to the account, and the schema of tables that are derived from this dataset."""
        return self._place

    @property
    def location(self) -> Tables:
        """The tables, as the jobs of a Snowflake backend find them."""
        return self._source

    @property
    def ledger(self) -> RowLedger:
        """What became of every input row; it has ids and reasons, no text of the rows.

        Raises:
            BackendError: The table cannot be read.
        """
        ledger = RowLedger()
        if self._source.ledger is not None:
            chosen = ", ".join(quote(field.upper()) for field in LedgerRow._fields)
            table = self._place.arrow(
                "reading the row ledger",
                f"SELECT {chosen} FROM {Name(*self._source.ledger).sql} ORDER BY {quote(ROW)}",
            )
            for row in table.to_pylist():
                values: dict[str, Any] = {field: row[field.upper()] for field in LedgerRow._fields}
                values["tokens"] = int(values["tokens"])
                ledger.add(**values)
            return ledger
        for split, part in self._source.splits.items():
            whole = part.replace(complete=False)
            kept = set(self._ids(split, part)) if part.complete else None
            for row in self._ids(split, whole):
                if kept is None or row in kept:
                    ledger.add(row, split=split, fate="kept", step="load")
                else:
                    ledger.add(row, split=split, fate="dropped", reason="a field has no value", step="load")
        return ledger

    def batches(self, split: str, columns: list[str] | None = None) -> Iterator[Table]:
        """The rows of a split piece by piece, as `pyarrow.Table` objects, in order and with the dataset's types.

        Args:
            split: The split.
            columns: Which columns; all of them when None.

        Raises:
            DataError: There is no such split, or a table has changed.
            BackendError: A table cannot be read.
        """
        part, sql = self._part(split), self.sql(split, columns)
        wanted = self._columns(split) if columns is None else columns
        types = {"facts": facts_type(), **read_schema(part.arrow_schema)}
        what, yielded = f"reading the split {split}", False
        pieces = iter(self._place.connection.call(what, lambda s: s.sql(sql).to_arrow_batches()))
        while True:
            try:
                piece = next(pieces, None)
            except Exception as error:  # the pieces of a result come one by one, and each may be lost on the way
                raise wrap_error(what, error) from error
            if piece is None:
                break
            yielded = True
            yield _typed(piece, wanted, types)
        if not yielded:
            yield _typed(self._place.arrow(what, sql), wanted, types)

    def sql(self, split: str, columns: list[str] | None = None, *, numbered: bool = False) -> str:
        """The query that gives the rows of a split in order, its columns named as the dataset names them.

        Args:
            split: The split.
            columns: Which columns; all of them when None.
            numbered: Whether the row's number comes along, as ``SOAPTUNE_ROW``.

        Raises:
            DataError: There is no such split or column.
        """
        part = self._part(split)
        for column in columns or ():
            if column not in part.columns and column != "id":
                raise DataError(
                    f"The split {split!r} has no column {column!r}{did_you_mean(column, list(part.columns))}."
                )
        query = tablesql.rows(split, part, fields=self.task.fields, columns=columns)
        names = self._columns(split) if columns is None else list(columns)
        if numbered:
            names.append(ROW)
        chosen = ", ".join(quote(name) for name in names)
        return f"SELECT {chosen} FROM ({query}) AS {quote('R')} ORDER BY {quote(ROW)}"

    def verify(self) -> None:
        """Has the account hash all rows and checks that they are the ones that the manifest lists; none is read here.

        Raises:
            DataError: The rows are others than those that were written.
            BackendError: A table cannot be read.
        """
        fingerprints = self._source.fingerprints
        changed = [s for s, part in fingerprints.items() if account_fingerprint(self._place, s, self._source) != part]
        if changed:
            raise DataError(f"{self._named()}: the rows of {', '.join(changed)} are not those that were written.")

    def download(self, path: str | Path) -> FolderDataset:
        """Writes the dataset into a folder of this machine.

        Args:
            path: A new or empty folder.

        Returns:
            The dataset there. Its fingerprint is that of this handle, unless this one was computed by SQL
            (``account-sha256:``), which only compares tables.

        Raises:
            DataError: The folder holds something else, or the rows are not those that the manifest lists.
        """
        tables = {split: self.table(split) for split in self.splits}
        for split, table in tables.items():
            if self.fingerprint.startswith(ACCOUNT_FINGERPRINT):
                same = _rows_fingerprint(table, self.task.fields) == self._source.fingerprints[split]
            else:
                formed = in_form(table, self.task, split=split)
                same = fingerprint_table(formed) == self._manifest.split_fingerprints[split]
            if not same:
                raise DataError(f"{self._named()}: the rows of {split} are not those that were written.")
        manifest = self._manifest
        return Dataset.write(
            path, tables, task=self.task, how=manifest.how, ledger=self.ledger, synthetic=manifest.synthetic
        )

    def split(
        self,
        sizes: Sizes = "80/10/10",
        *,
        seed: int = 42,
        into: str | Path | None = None,
    ) -> TableDataset:
        """Splits all rows anew in the account: hashes of the rows come here, texts do not.

        What `soaptune.handles.preparation.split.split_table` promises holds: rows with equal inputs or of one group
        stay together, and the same rows and seed give the same split. It is another one than a folder's split by the
        same seed, since SQL hashes otherwise.

        Args:
            sizes: ``"80/10/10"``, ``(0.8, 0.1, 0.1)`` or ``{"train": 800, "validation": 100, "test": 100}``.
            seed: Another seed gives another split.
            into: The name that the new tables begin with; None stands for this one's with ``_SPLIT_`` and a hash.
        """
        from soaptune.snowflake.tables.prepare import split_tables

        return split_tables(self, sizes, seed=seed, into=None if into is None else str(into))

    def deduplicate(self, *, into: str | Path | None = None) -> TableDataset:
        """Leaves out rows whose inputs and outputs equal those of an earlier row; see `split` for how and where.

        Args:
            into: The name that the new tables begin with; None stands for this one's with ``_UNIQUE_`` and a hash.
        """
        from soaptune.snowflake.tables.prepare import deduplicate_tables

        return deduplicate_tables(self, into=None if into is None else str(into))

    def leakage(self, split: str, *, against: str = "train") -> tuple[str, ...]:
        """The ids of the rows of a split whose inputs also stand in another split; compared in the account."""
        fields = self.task.input_fields
        first, second = (
            tablesql.rows(name, self._part(name), fields=self.task.fields, columns=["id", *fields])
            for name in (split, against)
        )
        sql = (
            f"SELECT {quote('id')}, {quote(ROW)} FROM ({first}) AS A WHERE {tablesql.digest(fields)} IN "
            f"(SELECT {tablesql.digest(fields)} FROM ({second}) AS B) ORDER BY {quote(ROW)}"
        )
        return tuple(str(row[0]) for row in self._place.connection.rows("comparing splits", sql))

    def empty_counts(self, split: str, fields: Sequence[str]) -> dict[str, int]:
        """How many rows of a split have nothing in each of some fields; counted in the account.

        Raises:
            DataError: There is no such split or column.
            BackendError: The table cannot be read.
        """
        counts = ", ".join(f"SUM(CASE WHEN TRIM({tablesql.text(field)}) <> '' THEN 0 ELSE 1 END)" for field in fields)
        sql = f"SELECT {counts} FROM ({self.sql(split, list(fields))}) AS {quote('E')}"
        (row,) = self._place.connection.rows("looking for empty fields", sql)
        return {field: int(count or 0) for field, count in zip(fields, row, strict=True)}

    def _remove(self, *, dry_run: bool) -> list[str]:
        source, names = self._source, [table_of(part) for part in self._source.splits.values()]
        if source.ledger is None or not all(part.arrow_schema for part in source.splits.values()):
            raise DataError(
                f"{self._named()} lies in tables or queries of your own, which soaptune did not write: drop them "
                "yourself."
            )
        own = self._place.at(Name(source.database, source.db_schema, source.name))
        # The manifest's table comes last, so that what was interrupted can be opened and deleted again.
        tables = [name for name in (*names, Name(*source.ledger), table_beside(source, "MANIFEST")) if name is not None]
        tables = [name for name in tables if own.at(name).there([name.name])]
        for table in [] if dry_run else tables:
            self._place.connection.rows(f"removing the table {table.sql}", f"DROP TABLE IF EXISTS {table.sql}")
        return [f"table {table.sql}" for table in tables]

    def _part(self, split: str) -> TableSplit:
        if split not in self._source.splits:
            raise DataError(f"{self._named()} has no split {split!r}{did_you_mean(split, self._source.splits)}.")
        return self._source.splits[split]

    def ids(self, split: str) -> list[str]:
        """The ids of a split's rows, in order.

        Raises:
            DataError: There is no such split.
            BackendError: The table cannot be read.
        """
        return self._ids(split, self._part(split))

    def _ids(self, split: str, part: TableSplit) -> list[str]:
        query = tablesql.rows(split, part, fields=self.task.fields, columns=["id"])
        sql = f"SELECT {quote('id')} FROM ({query}) AS R ORDER BY {quote(ROW)}"
        return [str(value) for value in self._place.arrow("reading ids", sql).column(0).to_pylist()]

    def _columns(self, split: str) -> list[str]:
        return list(dict.fromkeys(["id", *self._part(split).columns]))

    def _read(self, split: str, columns: list[str] | None) -> Table:
        return arrow().concat_tables(list(self.batches(split, columns)))

    def _named(self) -> str:
        return f"The dataset {self._source.name} of {self._source.database}.{self._source.db_schema}"

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={count}" for split, count in self._manifest.counts.items())
        where = ".".join((self._source.database, self._source.db_schema, self._source.name))
        return f"TableDataset(task={self.task.name!r}, {counts}, tables={where!r})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(split)}</td><td>{count:,}</td><td>{html.escape(described(self._part(split)))}</td></tr>"
            for split, count in self._manifest.counts.items()
        )
        note = "<p>Synthetic text: not for clinical decisions.</p>" if self._manifest.synthetic else ""
        fields = ", ".join(self.task.fields)
        return (
            f"<p><b>Dataset</b> for the task {html.escape(self.task.name)} ({html.escape(fields)}), in Snowflake</p>"
            f"<table><tr><th>split</th><th>rows</th><th>from</th></tr>{rows}</table>{note}"
            f"<p>{html.escape(self.fingerprint)}</p>"
        )


def _typed(piece: Any, wanted: list[str], types: Any) -> Table:
    """The columns as the dataset has them; of the user's own tables as Snowflake gives them."""
    pa = arrow()
    columns = {c: piece.column(c) for c in dict.fromkeys(wanted)}
    return pa.table({c: from_table(v, types[c], c) if c in types else _own(v) for c, v in columns.items()})


def _own(values: Any) -> Any:
    # NUMBER(38, 0) comes as a decimal where it may be large, and Parquet readers expect whole numbers.
    pa = arrow()
    kind = values.type
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return values.cast(pa.int64())
    return values.cast(pa.float64()) if pa.types.is_decimal(kind) else values


def _rows_fingerprint(table: Table, fields: tuple[str, ...]) -> str:
    columns = text_columns(table.column_names, fields)
    texts = [as_text(table.column(column), column).to_pylist() for column in columns]
    return tablesql.rows_fingerprint(tablesql.row_text(row) for row in zip(*texts, strict=True))
