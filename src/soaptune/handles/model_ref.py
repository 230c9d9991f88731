"""`ModelRef`: a base model as one value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from soaptune import tiny
from soaptune.config import Config

__all__ = ["ModelRef"]


class ModelRef(Config):
    """A base model: a name on the Hugging Face hub with a revision, a folder, or the embedded model.

    The token for a gated model and the folder of the hub's cache belong to whoever loads it, and are no part of this.
    """

    name: str = Field(min_length=1)
    """A name on the hub, a folder, or ``"soaptune/tiny"``."""

    revision: str | None = None
    """Commit, tag or branch of a model on the hub."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def is_embedded(self) -> bool:
        """Whether it is the model that comes with the package."""
        return self.name == tiny.NAME

    @property
    def is_folder(self) -> bool:
        """Whether the name is written as a path and not as a name on the hub."""
        return self.name.startswith(("/", "./", "../", "~")) or Path(self.name).is_absolute()

    @property
    def on_hub(self) -> bool:
        """Whether loading it may ask the Hugging Face hub."""
        return not (self.is_embedded or self.is_folder)

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name} @ {self.revision}"
