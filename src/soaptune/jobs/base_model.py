"""Where a job finds a base model: by its name, or as a folder that is one of its inputs."""

from __future__ import annotations

from pathlib import Path

from soaptune import tiny
from soaptune.handles.location import Folder
from soaptune.handles.model_ref import ModelRef
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.spec import Inputs

__all__ = ["BASE_INPUT", "bring_base"]

BASE_INPUT = "../inputs/base"
"""Where a job finds a base model that came as a folder."""


def bring_base(base: ModelRef, *, given: Capabilities) -> tuple[ModelRef, Inputs]:
    """What a job loads for a base model, and the input that it needs for that.

    Args:
        base: The base model, as the user names it.
        given: What the backend can do.

    Returns:
        The base model as the job sees it, and the job's input: none for a model of the hub, nor for the embedded one
        where that comes with the job's own package.
    """
    if base.is_embedded:
        if given.carries_embedded_model:
            return base, {}
        return ModelRef(name=BASE_INPUT), {"base": Folder(path=str(tiny.path()))}
    folder = Path(base.name).expanduser()
    if folder.is_dir():
        return ModelRef(name=BASE_INPUT), {"base": Folder(path=str(folder.absolute()))}
    return base, {}
