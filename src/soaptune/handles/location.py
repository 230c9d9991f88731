"""Where a handle's content lies. Steps compare it with the backend that they are to run on; nothing moves by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from soaptune.errors import Violation

__all__ = ["LOCAL", "Location", "Receiver", "misplaced"]

LOCAL = "local"
"""The name of the backend whose handles are folders of this machine."""


@dataclass(frozen=True)
class Location:
    """A place that one kind of backend can read.

    Attributes:
        backend: The name of that backend.
        uri: The place in its words: a folder, a path on a stage, tables.
    """

    backend: str
    uri: str

    def __str__(self) -> str:
        return self.uri


class Receiver(Protocol):
    """What ``handle.copy_to(backend)`` needs of a backend."""

    @property
    def name(self) -> str:
        """The kind of backend."""
        ...

    def receive(self, handle: Any) -> Any:
        """Copies what a handle stands for to where this backend's jobs read it.

        Args:
            handle: A `Dataset` or a `Model`, wherever it lies.

        Returns:
            A handle to the copy; the handle itself where it lies there already.
        """
        ...


def misplaced(handles: tuple[Any, ...], *, on: str) -> list[Violation]:
    """One finding for each handle that a backend's jobs cannot read.

    Args:
        handles: The inputs of a step; what has no location goes anywhere.
        on: The name of the backend.
    """
    found: list[Violation] = []
    for number, handle in enumerate(handles):
        location = getattr(handle, "location", None)
        if isinstance(location, Location) and location.backend != on:
            bases = {base.__name__ for base in type(handle).__mro__}
            kind = next((name for name in ("Dataset", "Model") if name in bases), type(handle).__name__)
            found.append(
                Violation(
                    path=f"inputs[{number}]",
                    code="other-backend",
                    message=f"The {kind} lies on the backend {location.backend!r} and the job runs on {on!r}.",
                    hint="Copy it there first: handle.copy_to(backend).",
                )
            )
    return found
