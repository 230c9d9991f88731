"""Reading rows from text: JSON lines, JSON and CSV, with the row and the line of whatever is wrong."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from soaptune.common.json_text import complaint, decode_json, decode_next
from soaptune.errors import DataError
from soaptune.handles.readers.rows import RawRows

__all__ = ["read_csv", "read_json_rows", "read_jsonl"]

_SPACE = re.compile(r"[ \t\n\r]*")
_FIELD_LIMIT = 2**31 - 1  # characters; the csv module's own limit of 131,072 is less than a long transcript


def read_jsonl(path: Path) -> RawRows:
    """Reads a file with one JSON object per line; empty lines are passed over. Broken lines become bad rows."""
    rows = RawRows(str(path))
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1:
                _refuse_utf16(path, line)
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                value: Any = decode_json(line.rstrip(b"\r\n").decode("utf-8"))
            except (ValueError, RecursionError) as error:
                rows.add_bad(complaint(error), line=number)
                continue
            _add_object(rows, value, line=number)
    return rows


def read_json_rows(path: Path) -> RawRows:
    """Reads a JSON file: a list of objects, an object with one such list in it, or JSON lines under this suffix."""
    data = path.read_bytes()
    _refuse_utf16(path, data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text.") from error
    start = _end_of_space(text, 0)
    if text[start : start + 1] == "[":
        return _list_of_objects(path, text, start + 1)
    try:
        value: Any = decode_json(text)
    except (ValueError, RecursionError):
        return read_jsonl(path)
    if isinstance(value, dict):
        inside = cast("dict[str, Any]", value)
        rows = RawRows(str(path))
        only = next(iter(inside.values()), None)
        if len(inside) == 1 and isinstance(only, list):
            for item in cast("list[Any]", only):
                _add_object(rows, item, line=None)
            return rows
        _add_object(rows, inside, line=1)
        return rows
    raise DataError(f"{path}: a list of objects is needed, and this is one {_json_name(value)}.")


def _list_of_objects(path: Path, text: str, position: int) -> RawRows:
    """Reads element by element, so that an error can name the row."""
    rows = RawRows(str(path))
    line, counted = 1, 0
    position = _end_of_space(text, position)
    closed = text[position : position + 1] == "]"
    while not closed:
        line, counted = line + text.count("\n", counted, position), position
        where = f"{path}, row {rows.count + 1} (line {line})"
        try:
            value, position = decode_next(text, position)
        except json.JSONDecodeError as error:
            at = f"{path}, row {rows.count + 1} (line {error.lineno}, column {error.colno})"
            raise DataError(f"{at}: not valid JSON: {re.sub(r':.*', '', error.msg)}.") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: {complaint(error)}.") from error
        _add_object(rows, value, line=line)
        position = _end_of_space(text, position)
        mark = text[position : position + 1]
        closed = mark == "]"
        if mark not in (",", "]"):
            what = "the file ends in the middle of the list" if not mark else "a comma or ']' is missing"
            raise DataError(f"{path}, after row {rows.count}: not valid JSON: {what}.")
        if not closed:
            position = _end_of_space(text, position + 1)
    if _end_of_space(text, position + 1) != len(text):
        raise DataError(f"{path}, after row {rows.count}: there is more text after the list.")
    return rows


def _end_of_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _add_object(rows: RawRows, value: Any, *, line: int | None) -> None:
    if isinstance(value, dict):
        rows.add(cast("dict[str, Any]", value), line=line)
    else:
        rows.add_bad(f"one {_json_name(value)} where an object is needed", line=line)


def _json_name(value: object) -> str:
    names: Mapping[type, str] = {list: "list", str: "string", bool: "boolean", type(None): "null", dict: "object"}
    return names.get(type(value), "number")


def _refuse_utf16(path: Path, data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16 text; save it as UTF-8.")


def read_csv(path: Path) -> RawRows:
    """Reads a CSV file with a header line (``.tsv``: tabs between the fields). Empty lines are passed over.

    Rows with a wrong number of fields become bad rows. Where quotes are broken nobody can say where the next row
    begins, so that is an error of the file.
    """
    rows = RawRows(str(path), typed=False)
    with path.open("rb") as stream, _wide_fields():
        reader = csv.reader(
            _lines(path, stream, rows), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True
        )
        header: list[str] | None = None
        first_line = 1
        try:
            for fields in reader:
                line, first_line = first_line, reader.line_num + 1
                if not fields:
                    continue
                if header is None:
                    header = _header(path, fields)
                    rows.columns = dict.fromkeys(header)
                elif len(fields) == len(header):
                    rows.add(dict(zip(header, fields, strict=True)), line=line)
                else:
                    rows.add_bad(f"{len(fields)} field(s) where the header has {len(header)}", line=line)
        except csv.Error as error:
            where = f"row {rows.count + 1} (from line {first_line})" if header else "the header"
            raise DataError(f"{path}, {where}: not valid CSV: {error}. Is a quote unbalanced?") from error
    return rows


def _lines(path: Path, stream: Any, rows: RawRows) -> Iterator[str]:
    for number, line in enumerate(cast("Iterator[bytes]", stream), start=1):
        if number == 1:
            _refuse_utf16(path, line)
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in line:
            raise DataError(f"{path}, row {rows.count + 1} (line {number}): it holds NUL bytes; this is not CSV text.")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, row {rows.count + 1} (line {number}): not UTF-8 text.") from error


def _header(path: Path, fields: list[str]) -> list[str]:
    names = [name.strip() for name in fields]
    # What pandas writes as an index has no name.
    names = [name or f"unnamed_{position}" for position, name in enumerate(names, start=1)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the header has the column {twice[0]!r} twice.")
    if len(names) == 1 and ";" in names[0]:
        raise DataError(f"{path}: the header's only column holds semicolons; separate the fields with commas.")
    return names


@contextmanager
def _wide_fields() -> Generator[None, None, None]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)
