"""The embedded base model: where ``"soaptune/tiny"`` lies. It stays out of payloads; every install carries it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NAME", "path", "resolve"]

NAME = "soaptune/tiny"
"""The name under which the embedded model is asked for."""


def path() -> Path:
    """The embedded model's folder: ``config.json``, ``model.safetensors``, tokenizer, chat template, model card."""
    return Path(__file__).resolve().parent / "model"


def resolve(name: str) -> str:
    """The embedded model's folder for its name; any other name as it is."""
    return str(path()) if name == NAME else name
