"""A turn of a conversation, as chat templates and chat APIs take it."""

from __future__ import annotations

from typing_extensions import TypedDict

__all__ = ["Message"]


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str
