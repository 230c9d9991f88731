"""What deleting a dataset has removed, and who still holds its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from soaptune.errors import BackendError, ConfigError

__all__ = ["Copy", "Deletion", "Holder", "copies_on", "refuse_while_read"]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Something that holds a dataset's text, or learned from it.

    Attributes:
        what: What it is, for a person.
        where: Its folder or tables.
        remove: How it is removed.
        job: The id of the job that made or reads it; empty for what belongs to no job.
        running: Whether that job has not ended.
    """

    what: str
    where: str
    remove: str
    job: str = ""
    running: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.where} (remove it with {self.remove})"


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What deleting a dataset has removed.

    Attributes:
        removed: The files or tables that are gone.
        copies: What still holds the dataset's text, with how to remove each.
    """

    removed: tuple[str, ...]
    copies: tuple[Copy, ...]

    def __str__(self) -> str:
        lines = [f"removed {what}" for what in self.removed]
        return "\n".join([*lines, *(f"still there: {copy}" for copy in self.copies)])


class Holder(Protocol):
    """What ``dataset.delete(on=backend)`` needs of a backend."""

    def copies_of(self, data: Any) -> list[Copy]:
        """What jobs of this backend hold of a dataset's text.

        Args:
            data: A `Dataset`.
        """
        ...


def copies_on(backend: Any, data: Any) -> list[Copy]:
    """What a backend's jobs hold of a dataset.

    Args:
        backend: The backend.
        data: The dataset.

    Raises:
        ConfigError: It is no backend.
    """
    if isinstance(backend, type) or not callable(getattr(backend, "copies_of", None)):
        raise ConfigError(
            "delete(on=...) takes the backend whose jobs may hold copies: on=st.LocalBackend('runs') or "
            "on=st.SnowflakeBackend(...)"
        )
    return backend.copies_of(data)


def refuse_while_read(copies: list[Copy]) -> None:
    """Refuses to delete what a job reads.

    Raises:
        BackendError: A job that has not ended reads it.
    """
    running = sorted({copy.job for copy in copies if copy.running})
    if running:
        raise BackendError(f"the dataset is read by {', '.join(running)}: wait for that, or cancel() it first")
