"""Datasets found in an account: tables that we wrote, the user's own, queries, and versions of Snowflake Datasets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from soaptune.common.fingerprint import fingerprint_table
from soaptune.common.wording import did_you_mean
from soaptune.errors import DataError
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.location import Tables, TableSplit
from soaptune.handles.readers.rows import wanted_columns
from soaptune.handles.readers.values import MISSING, output_check
from soaptune.handles.writing import fingerprint_splits, in_form
from soaptune.snowflake.names import Name, literal, quote
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.snowflake.tables.query import SchemaRef
from soaptune.snowflake.tables.source import find_source, match_columns, names_of
from soaptune.snowflake.tables.spec import ACCOUNT_FINGERPRINT, described, moved, read_tables, table_of
from soaptune.snowflake.tables.write import account_fingerprint
from soaptune.tasks.spec import HasSpec, TaskSpec, as_spec

__all__ = ["Loading", "load_dataset", "open_dataset"]

_SPLITS = ("train", "validation", "test")


def open_dataset(place: SchemaRef, name: str, *, task: TaskSpec | HasSpec | None = None) -> TableDataset:
    """Opens the dataset of a name: one that soaptune wrote, or the user's tables ``<NAME>_TRAIN`` and so on.

    Args:
        place: The schema, where the name has none.
        name: The name that the tables begin with, as a person writes it, or that of a single table.
        task: The task; needed for tables that soaptune did not write.

    Raises:
        DataError: There are no such tables, they lack a column, or are being written.
        BackendError: Snowflake refused.
    """
    found = place.name(name)
    place = place.at(found)
    names = {split: f"{found.name}_{split.upper()}" for split in _SPLITS}
    manifest = f"{found.name}_MANIFEST"
    there = place.there([manifest, *names.values(), found.name])
    if manifest in there:
        return TableDataset(place, _written(place, found, found.beside(manifest), task))
    tables = {split: found.beside(table).sql for split, table in names.items() if table in there}
    if not tables and found.name in there:
        tables = {"train": found.sql}
    if not tables:
        raise DataError(
            f"{found.database}.{found.schema} has no dataset {found.name}: neither {', '.join(names.values())} nor a "
            "table of that name is there, or your role may not see them."
        )
    if task is None:
        raise DataError(f"The tables of {found.name} do not say which task they are for: pass task=.")
    return load_dataset(place, tables, Loading(task=task, columns={}, name=found.name))


def _written(place: SchemaRef, name: Name, table: Name, task: TaskSpec | HasSpec | None) -> Tables:
    rows = place.connection.rows("reading a dataset's manifest", f"SELECT DOCUMENT FROM {table.sql}")
    if not rows or not rows[0][0]:
        raise DataError(
            f"The dataset {name} is not finished: somebody is writing it now, or writing it was interrupted. Write it "
            "again; overwrite=True replaces what another dataset has left."
        )
    source = moved(read_tables(str(rows[0][0])), name.database, name.schema)
    if task is None:
        return source
    spec = as_spec(task)
    for split, part in source.splits.items():
        for field in spec.fields:
            if field not in part.columns:
                raise DataError(
                    f"The split {split!r} lacks the column {field!r}{did_you_mean(field, list(part.columns))}."
                )
    return source.replace(manifest=source.manifest.replace(task=spec))


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How rows in the account become a dataset: the options of `soaptune.snowflake.tables.store.TableStore`."""

    task: TaskSpec | HasSpec
    columns: Mapping[str, str]
    name: str = ""
    on_bad_row: Literal["error", "ledger"] = "error"
    allow_empty: Collection[str] = ()
    synthetic: bool = False
    fingerprint: Literal["account", "rows"] = "account"


def load_dataset(place: SchemaRef, sources: Mapping[str, str], how: Loading) -> TableDataset:
    """Makes a handle to rows in the account. They are checked, counted and hashed by SQL; none is read here.

    Args:
        place: The schema, where a name has none.
        sources: The table, query or version of a Dataset of each split. A version is files, and is copied into a table
            once.
        how: The options.

    Raises:
        DataError: A column is missing, rows lack a field, or an id stands twice.
        BackendError: Snowflake refused.
    """
    spec = as_spec(how.task)
    wanted_columns(spec, how.columns, allow_empty=how.allow_empty, make_ids=False)
    if not sources:
        raise DataError("The mapping from splits to tables is empty.")
    parts = _ids(place, _matched(place, sources, spec, how), spec)
    parts = _checked(place, parts, spec, how)
    tables = [table_of(part) for part in parts.values()]
    first = next((table for table in tables if table is not None), None)
    lineage: dict[str, Any] = {"step": "load", "tables": {one: described(part) for one, part in parts.items()}}
    if how.columns:
        lineage["columns"] = dict(how.columns)
    draft = Tables(
        database=place.database,
        db_schema=place.schema,
        name=how.name or (first.name if first else "SOAPTUNE"),
        splits=parts,
        manifest=DatasetManifest(
            fingerprint="", task=spec, counts={}, split_fingerprints={}, how=lineage, synthetic=how.synthetic
        ),
    )
    return TableDataset(place, _measured(place, draft, exact=how.fingerprint == "rows"))


def _matched(place: SchemaRef, sources: Mapping[str, str], spec: TaskSpec, how: Loading) -> dict[str, TableSplit]:
    """Finds the columns of each split."""
    absent = _absent(spec, how.allow_empty)
    may_lack = [field for field in absent if field in how.allow_empty or spec.has_default(field)]
    parts: dict[str, TableSplit] = {}
    for one, text in sources.items():
        part = find_source(place, text)
        matched = match_columns(names_of(place, part), part, spec.fields, how.columns, may_lack=may_lack)
        parts[one] = part.replace(columns=matched, values=_values(spec), absent=absent)
    return parts


def _checked(place: SchemaRef, parts: Mapping[str, TableSplit], spec: TaskSpec, how: Loading) -> dict[str, TableSplit]:
    """Has rows that lack a field left out, or refuses them."""
    bad = {one: _lacking(place, one, part, spec) for one, part in parts.items()}
    for one, fields in bad.items():
        if fields and how.on_bad_row == "error":
            counted = ", ".join(f"{field} in {count:,}" for field, count in fields.items())
            raise DataError(
                f"The split {one!r} has rows without a value: {counted}. Leave them out with on_bad_row='ledger', or "
                f"allow it with allow_empty={sorted(fields)!r}."
            )
    return {one: part.replace(complete=True) if bad[one] else part for one, part in parts.items()}


def _values(spec: TaskSpec) -> tuple[str, ...]:
    return tuple(field for field in spec.output_fields if spec.may_be_text(field) and not spec.is_text(field))


def _absent(spec: TaskSpec, allowed: Collection[str]) -> dict[str, str]:
    """What stands for nothing, as in a file: a field's default, null, or what is empty where a field may be empty."""
    found = {field: "" for field in spec.input_fields if field in allowed}
    for field in spec.output_fields:
        if field in allowed or spec.has_default(field) or "null" in spec.types(field):
            stored, problem = output_check(field, spec, may_be_empty=True, form="columns")(MISSING)
            if problem:
                raise DataError(f"allow_empty={[field]!r}: {problem}.")
            found[field] = stored
    return found


def _ids(place: SchemaRef, parts: Mapping[str, TableSplit], spec: TaskSpec) -> dict[str, TableSplit]:
    """Decides where ids come from: they name a row of the whole dataset."""
    made = {one: part.replace(made_ids="id" not in part.columns) for one, part in parts.items()}
    selects: list[str] = []
    for one, part in made.items():
        query = tablesql.rows(one, part, fields=spec.fields, columns=["id"])
        selects.append(f"SELECT {literal(one)} AS S, {quote('id')} AS I FROM ({query}) AS Q")
    sql = (
        "SELECT COUNT(*), COUNT(I), COUNT(DISTINCT I), COUNT(DISTINCT S || ':' || I) "
        f"FROM ({' UNION ALL '.join(selects)}) AS A"
    )
    total, named, distinct, by_split = (int(n) for n in place.connection.rows("looking at ids", sql)[0])
    if named < total:
        raise DataError(f"{total - named:,} row(s) have no id; name another column with columns={{'id': '...'}}.")
    if by_split < total:
        raise DataError(
            f"{total - by_split:,} row(s) have the id of another row of their split; name another column with "
            "columns={'id': '...'}."
        )
    if distinct < total:
        return {one: part if part.made_ids else part.replace(prefixed_ids=True) for one, part in made.items()}
    return made


def _lacking(place: SchemaRef, split: str, part: TableSplit, spec: TaskSpec) -> dict[str, int]:
    """How many rows lack each field that nothing stands for."""
    fields = [field for field in spec.fields if field not in part.absent]
    if not fields:
        return {}
    counts = ", ".join(
        f"SUM(CASE WHEN TRIM({tablesql.text(part.columns[field])}) <> '' THEN 0 ELSE 1 END)" for field in fields
    )
    (row,) = place.connection.rows(
        f"looking for empty fields in {split}", f"SELECT {counts} FROM {tablesql.relation(part)} AS {quote('T')}"
    )
    return {field: int(count) for field, count in zip(fields, row, strict=True) if count}


def _measured(place: SchemaRef, draft: Tables, *, exact: bool) -> Tables:
    """The source with counts and fingerprints."""
    counts: dict[str, int] = {}
    for split, part in draft.splits.items():
        query = tablesql.rows(split, part, fields=draft.manifest.task.fields, columns=["id"])
        counts[split] = int(place.connection.rows("counting rows", f"SELECT COUNT(*) FROM ({query}) AS Q")[0][0])
    fingerprints = {split: account_fingerprint(place, split, draft) for split in draft.splits}
    if exact:
        handle = TableDataset(place, draft)
        task = draft.manifest.task
        found = {s: fingerprint_table(in_form(handle.table(s), task, split=s)) for s in draft.splits}
        whole = fingerprint_splits(found)
    else:
        found = fingerprints
        whole = ACCOUNT_FINGERPRINT + fingerprint_splits(fingerprints).removeprefix("sha256:")
    manifest = draft.manifest.replace(counts=counts, split_fingerprints=found, fingerprint=whole)
    return draft.replace(fingerprints=fingerprints, manifest=manifest)
