"""`StageFolder`: files on a stage, below one of its folders. What soaptune puts there and fetches goes through here."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from soaptune.common.files import private_folder
from soaptune.common.inside import relative_name
from soaptune.errors import BackendError, DataError
from soaptune.handles.location import StagePath
from soaptune.handles.storage import Files
from soaptune.snowflake.names import Name, split
from soaptune.snowflake.session import NOT_FOUND, Connection, error_number

__all__ = ["StageFile", "StageFolder", "read_location"]

_GLOB = frozenset("*?[")
_LOCATION = re.compile(r'@("(?:[^"]|"")+"(?:\."(?:[^"]|"")+"){2})/(.+)', re.DOTALL)
_NOT_IN_PATHS = frozenset(["\\", *map(chr, range(32)), "\x7f"])
_MISSING = frozenset({*NOT_FOUND, 253006})
"""Snowflake's and the connector's numbers for a file, or a stage, that is not there."""


def read_location(text: str) -> StagePath:
    """The folder on a stage that a text names.

    Args:
        text: ``@"DB"."SCHEMA"."STAGE"/folder``.

    Raises:
        DataError: It is no such text.
    """
    match = _LOCATION.fullmatch(text)
    if match is None:
        raise DataError(f'{text!r} is not a folder on a stage, written as @"DB"."SCHEMA"."STAGE"/folder')
    database, schema, name = split(match[1])
    return StagePath(stage=(database, schema, name), path=match[2])


@dataclass(frozen=True)
class StageFile:
    """A file on a stage.

    Attributes:
        path: Its path below the folder that was listed.
        size: Its bytes.
        modified: When it was put there; None where Snowflake does not say.
    """

    path: str
    size: int
    modified: datetime | None = None


class StageFolder(Files):
    """A folder of a stage; it exists as soon as there is a file in it."""

    def __init__(self, connection: Connection, stage: Name, *parts: str) -> None:
        """Names the folder.

        Args:
            connection: The way to the account.
            stage: The stage.
            *parts: The folder's path below it.
        """
        self._connection = connection
        self._stage = stage
        self._path = "/".join(_plain(part).strip("/") for part in parts if part.strip("/") not in ("", "."))

    @property
    def location(self) -> str:
        """Where it is, as SQL names it: ``@"DB"."SCHEMA"."STAGE"/folder``."""
        return f"{self._stage.stage}/{self._path}" if self._path else self._stage.stage

    @property
    def place(self) -> StagePath:
        """Where it is, as pure data."""
        return StagePath(stage=(self._stage.database, self._stage.schema, self._stage.name), path=self._path)

    def folder(self, *parts: str) -> StageFolder:
        """A folder below this one.

        Args:
            *parts: Its path.

        Raises:
            DataError: A part leads upwards.
        """
        for part in parts:
            if part:
                relative_name(part.strip("/") or ".", what="the folder on the stage")
        return StageFolder(self._connection, self._stage, self._path, *parts)

    def make_stage(self) -> None:
        """Makes the stage where it is not there.

        Raises:
            BackendError: It cannot be made.
        """
        stage = self._stage.sql
        try:
            self._connection.rows("looking for the stage", "DESCRIBE STAGE IDENTIFIER(?)", stage)
        except BackendError as error:
            if error_number(error) not in NOT_FOUND:
                raise
            self._connection.rows(
                f"creating the stage {stage}",
                f"CREATE STAGE IF NOT EXISTS {stage} ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE') DIRECTORY = (ENABLE = TRUE) "
                "COMMENT = 'Jobs of soaptune'",
            )

    def list(self) -> list[StageFile]:
        """All files below the folder, by path; none when the folder or the stage is not there.

        Raises:
            BackendError: The stage cannot be read.
        """
        try:
            # The slash at the end: without it JOB_1 would list the files of JOB_10 too.
            found = self._connection.call("listing the stage", lambda s: s.file.list(self.location + "/"))
        except BackendError as error:
            if error_number(error) in NOT_FOUND:
                return []
            raise
        files = [self._file(one) for one in found]
        return sorted((file for file in files if file.path), key=lambda file: file.path)

    def names(self) -> list[str]:
        """See `soaptune.handles.storage.Files.names`."""
        return [file.path for file in self.list()]

    def exists(self, name: str) -> bool:
        """Whether a file is there.

        Args:
            name: Its path below the folder.
        """
        parent, _, last = name.rpartition("/")
        return any(file.path == last for file in self.folder(parent).list())

    def read_bytes(self, name: str, *, limit: int | None = None) -> bytes | None:
        """Reads a file; None when it is not there.

        Args:
            name: Its path below the folder.
            limit: Bytes that it may have; any number when None.

        Raises:
            BackendError: The stage cannot be read.
            DataError: The file is larger.
        """
        relative_name(name, what="the file on the stage")
        with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
            file = Path(folder) / PurePosixPath(name).name
            for last in (False, True):
                try:
                    self._get(name, Path(folder))
                except BackendError as error:
                    if error_number(error) not in _MISSING:
                        raise
                # A missing file is an error in some versions of the connector, and none in others.
                if file.is_file():
                    if limit is not None and file.stat().st_size > limit:
                        raise DataError(f"{self.location}/{name} is too large for what it should be.")
                    return file.read_bytes()
                # It may have come in between, or what was reported as missing may be something else.
                if not self.exists(name):
                    return None
                if last:
                    raise BackendError(f"{self.location}/{name} is listed, but cannot be read")
        return None

    def read_text(self, name: str) -> str | None:
        """Reads a file as UTF-8; None when it is not there.

        Args:
            name: Its path below the folder.
        """
        data = self.read_bytes(name)
        return None if data is None else data.decode("utf-8", errors="replace")

    def write(self, name: str, text: str) -> None:
        """Writes a small file; one that is there is replaced.

        Args:
            name: Its path below the folder.
            text: The content.

        Raises:
            BackendError: The stage cannot be written.
        """
        data = text.encode("utf-8")
        target = f"{self.location}/{_plain(name)}"
        self._connection.call(
            f"writing {name} to the stage",
            lambda s: s.file.put_stream(io.BytesIO(data), target, auto_compress=False, overwrite=True),
        )

    def put(self, source: str | Path, *, skip: Iterable[str] = ()) -> None:
        """Uploads the files of a local folder, those in its folders too; files that are there are replaced.

        Args:
            source: The folder.
            skip: Names of files and folders that stay here.

        Raises:
            BackendError: It is no folder, or the stage cannot be written.
        """
        root, left = Path(source).expanduser(), frozenset(skip)
        if not root.is_dir():
            raise BackendError(f"{root} is not a folder on this machine")
        for file in sorted(root.rglob("*")):
            inside = file.relative_to(root)
            if file.is_file() and not left.intersection(inside.parts):
                self.put_file(file, inside)

    def put_file(self, file: Path, inside: PurePath) -> None:
        """Uploads a file of this machine; one that is there is replaced.

        Args:
            file: The file.
            inside: Its path below the folder; the name at its end is that of the file.

        Raises:
            BackendError: The stage cannot be written.
        """
        self._put(file, self.folder(inside.parent.as_posix().removeprefix(".")))

    def get(self, target: str | Path) -> None:
        """Downloads all files into a local folder, under the paths that they have here.

        Args:
            target: The folder; made when it is not there.

        Raises:
            BackendError: The stage cannot be read.
            DataError: A file's name leads out of the folder.
        """
        root = private_folder(target)
        for file in self.list():
            path = relative_name(file.path, what="the file on the stage")
            # The connector writes files for their owner alone by itself.
            place = private_folder(root.joinpath(*path.parent.parts))
            self._get(file.path, place)

    def get_flat(self, target: str | Path) -> None:
        """Downloads all files in one go; they must have different names, and lie in the folder itself.

        Args:
            target: A folder that is there.

        Raises:
            BackendError: The stage cannot be read.
        """
        if self.list():  # of an empty folder nothing can be got
            self._connection.call("reading from the stage", lambda s: s.file.get(self.location + "/", str(target)))

    def copy_from(self, location: str) -> None:
        """Copies files of a stage into this folder, inside the account.

        Args:
            location: A folder on a stage, ``@"DB"."SCHEMA"."STAGE"/folder``.

        Raises:
            BackendError: It cannot be read, or this stage cannot be written.
        """
        source, target = location.rstrip("/") + "/", self.location + "/"
        self._connection.call("copying files between stages", lambda s: s.file.copy_files(source, target))

    def remove(self) -> None:
        """Removes all files below the folder; none there is no error.

        Raises:
            BackendError: The stage cannot be written, or this is the whole of it.
        """
        if not self._path:
            raise BackendError("a whole stage is never emptied: name a folder")
        try:
            self._connection.call("removing files from the stage", lambda s: s.file.remove(self.location + "/"))
        except BackendError as error:
            if error_number(error) not in NOT_FOUND:
                raise

    def remove_file(self, name: str) -> None:
        """Removes a file; none there is no error.

        Args:
            name: Its path below the folder.

        Raises:
            BackendError: The stage cannot be written.
        """
        try:
            location = f"{self.location}/{_plain(name)}"
            self._connection.call(f"removing {name} from the stage", lambda s: s.file.remove(location))
        except BackendError as error:
            if error_number(error) not in NOT_FOUND:
                raise

    def __repr__(self) -> str:
        return f"StageFolder({self.location!r})"

    def _file(self, found: Any) -> StageFile:
        # Snowflake names files with the bare stage before them, in small letters: "soaptune_stage/JOB/app/x.py".
        path = str(found.name).partition("/")[2]
        prefix = f"{self._path}/" if self._path else ""
        path = path.removeprefix(prefix) if path.startswith(prefix) else ""
        return StageFile(path=path, size=int(found.size), modified=_time(found.last_modified))

    def _get(self, name: str, place: Path) -> None:
        location = f"{self.location}/{_plain(name)}"
        self._connection.call("reading from the stage", lambda s: s.file.get(location, str(place)))

    def _put(self, file: Path, folder: StageFolder) -> None:
        what = f"uploading {file.name}"
        if _GLOB.isdisjoint(str(file)):
            self._connection.call(
                what, lambda s: s.file.put(str(file), folder.location, auto_compress=False, overwrite=True)
            )
            return

        target = f"{folder.location}/{_plain(file.name)}"

        def stream(session: Any) -> None:  # PUT would take such a name for a pattern
            with file.open("rb") as source:
                session.file.put_stream(source, target, auto_compress=False, overwrite=True)

        self._connection.call(what, stream)


def _plain(path: str) -> str:
    """A path that a statement can hold; the SDK writes it between quotes, and older ones mistake a backslash.

    Raises:
        DataError: It has a character that could end it there.
    """
    if not _NOT_IN_PATHS.isdisjoint(path):
        raise DataError(f"{path!r} cannot be a path on a stage: it has a backslash or a control character")
    return path


def _time(text: Any) -> datetime | None:
    try:
        found = parsedate_to_datetime(str(text))
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
