"""How a dataset folder is written: columns brought into form, checked, fingerprinted, and moved into place."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soaptune.common.arrow import Table, arrow, compute, parquet
from soaptune.common.columnar import batches_of, schema_of
from soaptune.common.files import MANIFEST, atomic_dir, write_json
from soaptune.common.fingerprint import TableHasher, fingerprint, fingerprint_table
from soaptune.common.versions import installed_versions
from soaptune.common.wording import did_you_mean
from soaptune.errors import DataError
from soaptune.handles.dataset_manifest import FORMAT_VERSION, NOT_CONTENT, DatasetManifest, check_split_name
from soaptune.handles.ledger import RowLedger
from soaptune.tasks.fact import Fact, facts_type
from soaptune.tasks.spec import HasSpec, TaskSpec, as_spec

__all__ = ["DEFAULT_STORE", "STORED", "fingerprint_file", "fingerprint_splits", "in_form", "write_dataset"]

DEFAULT_STORE = Path("runs") / "data"
"""Where datasets go whose folder the caller did not choose, relative to the working directory."""

STORED = {b"soaptune": b"stored"}
"""The mark of a dataset's Parquet files, in which outputs that are no strings are JSON text."""


def write_dataset(
    path: str | Path | None,
    splits: Mapping[str, Table],
    *,
    task: TaskSpec | HasSpec,
    how: Mapping[str, Any],
    ledger: RowLedger | None,
    plan_fingerprint: str = "",
    synthetic: bool,
) -> Path:
    """Does what `soaptune.handles.dataset.Dataset.write` says and returns the folder."""
    spec = as_spec(task)
    tables = {split: in_form(table, spec, split=split) for split, table in splits.items()}
    _check_splits(tables)
    ledger = ledger if ledger is not None else _all_kept(tables)
    used = ledger.in_use()
    for split in {**dict.fromkeys(tables), **dict.fromkeys(used)}:
        rows = tables[split].num_rows if split in tables else 0
        if used.get(split, 0) != rows:
            raise DataError(
                f"The row ledger does not reconcile: it has {used.get(split, 0)} row(s) in use in the split "
                f"{split!r}, which has {rows}."
            )
    ledger.reconcile(len(ledger))
    fingerprints = {split: fingerprint_table(table) for split, table in tables.items()}
    manifest = DatasetManifest(
        format_version=FORMAT_VERSION,
        fingerprint=fingerprint_splits(fingerprints),
        task=spec,
        counts={split: table.num_rows for split, table in tables.items()},
        split_fingerprints=fingerprints,
        how=dict(how),
        synthetic=synthetic,
        plan_fingerprint=plan_fingerprint,
        created_with=_versions(),
    )
    if path is not None:
        return _write_folder(Path(path), tables, manifest, ledger)
    return _write_once(tables, manifest, ledger)


def in_form(table: Table, spec: TaskSpec, *, split: str) -> Table:
    """A split with its columns in order and of the types that a dataset has.

    Args:
        table: A `pyarrow.Table`.
        spec: The task.
        split: The split's name, for messages.

    Returns:
        ``id``, input fields, output fields (string), ``facts``, ``group`` (where given), then the other columns.

    Raises:
        DataError: A column is missing, stands twice, has a wrong type, or lacks a value.
    """
    pa, pc = arrow(), compute()
    names: list[str] = list(table.column_names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"The split {split!r} has the column {twice[0]!r} twice.")
    for name in ("id", *spec.fields):
        if name not in names:
            raise DataError(f"The split {split!r} lacks the column {name!r}{did_you_mean(name, names)}.")
    text = ["id", *spec.fields]
    special = [name for name in ("facts", "group") if name in names]
    columns: dict[str, Any] = {}
    for name in (*text, *special, *(n for n in names if n not in text and n not in special)):
        column = table.column(name)
        if name == "facts":
            _check_facts(column.type, split)
        wanted = facts_type() if name == "facts" else pa.string() if name in text or name == "group" else None
        if wanted is None:
            # A column of nothing but nulls has no type of its own; strings are what most readers make of it.
            wanted = pa.string() if pa.types.is_null(column.type) else column.type
        columns[name] = column if column.type == wanted else _cast(column, wanted, f"split {split!r}, column {name!r}")
        if name in text and column.null_count:
            first = pc.index(column.is_null(), True).as_py() + 1
            raise DataError(f"The split {split!r} has no value in row {first}, column {name!r}.")
    return pa.table(columns)


def _check_facts(kind: Any, split: str) -> None:
    """Arrow's cast would leave out members that it does not know, and make nulls of those that are missing."""
    pa = arrow()
    fits = pa.types.is_null(kind) or (
        (pa.types.is_list(kind) or pa.types.is_large_list(kind))
        and pa.types.is_struct(kind.value_type)
        and {"field", "kind", "value"} <= {f.name for f in kind.value_type} <= set(Fact.model_fields)
    )
    if not fits:
        raise DataError(
            f"Split {split!r}, column 'facts': it is not a list of structs with field, kind, value and, where known, "
            "start, end and source."
        )


def _cast(column: Any, wanted: Any, where: str) -> Any:
    pa = arrow()
    strings = pa.types.is_string(wanted)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    plain = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if strings and not plain and not pa.types.is_null(kind):
        raise DataError(f"{where[0].upper()}{where[1:]}: it holds {kind}, where strings are needed.")
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(f"{where[0].upper()}{where[1:]}: it holds {kind}, where {wanted} is needed.") from error


def _check_splits(tables: Mapping[str, Table]) -> None:
    if not tables:
        raise DataError("A dataset needs at least one split.")
    pa, pc = arrow(), compute()
    for split in tables:
        check_split_name(split)
    ids = pa.chunked_array([chunk for table in tables.values() for chunk in table.column("id").chunks], pa.string())
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    seen: dict[str, tuple[str, int]] = {}
    for split, table in tables.items():
        for row, id in enumerate(table.column("id").to_pylist(), start=1):
            if id in seen:
                raise DataError(f"The id of {split} row {row} is also that of {seen[id][0]} row {seen[id][1]}.")
            seen[id] = (split, row)


def _all_kept(tables: Mapping[str, Table]) -> RowLedger:
    ledger = RowLedger()
    for split, table in tables.items():
        ledger.extend(table.column("id").to_pylist(), split=split, fate="kept", step="write")
    return ledger


def fingerprint_splits(prints: Mapping[str, str]) -> str:
    """The fingerprint of a dataset from those of its splits."""
    return fingerprint({"splits": dict(prints)})


def fingerprint_file(path: Path) -> str:
    """The fingerprint of the rows of a Parquet file, read piece by piece.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        hasher = TableHasher(schema_of(path))
        for piece in batches_of(path):
            hasher.update(piece)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read; it was changed or cut off after it was written.") from error
    return hasher.digest()


def _versions() -> dict[str, str]:
    # "unknown" where soaptune runs from a source tree that is not installed.
    unknown = dict.fromkeys(("soaptune", "pyarrow"), "unknown")
    return {"python": platform.python_version(), **unknown, **installed_versions(*unknown)}


def _write_folder(path: Path, tables: Mapping[str, Table], manifest: DatasetManifest, ledger: RowLedger) -> Path:
    with atomic_dir(path) as folder:
        for split, table in tables.items():
            marked = table.replace_schema_metadata({**(table.schema.metadata or {}), **STORED})
            try:
                parquet().write_table(marked, folder / f"{split}.parquet", compression="zstd", row_group_size=32_768)
            except (ValueError, NotImplementedError) as error:
                raise DataError(f"A column of the split {split!r} has a type that Parquet cannot hold.") from error
        ledger.write(folder / "ledger.parquet")
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return path


def _write_once(tables: Mapping[str, Table], manifest: DatasetManifest, ledger: RowLedger) -> Path:
    content = manifest.model_dump(mode="json", exclude=set(NOT_CONTENT))
    address = fingerprint({"manifest": content, "ledger": fingerprint_table(ledger.table())})
    path = DEFAULT_STORE / address.removeprefix("sha256:")[:16]
    if (path / MANIFEST).is_file():
        return path
    try:
        return _write_folder(path, tables, manifest, ledger)
    except DataError:
        if (path / MANIFEST).is_file():  # another process wrote the same content at the same time
            return path
        raise
