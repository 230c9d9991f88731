"""What the steps hand to each other: datasets, models, reports and endpoints, each a folder with a manifest."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from soaptune.common.files import MANIFEST
from soaptune.errors import DataError
from soaptune.handles.manifests import kind_of
from soaptune.handles.storage import FolderFiles

if TYPE_CHECKING:
    from soaptune.handles.dataset import Dataset
    from soaptune.handles.endpoint import Endpoint
    from soaptune.handles.model import Model
    from soaptune.handles.report import EvalReport

    Handle: TypeAlias = Dataset | Model | EvalReport | Endpoint[Any]

__all__ = ["open_handle"]

# Named, not imported: opening a dataset must not load what only models or endpoints need.
_HANDLES = {
    "dataset": ("soaptune.handles.dataset", "Dataset"),
    "model": ("soaptune.handles.model", "Model"),
    "report": ("soaptune.handles.report", "EvalReport"),
    "endpoint": ("soaptune.handles.endpoint", "Endpoint"),
}


def open_handle(path: str | Path) -> Handle:
    """Opens a folder as whatever its ``manifest.json`` says that it holds.

    Args:
        path: A dataset's folder, or the output folder of a job.

    Returns:
        A `Dataset`, `Model`, `EvalReport` or `Endpoint`.

    Raises:
        DataError: The folder has no manifest, or one of an unknown kind.
    """
    folder = Path(path)
    kind = kind_of(FolderFiles(folder))
    if kind not in _HANDLES:
        known = ", ".join(_HANDLES)
        raise DataError(f"{folder / MANIFEST} is of kind {kind!r}; this soaptune knows {known}.")
    module, name = _HANDLES[kind]
    return getattr(importlib.import_module(module), name).open(folder)
