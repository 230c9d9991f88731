"""The folders of a job that outlive it, such as a cache of answers; a job names them in its `JobSpec.keeps`."""

from __future__ import annotations

import os
from pathlib import Path

from soaptune.errors import ConfigError
from soaptune.jobs.place import KEEPS_VARIABLE

__all__ = ["kept_folder"]


def kept_folder(name: str) -> Path:
    """Gives a kept folder: what earlier jobs with the same name and key have left there, and what this one leaves.

    On this machine jobs that run at the same time share the folder, so that what they write there must bear it (a
    SQLite database does). In an account each works on a copy, which is stored when its command has ended: of a file
    that two of them have changed the last one stays.

    Args:
        name: The name in the job's ``keeps``.

    Raises:
        ConfigError: The job has no such folder.
    """
    folder = Path(os.environ.get(KEEPS_VARIABLE) or os.devnull) / name
    if not name.isidentifier() or not folder.is_dir():
        raise ConfigError(f"the job has no kept folder {name!r}: name it in the plan, keeps={{'{name}': '<key>'}}")
    return folder
