"""Facts: the statements of an example, each with its place in the input."""

from __future__ import annotations

from typing import Any

from soaptune.common.arrow import arrow
from soaptune.config import Config

__all__ = ["Fact", "facts_type"]


class Fact(Config):
    """One statement that an answer makes."""

    field: str
    """The output field that states it."""
    kind: str
    """What sort of statement it is, in the words of the task (`"dose"`)."""
    value: str
    """The statement itself."""
    start: int = -1
    """Where it begins in the input text, in characters; -1 when unknown."""
    end: int = -1
    """Where the input text ends saying it (exclusive), in characters; -1 when unknown."""
    source: str = ""
    """The input field that has it; empty when unknown."""


def facts_type() -> Any:
    """The Arrow type of the ``facts`` column: a list of structs with the fields of `Fact`."""
    pa = arrow()
    text, number = pa.string(), pa.int32()
    members = [("field", text), ("kind", text), ("value", text), ("start", number), ("end", number), ("source", text)]
    return pa.list_(pa.struct(members))
