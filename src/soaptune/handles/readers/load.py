"""`Dataset.load`: finds the rows of each split, has them read and checked, and writes the dataset folder."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from soaptune.common import columnar
from soaptune.common.arrow import Table, arrow
from soaptune.common.files import MANIFEST
from soaptune.errors import DataError
from soaptune.handles.ledger import RowLedger
from soaptune.handles.readers.columnar import read_arrow, read_parquet, read_saved
from soaptune.handles.readers.memory import READ, read_memory
from soaptune.handles.readers.nested import reach_into
from soaptune.handles.readers.rows import RawRows, Wanted, wanted_columns, well_formed
from soaptune.handles.readers.text import read_csv, read_json_rows, read_jsonl
from soaptune.handles.writing import write_dataset
from soaptune.tasks.spec import HasSpec, as_spec

__all__ = ["load_dataset"]

_READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json_rows,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".ipc": read_arrow,
}

_LONGEST_NAME = 255
"""Characters in the name of a file, as Linux, macOS and Windows have it."""

_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def load_dataset(
    source: object,
    *,
    task: HasSpec | Any,
    columns: Mapping[str, str],
    split: str,
    into: str | Path | None,
    on_bad_row: Literal["error", "ledger"],
    allow_empty: Collection[str],
    ids: Literal["keep", "make"],
    synthetic: bool,
) -> Path:
    """Does what `soaptune.handles.dataset.Dataset.load` says and returns the folder."""
    spec = as_spec(task)
    if on_bad_row not in ("error", "ledger"):
        raise DataError(f"on_bad_row= is {on_bad_row!r}; there are 'error' and 'ledger'.")
    wanted = wanted_columns(spec, columns, allow_empty=allow_empty, make_ids=ids == "make")
    raw, passed_over = _read_source(source, split)
    ledger = RowLedger()
    tables: dict[str, Table] = {}
    for name, parts in raw.items():
        formed: list[Table] = []
        first, why = 0, ""
        for rows in parts:
            reach_into(rows, wanted.given.values())
            table, dropped = well_formed(rows, wanted, task=task, split=name, bad_rows=on_bad_row, first=first)
            for row, reason in dropped:
                ledger.add(f"{name}#{first + row}", split=name, fate="dropped", reason=reason, step="load")
                why = why or reason
            formed.append(table)
            first += rows.count
        tables[name] = _joined(formed, [rows.file for rows in parts])
        if not tables[name].num_rows:
            raise DataError(f"{parts[0].file}: none of its {first} row(s) can be used. The first: {why}.")
    tables, prefixed = _distinct_ids(tables)
    for name, table in tables.items():
        ledger.extend(table.column("id").to_pylist(), split=name, fate="kept", step="load")
    ledger.reconcile(sum(rows.count for parts in raw.values() for rows in parts))
    how = _how(raw, wanted, passed_over, prefixed)
    return write_dataset(into, tables, task=spec, how=how, ledger=ledger, synthetic=synthetic)


def _joined(tables: list[Table], files: list[str]) -> Table:
    """The rows of the files of one split; ids that stand in several of them are prefixed by their file's name."""
    if len(tables) == 1:
        return tables[0]
    pa: Any = arrow()
    names = [Path(file).stem for file in files]
    prefixes = names if len(set(names)) == len(names) else [str(number) for number in range(1, len(names) + 1)]
    distinct, _ = _distinct_ids(dict(zip(prefixes, tables, strict=True)))
    try:
        return pa.concat_tables(list(distinct.values()), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{files[0]} and the other files of its split have columns of one name and different types, which cannot "
            "be joined. Give them one type, or leave the columns out that the task does not need."
        ) from error


def _how(raw: Mapping[str, list[RawRows]], wanted: Wanted, passed_over: list[str], prefixed: bool) -> dict[str, Any]:
    # Names only: where the files lay on this machine is nobody's business elsewhere.
    files = {split: [Path(rows.file).name for rows in parts] for split, parts in raw.items()}
    how: dict[str, Any] = {
        "step": "load",
        "files": {split: names[0] if len(names) == 1 else names for split, names in files.items()},
    }
    if wanted.given:
        how["columns"] = dict(wanted.given)
    if passed_over:
        how["files_passed_over"] = passed_over
    if prefixed:
        how["ids"] = "prefixed by their split, since some stood in several splits"
    return how


def _distinct_ids(tables: dict[str, Table]) -> tuple[dict[str, Table], bool]:
    """Ids count from 0 in each file of many public datasets; in ours they name a row of the whole dataset."""
    lists = {split: table.column("id").to_pylist() for split, table in tables.items()}
    if len({id for ids in lists.values() for id in ids}) == sum(len(ids) for ids in lists.values()):
        return tables, False
    pa = arrow()
    renamed = {
        split: table.set_column(0, "id", pa.array([f"{split}-{id}" for id in lists[split]], pa.string()))
        for split, table in tables.items()
    }
    return renamed, True


def _read_source(source: object, split: str) -> tuple[dict[str, list[RawRows]], list[str]]:
    """The rows of each split, file by file, and the names of files in a folder that are of no split."""
    if isinstance(source, str | Path):
        parts, passed_over = _read_path(source, split)
        return {name: [rows] for name, rows in parts.items()}, passed_over
    if not isinstance(source, Mapping):
        return {split: _read_one(source, split)}, []
    if not source:
        raise DataError("The mapping from splits to files is empty.")
    given = cast("Mapping[Any, object]", source)
    for name, part in given.items():
        if isinstance(part, str) and Path(part).suffix.lower() not in _READERS and not _is_there(part):
            raise DataError(
                f"The entry {str(name)!r} of the mapping names no file or folder. A mapping goes from splits to their "
                "sources; one row is given as [row]."
            )
    return {str(name): _read_one(part, str(name)) for name, part in given.items()}, []


def _read_one(source: object, split: str) -> list[RawRows]:
    """The rows that become one split."""
    if isinstance(source, str | Path):
        parts, _ = _read_path(source, split)
        if len(parts) != 1:
            raise DataError(f"{source} holds the splits {', '.join(parts)}; as the split {split!r} it must be one.")
        return list(parts.values())
    entries = cast("list[Any]", source) if isinstance(source, list | tuple) else []
    if not any(isinstance(entry, str | Path) for entry in entries):
        return [read_memory(source)]
    for number, entry in enumerate(entries, start=1):
        # A text that is no path may be that of a row: it is not quoted.
        if not isinstance(entry, str | Path) or Path(entry).suffix.lower() not in _READERS:
            raise DataError(
                f"Entry {number} of the list for the split {split!r} names no file that can be read ({_suffixes()}). "
                "Rows are given as a list of dicts."
            )
    return [rows for entry in entries for rows in _read_one(entry, split)]


def _read_path(source: str | Path, split: str) -> tuple[dict[str, RawRows], list[str]]:
    if "://" in str(source):
        raise DataError(f"{source} is not a local path; Dataset.load() reads local files and folders.")
    path = Path(source).expanduser()
    if not _is_there(source):
        # A text that cannot be a path may be that of a row: it is not quoted.
        if "\n" in str(source) or len(path.name) > _LONGEST_NAME:
            raise DataError(f"The text that is given is no path; Dataset.load() reads {READ}.")
        hub = "" if path.suffix.lower() in _READERS else " One of a hub is given as datasets.load_dataset(...) has it."
        raise DataError(f"{path} does not exist.{hub}")
    if path.is_dir():
        return _read_folder(path, split)
    return {split: _read_file(path)}, []


def _is_there(source: str | Path) -> bool:
    try:
        return Path(source).expanduser().exists()
    except (OSError, ValueError):  # too long for a path, or with a character that none has
        return False


def _read_file(path: Path) -> RawRows:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: the suffix {path.suffix!r} says no format that can be read; use {_suffixes()}.")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is no plain file.")
        if status.st_size == 0:
            raise DataError(f"{path} is empty.")
        columnar.within(str(path), size=status.st_size)
        rows = reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or 'the system refused'}.") from error
    if not rows.count:
        raise DataError(f"{path} has no rows.")
    return rows


def _read_folder(folder: Path, split: str) -> tuple[dict[str, RawRows], list[str]]:
    if (folder / MANIFEST).is_file():
        raise DataError(f"{folder} is a soaptune folder already: open it with Dataset.open().")
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return read_saved(folder, split), []
    files = sorted(f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in _READERS)
    found: dict[str, Path] = {}
    for file in files:
        name = _SPLITS.get(file.stem.lower())
        if name is None:
            continue
        if name in found:
            raise DataError(f"{folder}: both {found[name].name} and {file.name} look like the split {name!r}.")
        found[name] = file
    if not found:
        seen = ", ".join(f.name for f in files[:20]) or "none"
        raise DataError(
            f"{folder}: no file is named after a split (train.csv, validation.csv, test.csv). Files that can be read: "
            f'{seen}. Say which is which with Dataset.load({{"train": ..., "validation": ...}}).'
        )
    ordered = {name: found[name] for name in ("train", "validation", "test") if name in found}
    passed_over = [file.name for file in files if file not in found.values()]
    return {name: _read_file(file) for name, file in ordered.items()}, passed_over


def _suffixes() -> str:
    return re.sub(r", (\S+)$", r" or \1", ", ".join(_READERS))
