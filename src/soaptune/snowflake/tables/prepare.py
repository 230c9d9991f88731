"""Splitting, de-duplicating and copying in the account: hashes and ids are sorted out here, texts never come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from soaptune.common.arrow import Table, arrow
from soaptune.common.fingerprint import fingerprint, fingerprint_table
from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.ledger import RowLedger
from soaptune.handles.location import Tables, TableSplit
from soaptune.handles.preparation.deduplicate import deduplicate_tables as deduplicate_hashes
from soaptune.handles.preparation.split import Sizes, split_table
from soaptune.handles.writing import fingerprint_splits
from soaptune.snowflake.names import Name, quote
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.snowflake.tables.query import SchemaRef, loaded, strings
from soaptune.snowflake.tables.spec import ACCOUNT_FINGERPRINT, ROW, table_of
from soaptune.snowflake.tables.write import (
    WriteLock,
    account_fingerprint,
    column_names,
    save,
    split_names,
    write_ledger,
)

__all__ = ["deduplicate_tables", "save_dataset", "split_tables"]


def split_tables(dataset: TableDataset, sizes: Sizes, *, seed: int, into: str | None) -> TableDataset:
    """Does what `soaptune.snowflake.tables.dataset.TableDataset.split` says."""
    pooled = arrow().concat_tables(list(_hashes(dataset, dataset.task.input_fields).values()))
    parts, ledger = split_table(pooled, sizes, seed=seed, inputs=["hash"])
    shares: Any = sizes if isinstance(sizes, str) else dict(sizes) if isinstance(sizes, Mapping) else list(sizes)
    return _derive(dataset, parts, ledger, {"step": "split", "sizes": shares, "seed": seed}, into, "SPLIT")


def deduplicate_tables(dataset: TableDataset, *, into: str | None) -> TableDataset:
    """Does what `soaptune.snowflake.tables.dataset.TableDataset.deduplicate` says."""
    kept, ledger = deduplicate_hashes(_hashes(dataset, dataset.task.fields), fields=["hash"])
    return _derive(dataset, kept, ledger, {"step": "deduplicate"}, into, "UNIQUE")


def save_dataset(place: SchemaRef, dataset: Dataset, name: str, *, overwrite: bool) -> TableDataset:
    """Does what `soaptune.snowflake.backend.SnowflakeBackend.save` says."""
    target = place.name(name)
    place = place.at(target)
    if not isinstance(dataset, TableDataset):
        return TableDataset(place, save(place, dataset, target.name, overwrite=overwrite))
    ids = {split: dataset.ids(split) for split in dataset.splits}
    # The same rows: they keep their fingerprint, whoever computed it.
    return _write(place, dataset, target, ids, dataset.ledger, dataset.manifest, overwrite=overwrite)


def _derive(
    dataset: TableDataset,
    parts: Mapping[str, Table],
    ledger: RowLedger,
    how: Mapping[str, Any],
    into: str | None,
    word: str,
) -> TableDataset:
    merged = dataset.ledger.merge(ledger)
    lineage = {**how, "from": {"fingerprint": dataset.fingerprint, "how": dataset.manifest.how}}
    if into is None:
        address = fingerprint({"how": lineage, "ledger": fingerprint_table(merged.table())})
        source = dataset.source
        target = Name(source.database, source.db_schema, f"{source.name}_{word}_{address[7:15].upper()}")
    else:
        target = dataset.place.name(into)
    manifest = DatasetManifest(
        fingerprint="",
        task=dataset.task,
        counts={split: table.num_rows for split, table in parts.items()},
        split_fingerprints={},
        how=lineage,
        synthetic=dataset.manifest.synthetic,
    )
    ids = {split: [str(row) for row in table.column("id").to_pylist()] for split, table in parts.items()}
    return _write(dataset.place.at(target), dataset, target, ids, merged, manifest, overwrite=False)


def _hashes(dataset: TableDataset, fields: Sequence[str]) -> dict[str, Table]:
    """For each split the ids of its rows, a hash of some fields, and one of the group."""
    found: dict[str, Table] = {}
    for split, part in dataset.source.splits.items():
        grouped = "group" in part.columns
        columns = ["id", *fields, *(["group"] if grouped else [])]
        query = tablesql.rows(split, part, fields=dataset.task.fields, columns=columns)
        group = f"SHA2({quote('group')}, 256)" if grouped else "CAST(NULL AS VARCHAR)"
        sql = (
            f"SELECT {quote('id')} AS A, {tablesql.digest(fields)} AS B, {group} AS C FROM ({query}) AS Q "
            f"ORDER BY {quote(ROW)}"
        )
        table = dataset.place.arrow("hashing rows", sql)
        text = arrow().string()
        found[split] = arrow().table(
            {name: table.column(n).cast(text) for n, name in enumerate(("id", "hash", "group"))}
        )
    return found


def _write(
    place: SchemaRef,
    dataset: TableDataset,
    target: Name,
    ids: Mapping[str, list[str]],
    ledger: RowLedger,
    manifest: DatasetManifest,
    *,
    overwrite: bool,
) -> TableDataset:
    parts = dataset.source.splits.values()
    named = column_names(list(dict.fromkeys(c for part in parts for c in ("id", *part.columns))))
    tables = split_names(place, target.name, list(ids))
    alike = len({(tuple(part.columns), part.arrow_schema) for part in parts}) == 1
    # Types are known where all splits had the same ones.
    schema = next(iter(parts)).arrow_schema if alike else ""
    splits = {
        split: TableSplit(
            table=(table.database, table.schema, table.name), columns=named, order=ROW, arrow_schema=schema
        )
        for split, table in tables.items()
    }
    ledger_table = Name(place.database, place.schema, f"{target.name}_LEDGER")
    draft = Tables(
        database=place.database,
        db_schema=place.schema,
        name=target.name,
        splits=splits,
        ledger=(ledger_table.database, ledger_table.schema, ledger_table.name),
        manifest=manifest,
    )
    read = [table_of(part) for part in parts]
    more = {"ledger": fingerprint_table(ledger.table())}
    with WriteLock(place, draft, more, overwrite=overwrite, reads=read) as lock:
        if lock.found is not None:
            return TableDataset(place, lock.found)
        for split, table in tables.items():
            _copy(place, dataset, table, ids[split], named)
        write_ledger(place, ledger_table, ledger)
        fingerprints = {split: account_fingerprint(place, split, draft) for split in splits}
        if not manifest.fingerprint:
            whole = ACCOUNT_FINGERPRINT + fingerprint_splits(fingerprints).removeprefix("sha256:")
            manifest = manifest.replace(fingerprint=whole, split_fingerprints=fingerprints)
        elif fingerprints != dataset.source.fingerprints:
            raise DataError(f"{dataset!r}: its rows were changed after it was opened.")
        done = draft.replace(fingerprints=fingerprints, manifest=manifest)
        lock.finish(done)
    return TableDataset(place, done)


def _copy(place: SchemaRef, dataset: TableDataset, target: Name, ids: list[str], named: Mapping[str, str]) -> None:
    """Writes the rows of some ids into a new table, in their order; they do not leave the account."""
    wanted = strings({"id": ids, "row": [str(number) for number in range(len(ids))]})

    def selects(staged: str) -> Iterator[str]:
        for split, part in dataset.source.splits.items():
            have = {"id", *part.columns}
            chosen = [f"Q.{quote(c)} AS {quote(n)}" if c in have else f"NULL AS {quote(n)}" for c, n in named.items()]
            chosen.append(f"CAST(L.C1 AS NUMBER(38, 0)) AS {quote(ROW)}")
            query = tablesql.rows(split, part, fields=dataset.task.fields)
            yield f"SELECT {', '.join(chosen)} FROM ({query}) AS Q JOIN {staged} AS L ON L.C0 = Q.{quote('id')}"

    def work(session: Any) -> None:
        with loaded(session, place, wanted) as staged:
            every = " UNION ALL ".join(selects(staged))
            session.sql(f"CREATE OR REPLACE TABLE {target.sql} AS {every}").collect()

    place.connection.call(f"writing the table {target.name}", work)
