"""Files that are either there in full or not there at all.

Everything that soaptune leaves on disk goes through this module. A file is written beside its place and moved there
once it is complete; a folder is finished when it holds a ``manifest.json``, which is always moved in last.

What is written holds text from people's records, so it is for its owner alone, whatever the umask: folders get mode
0700 and files 0600 as they are made, and not only afterwards. Folders that are there already keep their mode. An
export, which is made to be handed on, is the one exception: it follows the umask.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any

from soaptune.common.json_text import LARGEST_DOCUMENT, parse_json, parse_object
from soaptune.errors import DataError

__all__ = [
    "MANIFEST",
    "atomic_dir",
    "cache_folder",
    "copy_folder",
    "parse_json",
    "private_folder",
    "read_json",
    "read_limited",
    "read_object",
    "write_bytes",
    "write_json",
    "write_text",
]

MANIFEST = "manifest.json"
"""The file that makes a folder a finished one."""

_OWN_FOLDER, _OWN_FILE = 0o700, 0o600


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")


def _own_file(path: str, flags: int) -> int:
    return os.open(path, flags, _OWN_FILE)


def _sync(path: Path) -> None:
    """Asks the system to put a file or folder on disk; file systems that cannot do it for folders are left alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def private_folder(path: str | Path) -> Path:
    """Makes a folder, and those above it that are missing, for their owner alone.

    Args:
        path: The folder; one that is there already is left as it is.

    Returns:
        The folder.
    """
    folder = Path(path)
    # `mkdir(parents=True)` gives its mode to the last folder only.
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=_OWN_FOLDER, exist_ok=True)
    if not missing:
        folder.mkdir(exist_ok=True)  # says so where it is a file
    return folder


def copy_folder(source: str | Path, target: str | Path) -> Path:
    """Copies a folder for its owner alone, whatever the modes in the source. Links are followed.

    Args:
        source: The folder.
        target: Where to; made when it is not there. Files of the same name are replaced.

    Returns:
        The target.
    """
    folder = private_folder(target)
    for entry in sorted(Path(source).iterdir()):
        place = folder / entry.name
        if entry.is_dir():
            copy_folder(entry, place)
        else:
            place.touch(mode=_OWN_FILE)  # before there is anything in it
            shutil.copyfile(entry, place)
    return folder


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a file so that no reader ever sees a part of it. Missing parent folders are made.

    Args:
        path: Where to write; an existing file is replaced.
        data: The whole content.
    """
    target = Path(path)
    private_folder(target.parent)
    temporary = _beside(target)
    try:
        with open(temporary, "xb", opener=_own_file) as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(target.parent)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file as UTF-8, as `write_bytes` does.

    Raises:
        DataError: The text holds a lone surrogate and cannot be written as UTF-8.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: the text cannot be written as UTF-8 (character {error.start}).") from error
    write_bytes(path, data)


def write_json(path: str | Path, obj: Any) -> None:
    """Writes an object as indented JSON, as `write_bytes` does.

    Args:
        path: Where to write; an existing file is replaced.
        obj: Anything that the `json` module can write.

    Raises:
        DataError: The object holds NaN or an infinity, which JSON does not know.
    """
    try:
        text = json.dumps(obj, ensure_ascii=False, indent=2, allow_nan=False)
    except ValueError as error:
        raise DataError(f"{path}: the object cannot be written as JSON: {error}.") from error
    write_text(path, text + "\n")


def read_limited(path: str | Path, *, limit: int = LARGEST_DOCUMENT) -> bytes:
    """Reads a file that is expected to be small.

    Args:
        path: The file.
        limit: Bytes that it may have.

    Raises:
        DataError: It is no plain file (a pipe would never end), or larger.
        OSError: It is missing or cannot be read.
    """
    file = Path(path)
    # Looked at before it is opened: opening a named pipe waits for its writer.
    if not stat.S_ISREG(file.stat().st_mode):
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        raise DataError(f"{file} is no plain file.")
    with file.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise DataError(f"{file} is too large for what it should be: more than {limit:,} bytes.")
    return data


def read_json(path: str | Path, *, limit: int = LARGEST_DOCUMENT) -> Any:
    """Reads a JSON file.

    Args:
        path: The file.
        limit: Bytes that it may have.

    Raises:
        DataError: The file is missing, cannot be read or is too large, is not UTF-8, or is not JSON.
    """
    return parse_json(_content(path, limit), where=str(path))


def read_object(path: str | Path, *, limit: int = LARGEST_DOCUMENT) -> dict[str, Any]:
    """Reads a JSON file that holds an object; arguments and errors are those of `read_json`.

    Raises:
        DataError: It holds something else.
    """
    return parse_object(_content(path, limit), where=str(path))


def _content(path: str | Path, limit: int) -> bytes:
    try:
        return read_limited(path, limit=limit)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def cache_folder() -> Path:
    """The folder for what can be had again: ``~/.cache/soaptune``, or below ``XDG_CACHE_HOME``. It is not made here."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soaptune"


@contextlib.contextmanager
def atomic_dir(path: str | Path, *, shared: bool = False) -> Generator[Path, None, None]:
    """A folder that appears under its name only when it is complete.

    Yields a new, empty folder beside ``path``. When the block ends well, the folder becomes ``path``; when ``path``
    is a folder that is already there (a job's ``output/``), the entries are moved into it one by one,
    ``manifest.json`` last. When the block raises, nothing of it remains.

    Args:
        path: The folder to make. Missing parent folders are made.
        shared: Whether it is made for others too, so that the modes of its files are those that the umask gives.

    Yields:
        The folder to write into.

    Raises:
        DataError: ``path`` is a file, or a finished folder (one with a ``manifest.json``), which is never changed.
    """
    target = Path(path).absolute()
    _refuse_finished(target)
    if shared:
        target.parent.mkdir(parents=True, exist_ok=True)
    private_folder(target.parent)
    temporary = _beside(target)
    # Nobody else gets into it while it is being filled, whatever the modes of what lies in it.
    temporary.mkdir(mode=_OWN_FOLDER)
    mask = _umask() if shared else 0o077
    try:
        yield temporary
        for entry in sorted(temporary.rglob("*")):
            if not entry.is_symlink():
                _set_mode(entry, (0o777 if entry.is_dir() else 0o666) & ~mask)
                _sync(entry)
        _refuse_finished(target)
        if target.exists():
            _move_entries(temporary, target)
        else:
            _set_mode(temporary, 0o777 & ~mask)
            temporary.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _set_mode(entry: Path, mode: int) -> None:
    if stat.S_IMODE(entry.stat().st_mode) != mode:
        with contextlib.suppress(OSError):  # a file system without modes, such as a mounted stage
            entry.chmod(mode)


def _umask() -> int:
    """The process's umask. It can only be read by setting it, so a program with threads reads it from the system."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o077)  # macOS: a file that another thread makes in this moment is private
    os.umask(mask)
    return mask


def _refuse_finished(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file; a folder is to be written there.")
    if (target / MANIFEST).exists():
        raise DataError(f"{target} already holds a finished result ({MANIFEST}). Choose another folder or remove it.")


def _move_entries(source: Path, target: Path) -> None:
    # The manifest says that the folder is finished, so everything it names must be there before it is.
    for entry in sorted(source.iterdir(), key=lambda e: (e.name == MANIFEST, e.name)):
        place = target / entry.name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        entry.replace(place)
