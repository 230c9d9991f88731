"""The embedded base model: where ``"soaptune/tiny"`` lies. It stays out of payloads; every install carries it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NAME", "folder_for", "path", "resolve"]

NAME = "soaptune/tiny"
"""The name under which the embedded model is asked for."""


def path() -> Path:
    """The embedded model's folder: ``config.json``, ``model.safetensors``, tokenizer, chat template, model card."""
    return Path(__file__).resolve().parent / "model"


def resolve(name: str) -> str:
    """The embedded model's folder for its name; any other name as it is."""
    return str(path()) if name == NAME else name


def folder_for(name: str, *, backend: str) -> str | None:
    """The folder that a job must be given along with a base model's name, or None where the name says enough.

    Args:
        name: A base model: a name, or a folder of the user's.
        backend: The kind of backend that runs the job. A payload does not carry the embedded model, so that jobs on
            Snowflake are given it as they are given a folder.
    """
    if name == NAME:
        return str(path()) if backend == "snowflake" else None
    folder = Path(name).expanduser()
    return str(folder.absolute()) if folder.is_dir() else None
