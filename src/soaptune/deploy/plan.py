"""What a serving job is told: pure data, written into the job's payload as ``step.json``."""

from __future__ import annotations

from pydantic import Field

from soaptune.config import Config
from soaptune.tasks.spec import TaskSpec

__all__ = ["BASE_INPUT", "MODEL_INPUT", "ServePlan"]

MODEL_INPUT = "../inputs/model"
"""Where the job finds the model."""

BASE_INPUT = "../inputs/base"
"""Where the job finds a base model that is a folder of the user's."""


class ServePlan(Config):
    """Everything that the server needs to know."""

    name: str
    """Under which name the model is served."""
    host: str
    """The address to listen at."""
    port: int = Field(ge=0, le=65535)
    """The port to listen at; 0 for any that is free."""
    max_new_tokens: int = Field(ge=1)
    """How many tokens an answer may have."""
    max_request_bytes: int = Field(ge=1)
    """How large the body of a request may be."""
    task: TaskSpec
    """What the model has learned; its schema is the default of every answer."""
    model_fingerprint: str
    """The model that this plan is for."""
    base: str | None = None
    """The base model of an adapter: a name, or `BASE_INPUT`; None for a whole model."""
    base_revision: str | None = None
    """The base model's revision on the hub."""
    cache_dir: str | None = None
    """Folder for models of the hub."""
    report_fingerprint: str | None = None
    """The report that the gates were held against."""
    synthetic: bool
    """Whether the model was trained on generated text."""
