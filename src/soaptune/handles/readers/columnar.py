"""Reading rows from columnar files: Parquet, Arrow IPC, and folders that Hugging Face datasets saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from soaptune.common import columnar
from soaptune.common.arrow import Table, arrow
from soaptune.common.files import read_object
from soaptune.common.json_text import typed
from soaptune.common.lazy import optional
from soaptune.errors import DataError
from soaptune.handles.readers.rows import RawRows
from soaptune.handles.writing import STORED

__all__ = ["hugging_face_rows", "read_arrow", "read_parquet", "read_saved", "table_rows"]


def read_parquet(path: Path) -> RawRows:
    """Reads a Parquet file."""
    return table_rows(str(path), lambda: columnar.read_parquet(path), "Parquet")


def read_arrow(path: Path) -> RawRows:
    """Reads an Arrow IPC file or stream."""
    return table_rows(str(path), lambda: columnar.read_ipc(path), "Arrow")


def read_saved(folder: Path, split: str) -> dict[str, RawRows]:
    """Reads a folder that ``save_to_disk`` of Hugging Face datasets made.

    Args:
        folder: The folder.
        split: The split that a single dataset becomes; a dictionary of datasets brings its own.
    """
    _check_saved(folder)
    hugging_face = optional("datasets", extra="train", what="Reading a saved dataset")
    try:
        saved: Any = hugging_face.load_from_disk(str(folder))
    except Exception as error:  # the library lets through whatever its readers raise
        raise DataError(f"{folder} cannot be read as a saved dataset; it is cut off or incomplete.") from error
    parts: dict[str, Any] = {**cast("dict[str, Any]", saved)} if isinstance(saved, dict) else {split: saved}
    if not parts:
        raise DataError(f"{folder} is a saved dataset without splits.")
    return {
        name: hugging_face_rows(f"{folder}/{name}" if isinstance(saved, dict) else str(folder), part)
        for name, part in parts.items()
    }


def _check_saved(folder: Path) -> None:
    """Looks through the files of a saved dataset before its library does, which maps them into memory and trusts them.

    Raises:
        DataError: A file is broken, unfolds to more than is allowed, or lies elsewhere.
    """
    if (folder / "dataset_dict.json").is_file():
        where = f"{folder}/dataset_dict.json"
        splits: list[Any] = typed(read_object(folder / "dataset_dict.json"), "splits", list, where=where)  # pyright: ignore[reportUnknownVariableType]
        for split in splits:
            _check_saved(folder / _plain_name(split, where))
        return
    where = f"{folder}/state.json"
    files: list[Any] = typed(read_object(folder / "state.json"), "_data_files", list, where=where)  # pyright: ignore[reportUnknownVariableType]
    read_object(folder / "dataset_info.json")
    for entry in files:
        name = _plain_name(cast("dict[str, Any]", entry).get("filename") if isinstance(entry, dict) else None, where)
        table_rows(str(folder), lambda name=name: columnar.read_ipc(folder / name), "a saved dataset")


def _plain_name(name: object, where: str) -> str:
    if not isinstance(name, str) or name in ("", ".", "..") or not {"/", "\\", "\0"}.isdisjoint(name):
        raise DataError(f"{where} names a file that is not beside it.")
    return name


def hugging_face_rows(file: str, part: Any) -> RawRows:
    """The rows of a `datasets.Dataset`; class labels become their names.

    Args:
        file: What to call it in messages.
        part: The dataset.
    """
    rows = table_rows(file, lambda: part.with_format("arrow")[:], "a saved dataset")
    if not rows.count:
        raise DataError(f"{file} has no rows.")
    for name, feature in part.features.items():
        if type(feature).__name__ == "ClassLabel" and rows.table is not None:
            labels: list[str] = feature.names
            numbers: list[int | None] = rows.table.column(name).to_pylist()
            words = [labels[n] if n is not None and 0 <= n < len(labels) else None for n in numbers]
            place = rows.table.column_names.index(name)
            rows.table = rows.table.set_column(place, name, arrow().array(words, arrow().string()))
    return rows


def table_rows(file: str, read: Callable[[], Table], form: str) -> RawRows:
    """The rows of a table.

    Args:
        file: What to call it in messages.
        read: Gives the `pyarrow.Table`.
        form: What it is read as, for messages: ``"Parquet"``.

    Raises:
        DataError: It cannot be read, or has two columns of one name.
    """
    try:
        table = read()
    except DataError:
        raise
    except (OSError, ValueError, LookupError, NotImplementedError, TypeError) as error:
        # pyarrow's errors are among these. Its words speak of bytes and offsets, which help nobody here.
        raise DataError(f"{file} cannot be read as {form}; it is cut off, broken or of another format.") from error
    names: list[str] = list(table.column_names)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{file} has the column {twice[0]!r} twice.")
    stored = STORED.items() <= (table.schema.metadata or {}).items()
    return RawRows(file, columns=dict.fromkeys(names), table=table.replace_schema_metadata(None), stored=stored)
