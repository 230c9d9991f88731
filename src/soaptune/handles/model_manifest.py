"""What is written beside a model's weights: what it is, and where everything in it came from."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from soaptune.common.inside import relative_name
from soaptune.config import Config
from soaptune.handles.model_ref import ModelRef
from soaptune.tasks.spec import TaskSpec

__all__ = ["ModelManifest", "ModelPlan"]

_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


class ModelPlan(Config):
    """What is known of a model before it is trained; it travels into the job as ``model.json``."""

    method: Literal["full", "lora"]
    """Whether the weights will be those of a whole model or of an adapter."""

    base: ModelRef
    """The base model: a name with its revision, or the folder that the user gave."""

    task: TaskSpec | None = None
    """The task that was learned; None after pre-training."""

    data_fingerprint: str
    """Fingerprint of the training dataset's rows."""

    synthetic: bool
    """Whether the training text was generated."""

    spec: dict[str, Any]
    """The `TrainSpec` as the user gave it."""

    spec_fingerprint: str
    yaml_fingerprint: str

    changes: tuple[str, ...] = ()
    """What was changed in the spec for the machine that trained."""

    parent: str | None = None
    """Fingerprint of the model that training went on from, where that is known."""

    @model_validator(mode="before")
    @classmethod
    def _first_release(cls, value: Any) -> Any:
        """Reads what the first release wrote: the base in two fields, and the name of a token."""
        if not isinstance(value, dict):
            return value
        given = dict(cast("dict[str, Any]", value))
        if isinstance(given.get("base"), str):
            given["base"] = {"name": given["base"], "revision": given.pop("base_revision", None)}
            given.pop("token", None)
        return given


class ModelManifest(ModelPlan):
    """``manifest.json`` of a model folder."""

    format_version: Literal[1] = 1
    kind: Literal["model"] = "model"

    fingerprint: str
    """Of the files in the weights' folder."""

    files: dict[str, str] = Field(default_factory=dict[str, str])
    """The SHA-256 of each file of the weights' folder, which the fingerprint is of; manifests of the first release do
    not list them."""

    plan_fingerprint: str = ""
    """Of the plan of the job that made it."""

    weights: str = "model"
    """The weights' folder, relative to the manifest."""

    versions: dict[str, str] = Field(default_factory=dict[str, str])
    """Versions of the packages that trained it."""

    git_revision: str | None = None
    """Commit of the project from which the job was submitted, where there is one."""

    training: dict[str, float] = Field(default_factory=dict[str, float])
    """What was counted in training: steps, tokens, seconds, the last loss."""

    merged_from: str | None = None
    """Fingerprint of the adapter that was merged into the base model, for a merged model."""

    merge_check: dict[str, float] = Field(default_factory=dict[str, float])
    """Largest difference between the adapter's and the merged logits, relative to the largest logit: right after
    merging (``merged``) and as read back from disk in the saved precision (``saved``)."""

    @field_validator("fingerprint")
    @classmethod
    def _is_a_fingerprint(cls, value: str) -> str:
        if not _FINGERPRINT.fullmatch(value):
            raise ValueError("a model's fingerprint is 'sha256:' and 64 hexadecimal digits")
        return value

    @field_validator("weights")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        relative_name(value, what="the folder of the weights")
        return value
