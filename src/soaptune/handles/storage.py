"""`Files`: what a job or a handle has written, the same in a folder of this machine and on a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from soaptune.common.files import copy_folder, read_limited
from soaptune.common.inside import files_inside, inside
from soaptune.errors import DataError

__all__ = ["Files", "FolderFiles"]


class Files(ABC):
    """Files below one folder, read by their path relative to it."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the folder lies, for a person."""

    @abstractmethod
    def names(self) -> list[str]:
        """The paths of all files below the folder, sorted; none when the folder is not there."""

    @abstractmethod
    def read_bytes(self, name: str, *, limit: int | None = None) -> bytes | None:
        """Reads a file; None when it is not there.

        Args:
            name: Its path below the folder.
            limit: Bytes that it may have; any number when None.

        Raises:
            DataError: It is larger.
        """

    @abstractmethod
    def get(self, target: str | Path) -> object:
        """Copies all files into a folder of this machine.

        Args:
            target: The folder; made when it is not there.
        """

    def read_text(self, name: str) -> str | None:
        """Reads a file as UTF-8; None when it is not there.

        Args:
            name: Its path below the folder.

        Raises:
            DataError: It is no text.
        """
        data = self.read_bytes(name)
        try:
            return None if data is None else data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.location}/{name} is not UTF-8 text") from error


class FolderFiles(Files):
    """Files in a folder of this machine."""

    def __init__(self, folder: str | Path) -> None:
        """Names the folder.

        Args:
            folder: The folder; it may not be there yet.
        """
        self._folder = Path(folder)

    @property
    def location(self) -> str:
        """The folder's path."""
        return str(self._folder)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder

    def names(self) -> list[str]:
        """See `Files.names`."""
        return sorted(file.relative_to(self._folder).as_posix() for file in files_inside(self._folder))

    def read_bytes(self, name: str, *, limit: int | None = None) -> bytes | None:
        """See `Files.read_bytes`.

        Raises:
            DataError: The file is there and cannot be read, is larger, or its name or a link leads out of the folder.
        """
        file = inside(self._folder, name)
        try:
            return file.read_bytes() if limit is None else read_limited(file, limit=limit)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}") from error

    def get(self, target: str | Path) -> object:
        """See `Files.get`."""
        for _ in files_inside(self._folder):
            """Each is looked at before any is copied: a link would be followed."""
        return copy_folder(self._folder, target)

    def __repr__(self) -> str:
        return f"FolderFiles({self.location!r})"
