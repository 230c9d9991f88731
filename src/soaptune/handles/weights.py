"""The weights of a model, bound to its manifest: which files they are, their digests, and whether they still fit.

Reading gigabytes takes seconds, so that digests are kept in the user's own cache, by size, times and inode of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from soaptune.common.files import MANIFEST, cache_folder, private_folder, read_json, write_json
from soaptune.common.fingerprint import fingerprint
from soaptune.common.inside import files_inside
from soaptune.errors import DataError, Violation
from soaptune.handles.location import Location

__all__ = [
    "MODEL_SUFFIXES",
    "changed_weights",
    "check_model_files",
    "digests",
    "fingerprint_folder",
    "model_files",
    "note_merge",
    "verify_weights",
    "was_merged_here",
]

MODEL_SUFFIXES = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model", ".md"})
"""Files that a model folder may hold. Pickled weights (``.bin``, ``.pt``) can run code when they are read."""

_PICKLED = re.compile(r"(adapter_model|pytorch_model|model|consolidated)[\w.-]*\.(bin|pt|pth|ckpt|pkl|pickle)")
_FRESH_NS = 100_000_000
"""A file that changed less long ago may change again without its times showing it; its digest is not kept."""


class Verified(Protocol):
    """What `changed_weights` needs of a model."""

    @property
    def location(self) -> Location:
        """Where it lies."""
        ...

    def verify(self) -> None:
        """Raises `DataError` when its files are others than the manifest's."""
        ...


def check_model_files(names: Iterable[str], *, is_adapter: bool, where: str) -> None:
    """Checks that a folder holds a model that is read: a config and safetensors.

    Args:
        names: The names of the files that lie in it.
        is_adapter: Whether it must hold an adapter, and not a whole model.
        where: The folder, for messages.

    Raises:
        DataError: Something is missing, or the weights are pickled.
    """
    found = set(names)
    wanted = "adapter_config.json" if is_adapter else "config.json"
    if wanted in found and any(name.endswith(".safetensors") for name in found):
        return
    pickled = sorted(name for name in found if _PICKLED.fullmatch(name))
    if pickled:
        raise DataError(
            f"{where} is not a whole model: its weights are pickled ({pickled[0]}), and such a file can run code when "
            "it is read. Only safetensors are read: save it with save_pretrained(..., safe_serialization=True)"
        )
    raise DataError(f"{where} is not a whole model: it needs {wanted} and .safetensors files")


def model_files(folder: Path) -> list[Path]:
    """The files of a model in its folder, those of the fingerprint: no pickles, no model card, no manifest.

    Args:
        folder: The folder of the weights.

    Raises:
        DataError: A symbolic link leads out of the folder.
    """
    beside = folder / MANIFEST  # an exported model's manifest lies among its files
    found = (file for file in files_inside(folder) if file.suffix in MODEL_SUFFIXES)
    return [file for file in found if file.name != "README.md" and file != beside]


def fingerprint_folder(folder: Path) -> str:
    """``"sha256:..."`` over names and contents of the model files in a folder."""
    return fingerprint(digests(folder))


def verify_weights(folder: Path, expected: str, files: Mapping[str, str] | None = None) -> None:
    """Checks that the files in a folder are the ones that a manifest speaks of.

    Args:
        folder: The folder of the weights.
        expected: The fingerprint in the manifest.
        files: The digest of each file as the manifest has it, where it has any.

    Raises:
        DataError: They are others; the message names the file, where the manifest lists them.
    """
    found = digests(folder)
    if fingerprint(found) == expected:
        return
    known, model = files or {}, f"the model {expected[:19]}"
    if not known:
        raise DataError(f"the files in {folder} are not those of {model}: one was changed, added or removed")
    if fingerprint(dict(known)) != expected:
        raise DataError(f"the manifest of {folder} contradicts itself: its list of files is not that of {model}")
    for name in sorted({*known, *found}):
        if known.get(name) != found.get(name):
            what = "was changed"
            if name not in known or name not in found:
                what = "is missing" if name in known else "does not belong there"
            raise DataError(f"{folder / name} {what}: the files are not those of {model}")


def changed_weights(model: Verified) -> list[Violation]:
    """One finding where a model of this machine is not what its manifest says; elsewhere its job looks.

    Args:
        model: The model.
    """
    if model.location.kind != "folder":
        return []
    try:
        model.verify()
    except DataError as error:
        hint = "Take a copy that is whole, or train again."
        return [Violation(path="model", code="changed-weights", message=f"{error}.", hint=hint)]
    return []


def note_merge(merged: str, adapter: str) -> None:
    """Notes in the user's own cache that a model was merged here from an adapter.

    Args:
        merged: The merged model's fingerprint.
        adapter: The adapter's.
    """
    _write(_merge_of(merged), {"adapter": [adapter]})


def was_merged_here(merged: str, adapter: str) -> bool:
    """Whether a model was merged from an adapter by this user on this machine; what a manifest says of it is no proof.

    Args:
        merged: The merged model's fingerprint.
        adapter: The adapter's.
    """
    return _read(_merge_of(merged)).get("adapter") == [adapter]


def _merge_of(merged: str) -> Path:
    return cache_folder() / "merges" / f"{hashlib.sha256(merged.encode()).hexdigest()[:32]}.json"


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each model file in a folder, by its path there.

    A file whose digest is known, and that has the size, the times and the inode that it had then, is not read again.

    Args:
        folder: The folder of the weights.

    Raises:
        DataError: A file cannot be read, or a symbolic link leads out of the folder.
    """
    place = _cache_of(folder)
    known, kept = _read(place), dict[str, list[Any]]()
    found: dict[str, str] = {}
    for file in model_files(folder):
        name = file.relative_to(folder).as_posix()
        try:
            entry = known.get(name)
            state = _state(file)
            if entry is None or entry[:-1] != state:
                entry = [*state, _digest(file)]
            settled = time.time_ns() - max(state[1], state[2]) > _FRESH_NS
            if settled and _state(file) == state:
                kept[name] = entry
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
        found[name] = str(entry[-1])
    if kept != known:
        _write(place, kept)
    return found


def _state(file: Path) -> list[int]:
    """What changes when a file is written: the time of the inode too, which no program can set back."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _cache_of(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return cache_folder() / "digests" / f"{name}.json"


def _read(place: Path) -> dict[str, list[Any]]:
    """What is known of a folder's files; nothing where others could have written it."""
    try:
        for path in (place.parent, place):
            status = path.stat()
            if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
                return {}
        raw = read_json(place)
    except (OSError, DataError):
        return {}
    entries = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    return {name: cast("list[Any]", entry) for name, entry in entries.items() if isinstance(entry, list)}


def _write(place: Path, entries: dict[str, list[Any]]) -> None:
    # What cannot be kept is computed again: a read-only home is no reason to fail.
    with contextlib.suppress(OSError):
        private_folder(place.parent)
        place.parent.chmod(0o700)
        write_json(place, entries)
        place.chmod(0o600)
