"""What the steps hand to each other: datasets, models, reports and endpoints, each a folder with a manifest."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from soaptune.common.files import MANIFEST, read_json
from soaptune.errors import DataError

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
    data = read_json(folder / MANIFEST)
    kind = cast("dict[str, Any]", data).get("kind") if isinstance(data, dict) else None
    if kind not in _HANDLES:
        known = ", ".join(_HANDLES)
        raise DataError(f"{folder / MANIFEST} is of kind {kind!r}; this soaptune knows {known}.")
    module, name = _HANDLES[kind]
    return getattr(importlib.import_module(module), name).open(folder)
