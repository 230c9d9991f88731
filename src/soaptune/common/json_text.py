"""JSON that somebody else may have written: read whole or refused, with the place and never with its text.

Python's own reader takes more than JSON has (NaN, a key twice) and fails in several ways. What is read here is plain
JSON of a bounded size and depth, or a `DataError`. Whatever comes back from a file, a table or a stage is read here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, TypeVar, cast

from soaptune.errors import DataError

__all__ = [
    "LARGEST_DOCUMENT",
    "complaint",
    "decode_json",
    "decode_next",
    "parse_json",
    "parse_lines",
    "parse_object",
    "typed",
]

LARGEST_DOCUMENT = 64_000_000
"""Bytes up to which a file is read as one JSON document. Manifests, records and reports are far smaller; a file that is
read again as a whole (a manifest in the place of weights, say) must not fill the memory."""

_DEEPEST = 100
"""Lists and objects in one another: more than our documents have, less than what the code after it can walk."""

KindT = TypeVar("KindT")


class _NotJsonError(ValueError):
    """JSON that Python would read, but that is not JSON or not clear."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotJsonError("a key stands twice in one object")
    return found


def _constant(name: str) -> Any:
    raise _NotJsonError(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _NotJsonError("a number is too large")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def decode_json(text: str) -> Any:
    """Reads JSON, as a building block: whoever calls it says where the text stands.

    Args:
        text: The JSON.

    Raises:
        ValueError: It is not JSON; `complaint` says why.
        RecursionError: It is nested too deeply.
    """
    value = _DECODER.decode(text)
    _refuse_depth(value, text)
    return value


def decode_next(text: str, position: int) -> tuple[Any, int]:
    """Reads the value that begins at a place; as `decode_json`, for a text that holds several.

    Args:
        text: The text.
        position: Where the value begins.

    Returns:
        The value, and where it ends.

    Raises:
        ValueError: It is not JSON; `complaint` says why.
        RecursionError: It is nested too deeply.
    """
    value, end = _DECODER.raw_decode(text, position)
    _refuse_depth(value, text[position:end])
    return value, end


def complaint(error: Exception) -> str:
    """Why JSON could not be read, without the text.

    Args:
        error: What `decode_json` raised.
    """
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON (column {error.colno}: {re.sub(r':.*', '', error.msg)})"
    if isinstance(error, _NotJsonError):
        return f"not valid JSON ({error})"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "not valid JSON (a number is too long)"


def parse_json(data: bytes | str, *, where: str) -> Any:
    """Reads a JSON document.

    Args:
        data: The content; bytes are UTF-8, with or without a byte order mark.
        where: The file, or what else it is, for messages.

    Raises:
        DataError: It is too large, not UTF-8, or not JSON.
    """
    if len(data) > LARGEST_DOCUMENT:
        raise DataError(f"{where} is too large for a JSON document: {len(data):,} bytes, at most {LARGEST_DOCUMENT:,}.")
    try:
        text = data if isinstance(data, str) else decoded(data, where=where)
        value = decode_json(text)
        _refuse_surrogates(value, text)
        return value
    except DataError:
        raise
    except json.JSONDecodeError as error:
        what = re.sub(r":.*", "", error.msg)
        raise DataError(f"{where}, line {error.lineno}, column {error.colno}: not valid JSON: {what}.") from error
    except RecursionError as error:
        raise DataError(f"{where} is nested too deeply.") from error
    except ValueError as error:
        raise DataError(f"{where}: {complaint(error)}.") from error


def decoded(data: bytes, *, where: str) -> str:
    """A text file's content.

    Args:
        data: The bytes: UTF-8, with or without a byte order mark.
        where: The file, for messages.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text (byte {error.start}).") from error


def parse_object(data: bytes | str, *, where: str) -> dict[str, Any]:
    """Reads a JSON document that is an object; the arguments and errors are those of `parse_json`.

    Raises:
        DataError: It is not a JSON object.
    """
    value = parse_json(data, where=where)
    if not isinstance(value, dict):
        raise DataError(f"{where} is not a JSON object.")
    return cast("dict[str, Any]", value)


def parse_lines(text: str) -> Iterator[dict[str, Any]]:
    """The objects of a growing record, one in a line; a line that is none (cut off, damaged) is passed over.

    Args:
        text: The record.
    """
    for line in text.splitlines():
        try:
            yield parse_object(line, where="the line")
        except DataError:
            continue


def typed(document: dict[str, Any], field: str, kind: type[KindT], *, where: str) -> KindT:
    """The value of a field that must be there.

    Args:
        document: The document.
        field: The field.
        kind: What its value is: ``str``, ``int``, ``dict``.
        where: The file, for messages.

    Raises:
        DataError: The field is missing, or its value is of another type.
    """
    value = document.get(field)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        problem = "missing" if field not in document else f"not of the type {kind.__name__}"
        raise DataError(f"{where}: the field {field!r} is {problem}.")
    return value


def _refuse_depth(value: Any, text: str) -> None:
    if text.count("[") + text.count("{") <= _DEEPEST:
        return
    level = [value]
    for _ in range(_DEEPEST):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper += cast("dict[str, Any]", item).values()
            elif isinstance(item, list):
                deeper += cast("list[Any]", item)
        if not deeper:
            return
        level = deeper
    raise RecursionError


def _refuse_surrogates(value: Any, text: str) -> None:
    if not re.search(r"\\u[dD][89a-fA-F]", text):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _NotJsonError("a text holds half of a surrogate pair") from None
