"""`cleanup`: removes what jobs have left below a root, and nothing that soaptune did not put there.

A job's folder is first moved to ``jobs/.removed``, in one step, and removed there: an interrupted removal leaves no
half job behind, and the next one goes on with it. No symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from soaptune.common import files
from soaptune.errors import BackendError, ConfigError, DataError, JobNotFound
from soaptune.handles.location import Folder
from soaptune.jobs.cleanup import age_of
from soaptune.jobs.job import ENDED
from soaptune.jobs.spec import JobSpec
from soaptune.local.environment import left_folders
from soaptune.local.folders import SPEC_FILE, job_folders, read_spec
from soaptune.local.job import LocalJob
from soaptune.local.keys import Keys

__all__ = ["Stage", "cleanup", "manifest_in", "read_unchecked", "stages"]

_REMOVED = ".removed"
_UNFINISHED = 3_600.0
"""Seconds after which a folder without a spec is what an interrupted submission has left."""

_UNKNOWN = JobSpec(name="unknown", entrypoint=("unknown",))
"""Stands for a spec that cannot be read: the state of such a job can be."""


@dataclass(frozen=True)
class Stage:
    """The folder of a job, as far as it can be read."""

    path: Path
    spec: JobSpec | None
    submitted: float
    ended: bool

    def holds(self, path: str) -> bool:
        """Whether a path lies in this folder.

        Args:
            path: An absolute path; links in it are resolved.
        """
        return Path(path).expanduser().resolve().is_relative_to(self.path.resolve())

    @property
    def inputs(self) -> list[str]:
        """The folders that the job reads."""
        places = self.spec.places.values() if self.spec is not None else ()
        return [place.path for place in places if isinstance(place, Folder)]

    @property
    def base(self) -> list[str]:
        """The folder of the base model without which the job's result, an adapter, cannot be used."""
        manifest = self.manifest
        if self.spec is None or manifest.get("kind") != "model" or manifest.get("method") != "lora":
            return []
        place = self.spec.places.get("base")
        return [place.path] if isinstance(place, Folder) else []

    @property
    def needs(self) -> list[str]:
        """The folders that must not go as long as this job stays."""
        return self.base if self.ended else self.inputs

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the job's result; empty where there is none that can be read."""
        return manifest_in(self.path / "output")


def manifest_in(folder: Path) -> dict[str, Any]:
    """The manifest in a folder, unchecked; empty where there is none that can be read.

    Args:
        folder: The folder.
    """
    return read_unchecked(folder / files.MANIFEST)


def read_unchecked(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read.

    Args:
        file: The file.
    """
    try:
        return files.read_object(file)
    except DataError:
        return {}


def stages(root: Path) -> list[Stage]:
    """The folders of all jobs, the oldest first; also of those whose spec cannot be read.

    Args:
        root: The backend's root.
    """
    return sorted(_stages(root), key=lambda stage: (stage.submitted, stage.path))


def cleanup(
    root: Path,
    *,
    older_than: timedelta | float | None = None,
    jobs: set[str] | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Removes jobs that have ended, with their results, and the caches that killed jobs have left.

    A job that runs is never touched, nor one whose result a running job reads or an adapter that stays is based on.
    Kept folders, copies of datasets and datasets that no job has made stay too.

    Args:
        root: The backend's root.
        older_than: Only what was submitted longer ago than this; seconds, when it is a number. Caches go at any age.
        jobs: Only these, by id.
        dry_run: Whether to list what would be removed, and leave it.

    Returns:
        What was removed.

    Raises:
        ConfigError: ``older_than`` is negative.
        BackendError: Something could not be removed, or a job that is named still runs or is needed.
    """
    age = age_of(older_than)
    _refuse_links(root)
    known = stages(root)
    before = None if age is None else time.time() - age.total_seconds()
    chosen = [
        stage
        for stage in known
        if stage.ended and (jobs is None or stage.path.name in jobs) and (before is None or stage.submitted < before)
    ]
    chosen = _spared(chosen, known, named=jobs)
    removing = _Removing(root, dry_run=dry_run)
    removed = removing.leftovers(before) if jobs is None else []
    for stage in known:
        if stage.ended and (jobs is None or stage.path.name in jobs):
            gone = stage in chosen
            removed += removing.caches(stage, inside=not gone)
            removed += removing.job(stage) if gone else []
    removing.finish(removed)
    return removed


class _Removing:
    """Removes, or only lists; what fails is reported at the end, when all else is done."""

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self._root = root
        self._dry_run = dry_run
        self._failed: list[str] = []

    def caches(self, stage: Stage, *, inside: bool) -> list[str]:
        found = [each for each in left_folders(stage.path) if inside or each.parent != stage.path]
        for folder in found:
            self._remove(folder)
        return [f"caches {folder}/" for folder in found]

    def job(self, stage: Stage) -> list[str]:
        if not self._dry_run:
            self._bury(stage.path)
            Keys(self._root / "keys").forget(stage.path.name, folder=stage.path)
        return [f"files {stage.path}/"]

    def leftovers(self, before: float | None) -> list[str]:
        """What interrupted removals and submissions have left."""
        removed: list[str] = []
        for folder in sorted((self._root / "jobs" / _REMOVED).glob("*")):
            self._remove(folder)
            removed.append(f"files {folder}/")
        latest = min(time.time() - _UNFINISHED, before or time.time())
        for folder in [*job_folders(self._root), *_unfinished(self._root)]:
            with contextlib.suppress(FileNotFoundError):
                if (folder.name[0] == "." or not (folder / SPEC_FILE).exists()) and folder.stat().st_mtime < latest:
                    removed.append(f"files {folder}/")
                    if not self._dry_run:
                        self._bury(folder)
        return removed

    def finish(self, removed: list[str]) -> None:
        if self._failed:
            raise BackendError(
                f"{len(self._failed)} of {len(removed)} could not be removed: {'; '.join(self._failed)}; the rest is "
                "gone, and another cleanup() tries again"
            )

    def _bury(self, folder: Path) -> None:
        grave = files.private_folder(self._root / "jobs" / _REMOVED) / f"{folder.name}-{secrets.token_hex(4)}"
        try:
            folder.rename(grave)
        except FileNotFoundError:
            return  # somebody else was faster
        except OSError as error:
            self._failed.append(f"{folder}: {error.strerror}")
            return
        self._remove(grave)

    def _remove(self, folder: Path) -> None:
        if self._dry_run:
            return
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed.append(f"{folder}: {error.strerror}")


def _unfinished(root: Path) -> Iterator[Path]:
    """The folders of jobs that a submission was making when it was interrupted: ``.<id>.<hex>``."""
    for folder in sorted((root / "jobs").glob(".*")):
        if re.fullmatch(r"\.[A-Za-z0-9_-]+\.[0-9a-f]{8}", folder.name) and folder.is_dir() and not folder.is_symlink():
            yield folder


def _stages(root: Path) -> Iterator[Stage]:
    for folder in job_folders(root):
        with contextlib.suppress(FileNotFoundError, JobNotFound):  # removed in between
            submitted = (folder / SPEC_FILE).stat().st_mtime
            spec = None
            with contextlib.suppress(ConfigError, DataError):  # another version's, or damaged
                spec = read_spec(folder)
            ended = LocalJob(folder.name, spec or _UNKNOWN, folder).status in ENDED
            yield Stage(folder, spec, submitted, ended)


def _spared(chosen: list[Stage], known: list[Stage], *, named: set[str] | None) -> list[Stage]:
    """Those of the chosen that nobody needs."""
    for stage in known:
        if named is not None and stage.path.name in named and not stage.ended:
            raise BackendError(f"the job {stage.path.name} has not ended: cancel() it first")
    left = list(chosen)
    while True:
        staying = [stage for stage in known if stage not in left]
        needed = {path: stage for stage in staying for path in stage.needs}
        found = next(((one, by) for one in left for path, by in needed.items() if one.holds(path)), None)
        if found is None:
            return left
        one, by = found
        if named is not None:
            why = "is based on" if by.ended else "reads"
            raise BackendError(f"the job {by.path.name} {why} what the job {one.path.name} has left: remove it first")
        left.remove(one)


def _refuse_links(root: Path) -> None:
    for folder in (root / "jobs", root / "jobs" / _REMOVED, root / "keys"):
        if folder.is_symlink():
            raise BackendError(f"{folder} is a symbolic link, and nothing outside {root} is removed")
