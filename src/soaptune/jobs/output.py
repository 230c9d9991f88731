"""What a job leaves behind, as data."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from soaptune.config import Config

__all__ = ["FolderOutput", "NamedTables", "Output"]


class FolderOutput(Config):
    """The job leaves files in its output folder."""

    kind: Literal["folder"] = "folder"


class NamedTables(Config):
    """The job leaves a dataset in tables, and says in its output folder which."""

    kind: Literal["tables"] = "tables"

    name: str = Field(min_length=1)
    """What the tables begin with, as a person writes it: bare, or qualified with database and schema."""

    splits: tuple[str, ...]
    """The splits."""

    replace_existing: bool = False
    """Whether tables that are there already are replaced."""


Output: TypeAlias = Annotated[FolderOutput | NamedTables, Field(discriminator="kind")]
"""What a job leaves behind."""
