"""What of this machine stands in the way of a job, before anything is written."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from soaptune.errors import SoaptuneError, Violation
from soaptune.handles.location import Folder
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.needs import Needs
from soaptune.jobs.spec import JobSpec
from soaptune.local.environment import program_path
from soaptune.local.missing import missing
from soaptune.local.states import disk_trouble

__all__ = ["findings"]

_LITTLE_DISK = 1_000_000_000


def findings(spec: JobSpec, capabilities: Capabilities, root: Path) -> list[Violation]:
    """All that stands in the way of a job.

    Args:
        spec: The job.
        capabilities: What this machine can do.
        root: The folder for jobs.
    """
    found = [
        Violation(
            path=f"secrets.{name}",
            code="secret-not-set",
            message=f"The job needs the environment variable {source}, which is not set.",
            hint=f"Set {source} and submit again.",
        )
        for name, source in spec.secrets.items()
        if source not in os.environ
    ]
    places = {f"inputs.{name}": place for name, place in spec.places.items()}
    found += [
        Violation(path=path, code="other-backend", message=f"{place} is not a folder: jobs here read folders only.")
        for path, place in places.items()
        if not isinstance(place, Folder)
    ]
    folders = {path: place.path for path, place in places.items() if isinstance(place, Folder)}
    folders |= {f"code_paths.{number}": folder for number, folder in enumerate(spec.code_paths)}
    found += [
        Violation(path=path, code="no-such-folder", message=f"{folder} is not a folder on this machine.")
        for path, folder in folders.items()
        if not Path(folder).expanduser().is_dir()
    ]
    needs = spec.needs or Needs()
    found += [*capabilities.unmet(needs), *missing(needs)]
    try:
        program_path(spec)
    except SoaptuneError as error:
        found.append(Violation(path="entrypoint", code="no-such-program", message=str(error)))
    above = _nearest_folder(root)
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        why = disk_trouble(above) or f"{above} is not a folder that you may write to"
        message = f"Nothing can be written to {root}: {why}."
        hint = "Give LocalBackend another root."
        found.append(Violation(path="root", code="root-not-writable", message=message, hint=hint))
    elif (free := shutil.disk_usage(above).free) < _LITTLE_DISK:
        message = f"Only {free / 1e9:.1f} GB are free below {root}."
        found.append(Violation(path="root", code="little-disk", level="warning", message=message))
    return found


def _nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest above it that is there."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):  # we may not even look
            if folder.exists():
                return folder
    return Path(path.anchor)
