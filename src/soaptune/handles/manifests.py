"""Manifests: the one way in which a dataset, a model, a report or an endpoint is opened from its files."""

from __future__ import annotations

from typing import Any, TypeVar

from soaptune.common.files import MANIFEST
from soaptune.common.json_text import LARGEST_DOCUMENT, parse_object
from soaptune.config import Config
from soaptune.errors import ConfigError, DataError
from soaptune.handles.storage import Files

__all__ = ["kind_of", "open_manifest", "read_document"]

FormT = TypeVar("FormT", bound=Config)


def open_manifest(files: Files, form: type[FormT], *, name: str = MANIFEST, hint: str = "") -> FormT:
    """Reads the manifest among a handle's files.

    Args:
        files: The files.
        form: The manifest's class; its default for ``kind`` is what the files must be, that for ``format_version`` the
            newest format that is read.
        name: The file.
        hint: What to do where there is no such file.

    Returns:
        The manifest.

    Raises:
        DataError: There is none, it is of another kind, a newer soaptune wrote it, or it is broken.
    """
    raw = read_document(files, name)
    kind = str(form.model_fields["kind"].default)
    where = f"{files.location}/{name}"
    if raw is None:
        raise DataError(f"{files.location} is not a {kind}: it has no {name}. {hint}".rstrip())
    if raw.get("kind") != kind:
        raise DataError(f"{files.location} is not a {kind}: its {name} is of kind {raw.get('kind')!r}")
    newest, version = form.model_fields["format_version"].default, raw.get("format_version")
    if isinstance(version, int) and version > newest:
        raise DataError(
            f"{files.location} has format {version}, written by a newer soaptune; this one reads formats up to "
            f"{newest}. Upgrade with: pip install --upgrade soaptune"
        )
    try:
        return form.model_validate(raw)
    except ConfigError as error:
        raise DataError(f"{where} is broken: {error}") from error


def kind_of(files: Files) -> str:
    """What kind of handle the files are.

    Args:
        files: The files.

    Raises:
        DataError: There is no manifest, or it is no JSON object.
    """
    raw = read_document(files, MANIFEST)
    if raw is None:
        raise DataError(f"{files.location}/{MANIFEST} does not exist.")
    return str(raw.get("kind"))


def read_document(files: Files, name: str) -> dict[str, Any] | None:
    """Reads a JSON object; None when the file is not there.

    Args:
        files: The files.
        name: The file.

    Raises:
        DataError: The file is not a JSON object.
    """
    data = files.read_bytes(name, limit=LARGEST_DOCUMENT)
    if data is None:
        return None
    where = f"{files.location}/{name}"
    return parse_object(data, where=where)
