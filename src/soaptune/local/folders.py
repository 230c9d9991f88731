"""The folders of jobs below a root, and the specs in them; for whoever lists jobs and whoever removes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from soaptune.common import files
from soaptune.jobs.spec import STORED, JobSpec
from soaptune.local.keys import is_job_id

__all__ = ["SPEC_FILE", "job_folders", "read_spec"]

SPEC_FILE = "job.json"
"""The spec of a job in its folder; written last of all, so that a folder without it is no job yet."""


def job_folders(root: Path) -> Iterator[Path]:
    """The folders that may be those of jobs, in the order of their names: with ids for names, and no links.

    Args:
        root: The backend's root.
    """
    for folder in sorted((root / "jobs").glob("*")):
        if is_job_id(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield folder


def read_spec(folder: Path) -> JobSpec:
    """The spec of a job, as it was written down.

    Args:
        folder: The job's folder.

    Raises:
        ConfigError: It is another version's.
        DataError: It cannot be read.
    """
    return JobSpec.model_validate(files.read_json(folder / SPEC_FILE), context=STORED)
