"""What a serving job is given, as pure data: its ``step.json``. The same wherever the model is served."""

from __future__ import annotations

import re

from pydantic import Field

from soaptune.common.fingerprint import fingerprint
from soaptune.config import Config
from soaptune.deploy.server import ServerOptions
from soaptune.deploy.service import ServiceOptions
from soaptune.handles.model_ref import ModelRef
from soaptune.tasks.spec import TaskSpec

__all__ = ["ServePayload"]


class ServePayload(Config):
    """Everything that serving a model depends on."""

    name: str
    """Under which name the model is served."""
    host: str
    """The address to listen at, for an endpoint that is a process."""
    port: int = Field(ge=0, le=65535)
    """The port to listen at; 0 for any that is free."""
    max_request_bytes: int = Field(ge=1)
    """How large the body of a request may be."""
    server: ServerOptions = ServerOptions()
    """How clients are treated, for an endpoint that is a process."""
    service: ServiceOptions
    """How to serve, for an endpoint that is a service."""
    startup_seconds: float = Field(gt=0)
    """How long the first answer may take."""
    max_new_tokens: int = Field(ge=1)
    """How many tokens an answer may have."""
    task: TaskSpec
    """What the model has learned; its schema is the default of every answer."""
    model_fingerprint: str
    """The model that is served."""
    base: ModelRef | None = None
    """The base model of an adapter as the job finds it; None for a whole model."""
    report_fingerprint: str | None = None
    """The report that the gates were held against."""
    metrics: dict[str, float] = Field(default_factory=dict[str, float])
    """What that report found; a registry shows it beside the version."""
    data_fingerprint: str
    """The training data."""
    spec_fingerprint: str
    """The training spec."""
    synthetic: bool
    """Whether the model was trained on generated text."""
    soaptune_version: str
    """The release that serves the model."""

    @property
    def object_name(self) -> str:
        """The deployer's name as Snowflake's objects are called."""
        return re.sub(r"[^A-Z0-9_]", "_", self.name.upper())

    @property
    def model_name(self) -> str:
        """The model's name in the registry, exact."""
        return self.service.model or self.object_name

    @property
    def version_name(self) -> str:
        """The version's name: made from what is packed, so that a job that is tried again finds what it has logged."""
        not_packed = {"server", "service", "startup_seconds", "name", "host", "port", "max_request_bytes"}
        packed = self.model_dump(mode="json", exclude=not_packed)
        return "V" + fingerprint({**packed, "engine": self.service.engine.kind}).removeprefix("sha256:")[:12].upper()

    @property
    def comment(self) -> str:
        """What a person reads beside the version: where the model came from, and what it must not be used for."""
        lines = [
            f"soaptune: task {self.task.name}",
            f"model {self.model_fingerprint}",
            f"data {self.data_fingerprint}",
            f"spec {self.spec_fingerprint}",
            f"report {self.report_fingerprint or 'none'}",
        ]
        if self.synthetic:
            lines.append("trained on SYNTHETIC text; not for clinical decisions")
        return "; ".join(lines)
