"""``manifest.json`` of a dataset."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, field_validator

from soaptune.config import Config
from soaptune.errors import DataError
from soaptune.tasks.spec import TaskSpec

__all__ = ["FORMAT_VERSION", "NOT_CONTENT", "DatasetManifest", "check_split_name"]

FORMAT_VERSION = 1
"""The version of the folder's layout that this release writes; older ones can be read, newer ones cannot."""


NOT_CONTENT = frozenset({"created_with", "plan_fingerprint"})
"""Fields of a manifest that name who wrote it; they make no other dataset of it."""


_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_split_name(split: str) -> None:
    """Refuses what cannot be the name of a split, which is part of a file's name and of a table's.

    Raises:
        DataError: It is no such name.
    """
    if not _SPLIT_NAME.fullmatch(split) or split == "ledger":
        raise DataError(f"{split!r} cannot be the name of a split: use letters, digits, '-' and '_'; not 'ledger'.")


class DatasetManifest(Config):
    """The content of a dataset's ``manifest.json``."""

    format_version: int = FORMAT_VERSION
    """The layout of the folder."""
    kind: Literal["dataset"] = "dataset"
    """What the folder holds."""
    fingerprint: str
    """Of the rows of all splits (`"sha256:<hex>"`); the task, the file bytes and the metadata's order do not matter."""
    task: TaskSpec
    """The task that the examples are of."""
    counts: dict[str, NonNegativeInt]
    """Rows by split, in the order of the splits."""
    split_fingerprints: dict[str, str]
    """The fingerprint of the rows of each split."""
    how: dict[str, Any]
    """How the dataset was made: the step and its options."""
    synthetic: bool = False
    """Whether the examples are made up. Synthetic clinical text is not for clinical decisions."""
    plan_fingerprint: str = ""
    """Of the plan of the job that made it; empty for what no job has made."""
    created_with: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages that wrote the folder."""

    @field_validator("counts")
    @classmethod
    def _names_of_splits(cls, value: dict[str, int]) -> dict[str, int]:
        for split in value:
            check_split_name(split)
        return value
