"""Names of files as a received file has them: used only where they stay inside the folder that they are relative to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from soaptune.errors import DataError

__all__ = ["files_inside", "inside", "relative_name"]


def relative_name(name: str, *, what: str = "the name") -> PurePosixPath:
    """A name from a received file, checked by its form alone: for stages, and for what is not there yet.

    What is a path elsewhere is refused everywhere, since a folder that one system has written is read on another.

    Args:
        name: The name, with ``/`` between its parts; ``"."`` is the folder itself.
        what: What it is the name of, for the message.

    Raises:
        DataError: It is absolute, has a drive letter, a backslash or a NUL character, or leads upwards.
    """
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive
    if not name or leads_out or "\\" in name or "\0" in name:
        raise DataError(
            f"{what} {name!r} leads out of its folder or is no plain path: a relative one is expected, without '..', "
            "drive letter or backslash"
        )
    return path


def inside(folder: Path, name: str, *, what: str = "the name") -> Path:
    """The path of a name from a received file, where it stays inside its folder, symbolic links included.

    Args:
        folder: The folder that the name is relative to; it may be reached through a link itself.
        name: The name.
        what: What it is the name of, for the message.

    Returns:
        The path; nothing need be there.

    Raises:
        DataError: It leads out of the folder, by its form or through a symbolic link.
    """
    path = folder / relative_name(name, what=what)
    _refuse_escape(path, folder)
    return path


def files_inside(folder: Path) -> Iterator[Path]:
    """The files below a folder, in order, none of which is read through a link from outside.

    Args:
        folder: The folder; it may be reached through a link itself.

    Raises:
        DataError: A symbolic link leads out of the folder.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            _refuse_escape(path, folder)
        if path.is_file():
            yield path


def _refuse_escape(path: Path, folder: Path) -> None:
    try:
        stays = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that lead in a circle
        stays = False
    if not stays:
        raise DataError(
            f"{path} is, or lies behind, a symbolic link that leads out of {folder}, which is not followed: put the "
            "file itself there"
        )
