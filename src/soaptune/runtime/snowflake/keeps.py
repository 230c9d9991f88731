"""The kept folders of a job in an account: copied from the stage before the command starts, and back when it has ended.

A stage takes whole files only, and what is kept may be a database; so the command works on a copy on the node's own
disk. Where a job has several nodes, the first has the copy: it is the one that runs the command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from soaptune.errors import SoaptuneError
from soaptune.handles.location import Location, StagePath
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.names import Name
from soaptune.snowflake.session import Connection

__all__ = ["KeptFolders"]

_Version = tuple[int, int]


class KeptFolders:
    """The kept folders of the job in whose container this process runs."""

    def __init__(self, places: Mapping[str, Location], folder: Path) -> None:
        """Names them.

        Args:
            places: Where each lies, by name, as the job's ``place.json`` has it.
            folder: The folder in which the command finds each by its name.
        """
        self._places = {name: at for name, at in places.items() if isinstance(at, StagePath)}
        self._folder = folder
        self._fetched: dict[str, dict[Path, _Version]] = {}

    def fetch(self) -> None:
        """Copies what earlier jobs have left.

        Raises:
            OSError: The stage cannot be read, so that what is there would be lost.
        """
        for name, stage in self._on_stage().items():
            folder = self._folder / name
            try:
                stage.get(folder)
            except SoaptuneError as error:
                raise OSError(f"its kept folder {name!r} cannot be fetched: {error}") from error
            self._fetched[name] = _versions(folder)

    def store(self) -> list[str]:
        """Copies what the command has changed, and removes what it has removed.

        Returns:
            What could not be stored. It fails no job: a result is worth more than a cache.
        """
        problems: list[str] = []
        for name, stage in self._on_stage().items():
            folder, before = self._folder / name, self._fetched[name]
            try:
                after = _versions(folder)
                for file, version in after.items():
                    if before.get(file) != version:
                        stage.put_file(folder / file, file)
                for file in before.keys() - after.keys():
                    stage.remove_file(file.as_posix())
            except (SoaptuneError, OSError) as error:
                problems.append(f"the kept folder {name!r} could not be stored: {error}")
        return problems

    def _on_stage(self) -> dict[str, StageFolder]:
        # Hours may lie between the two copies: each has a session of its own.
        connection = Connection()
        return {name: StageFolder(connection, Name(*at.stage), at.path) for name, at in self._places.items()}


def _versions(folder: Path) -> dict[Path, _Version]:
    """Size and time of each file below a folder, by its path."""
    files = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]
    known = {file.relative_to(folder): file.stat() for file in files if file.is_file()}
    return {file: (status.st_size, status.st_mtime_ns) for file, status in known.items()}
