"""A dataset written into tables, whole or not at all: the manifest's table is finished last."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from soaptune.common.arrow import Table, arrow
from soaptune.common.fingerprint import fingerprint, fingerprint_table
from soaptune.errors import BackendError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.dataset_manifest import NOT_CONTENT
from soaptune.handles.ledger import LedgerRow, RowLedger
from soaptune.handles.location import Tables, TableSplit
from soaptune.snowflake.names import Name, literal, quote
from soaptune.snowflake.session import error_number
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.query import ALREADY_THERE, SchemaRef, loaded
from soaptune.snowflake.tables.spec import ROW, described, moved, read_tables, table_beside, table_of, write_schema
from soaptune.snowflake.tables.types import as_text, sql_type

__all__ = ["WriteLock", "account_fingerprint", "column_names", "save", "split_names", "text_columns", "write_ledger"]


def column_names(columns: list[str]) -> dict[str, str]:
    """For each column of a dataset its name in a table: in capitals, as SQL without quotes means it.

    Args:
        columns: The dataset's columns. Of two that differ in case alone the later is given an underscore.

    Raises:
        DataError: A column has the name that our tables need for the order of the rows.
    """
    taken = {ROW}
    found: dict[str, str] = {}
    for column in columns:
        name = column.upper()
        if name == ROW:
            raise DataError(f"The column {column!r} must have another name: {ROW} keeps the order of the rows.")
        while name in taken:
            name += "_"
        found[column] = name
        taken.add(name)
    return found


def split_names(place: SchemaRef, name: str, splits: list[str]) -> dict[str, Name]:
    """The table of each split: ``SOAP_TRAIN`` for the split ``train`` of ``SOAP``.

    Raises:
        DataError: Two splits would share a table.
    """
    found = {split: Name(place.database, place.schema, f"{name}_{split.upper()}") for split in splits}
    taken = [*(table.name for table in found.values()), f"{name}_LEDGER", f"{name}_MANIFEST"]
    if len(set(taken)) < len(taken):
        raise DataError(f"The splits {', '.join(splits)} cannot have tables of their own: two would be the same.")
    return found


def text_columns(columns: list[str], fields: tuple[str, ...]) -> list[str]:
    """The columns whose texts are hashed, in the order in which they are."""
    return sorted({column for column in columns if column in {"id", "group", "facts", *fields}})


def account_fingerprint(place: SchemaRef, split: str, source: Tables) -> str:
    """The fingerprint of a split as SQL computes it: no text leaves the account.

    Raises:
        BackendError: The table cannot be read.
    """
    fields, part = source.manifest.task.fields, source.splits[split]
    columns = text_columns(["id", *part.columns], fields)
    sql = tablesql.fingerprint_query(tablesql.rows(split, part, fields=fields, columns=columns), columns)
    rows = place.connection.rows("fingerprinting a table", sql)
    return tablesql.split_fingerprint({str(bucket): (int(count), str(hashed)) for bucket, count, hashed in rows})


def save(place: SchemaRef, dataset: Dataset, name: str, *, overwrite: bool) -> Tables:
    """Writes a dataset of this machine into tables.

    Args:
        place: The schema.
        dataset: The dataset.
        name: The exact name that the tables begin with.
        overwrite: Whether tables that are there already are replaced.

    Returns:
        The dataset in tables; the one that is there where it is the same.

    Raises:
        DataError: Tables are in the way, or a column has a type that a table cannot hold.
        BackendError: Snowflake refused.
    """
    tables = {split: dataset.table(split) for split in dataset.splits}
    named = column_names(list(dict.fromkeys(c for t in tables.values() for c in t.column_names)))
    targets = split_names(place, name, list(tables))
    fields = dataset.task.fields
    splits: dict[str, TableSplit] = {}
    fingerprints: dict[str, str] = {}
    texts: dict[str, Table] = {}
    for split, table in tables.items():
        for column in table.column_names:
            sql_type(table.schema.field(column).type, column)
        texts[split] = arrow().table({c: as_text(table.column(c), c) for c in table.column_names})
        hashed = [texts[split].column(c).to_pylist() for c in text_columns(table.column_names, fields)]
        fingerprints[split] = tablesql.rows_fingerprint(tablesql.row_text(row) for row in zip(*hashed, strict=True))
        target = targets[split]
        splits[split] = TableSplit(
            table=(target.database, target.schema, target.name),
            columns={column: named[column] for column in table.column_names},
            order=ROW,
            arrow_schema=write_schema(table.schema),
        )
    source = Tables(
        database=place.database,
        db_schema=place.schema,
        name=name,
        splits=splits,
        ledger=(place.database, place.schema, f"{name}_LEDGER"),
        fingerprints=fingerprints,
        manifest=dataset.manifest,
    )
    ledger = dataset.ledger
    with WriteLock(place, source, {"ledger": fingerprint_table(ledger.table())}, overwrite=overwrite) as lock:
        if lock.found is not None:
            return lock.found
        for split, table in texts.items():
            types = {c: sql_type(tables[split].schema.field(c).type, c) for c in table.column_names}
            _write(place, targets[split], table, splits[split].columns, types)
        write_ledger(place, Name(*source.ledger or ("", "", "")), ledger)
        lock.finish(source)
    return source


def _write(place: SchemaRef, target: Name, texts: Table, columns: Mapping[str, str], types: Mapping[str, str]) -> None:
    pa = arrow()
    numbers = pa.array([str(number) for number in range(texts.num_rows)], pa.string())
    sent = texts.append_column(ROW, numbers)
    wanted = [(quote(columns[column]), types[column]) for column in texts.column_names] + [
        (quote(ROW), "NUMBER(38, 0)")
    ]
    chosen = ", ".join(f"CAST(C{number} AS {kind}) AS {name}" for number, (name, kind) in enumerate(wanted))

    def work(session: Any) -> None:
        with loaded(session, place, sent) as staged:
            # One statement: whoever looks sees the old table or the new one, never a part.
            session.sql(f"CREATE OR REPLACE TABLE {target.sql} AS SELECT {chosen} FROM {staged}").collect()

    place.connection.call(f"writing the table {target.name}", work)


def write_ledger(place: SchemaRef, target: Name, ledger: RowLedger) -> None:
    """Writes a row ledger into a table.

    Raises:
        BackendError: Snowflake refused.
    """
    table = ledger.table()
    texts = arrow().table({column: as_text(table.column(column), column) for column in LedgerRow._fields})
    types = {column: sql_type(table.schema.field(column).type, column) for column in LedgerRow._fields}
    _write(place, target, texts, {column: column.upper() for column in LedgerRow._fields}, types)


class WriteLock:
    """The right to write a dataset's tables: the table of its manifest, made first and filled last.

    Writing again what was interrupted goes on under the same lock; something else under the same name is refused.

    Attributes:
        found: The dataset that is there already, where it is the one to write.
    """

    def __init__(
        self,
        place: SchemaRef,
        source: Tables,
        more: Mapping[str, Any],
        *,
        overwrite: bool,
        reads: Iterable[Name | None] = (),
    ) -> None:
        """Names what is to be written.

        Args:
            place: The schema.
            source: The dataset as it will be; of its manifest all but who wrote it counts.
            more: What else makes it this dataset and not another.
            overwrite: Whether other tables may be replaced.
            reads: The tables that the rows come from.
        """
        self._reads = set(reads)
        content = source.manifest.model_dump(mode="json", exclude=set(NOT_CONTENT))
        self._id = fingerprint({"manifest": content, **more}).removeprefix("sha256:")
        self._place = place
        self._source = source
        self._overwrite = overwrite
        self._table = table_beside(source, "MANIFEST")
        self.found: Tables | None = None

    def __enter__(self) -> WriteLock:
        """Takes the name.

        Raises:
            DataError: Tables are in the way.
        """
        source, place = self._source, self._place
        tables = [name.name for split in source.splits.values() if (name := table_of(split)) is not None]
        there = place.there([self._table.name, *tables, table_beside(source, "LEDGER").name])
        owner = self._owner() if self._table.name in there else None
        # The tables in a cloned schema's manifest mean those of the clone.
        old = self._old(owner[1]) if owner and owner[1] else None
        if owner is not None and owner[0] == self._id and (old is not None or not owner[1]):
            self.found = old
            return self
        if there and not self._overwrite:
            raise DataError(
                f"{place.database}.{place.schema} has the table(s) {', '.join(there)} already. Choose another name, or "
                "replace them with overwrite=True."
            )
        if self._reads & {table_of(split) for split in source.splits.values()}:
            raise DataError(
                f"{source.name}: a dataset cannot replace the tables that it is read from. Choose another name."
            )
        make = "CREATE OR REPLACE TABLE" if self._overwrite else "CREATE TABLE"
        sql = f"{make} {self._table.sql} AS SELECT {literal(self._id)} AS WRITE_ID, CAST(NULL AS VARCHAR) AS DOCUMENT"
        try:
            place.connection.rows("taking the dataset's name", sql, idempotent=True)
        except BackendError as error:
            # Made by a first try whose answer was lost, or by somebody else in this moment.
            if error_number(error) != ALREADY_THERE or (self._owner() or ("", ""))[0] != self._id:
                raise
        # By the names that splits of this dataset have: a manifest that others can write must not name what is removed.
        for name in split_names(place, source.name, list(old.splits if old else ())).values():
            if name.name not in tables:
                place.connection.rows("removing an old split", f"DROP TABLE IF EXISTS {name.sql}")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Lets go of the name. Where writing failed and nothing was there before, nothing remains."""
        if kind is None or self._overwrite:
            return
        with contextlib.suppress(BackendError):  # the first error is the one to tell
            owner = self._owner()
            if owner is None or owner[0] != self._id or owner[1]:
                return
            names = [table_of(split) for split in self._source.splits.values()]
            for name in (*names, table_beside(self._source, "LEDGER"), self._table):
                if name is not None:
                    self._place.connection.rows("removing what was begun", f"DROP TABLE IF EXISTS {name.sql}")

    def finish(self, source: Tables) -> None:
        """Fills in the manifest, after comparing their rows with what was sent.

        Raises:
            DataError: A table has other rows than were written.
        """
        for split in source.splits:
            if account_fingerprint(self._place, split, source) != source.fingerprints[split]:
                raise DataError(
                    f"{described(source.splits[split])}: its rows are not those that were sent. Is somebody else "
                    "writing it?"
                )
        sql = f"UPDATE {self._table.sql} SET DOCUMENT = ? WHERE WRITE_ID = ?"
        document = json.dumps(source.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        self._place.connection.rows("finishing the dataset", sql, document, self._id)

    def _old(self, document: str) -> Tables | None:
        """The dataset that a manifest describes; None for one that cannot be read, where it is replaced anyway."""
        try:
            return moved(read_tables(document), self._place.database, self._place.schema)
        except DataError:
            if not self._overwrite:
                raise
            return None

    def _owner(self) -> tuple[str, str] | None:
        sql = f"SELECT WRITE_ID, DOCUMENT FROM {self._table.sql}"
        rows = self._place.connection.rows("reading a dataset's manifest", sql)
        return (str(rows[0][0]), str(rows[0][1] or "")) if rows else None
