"""Inference services: what is written down about one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from soaptune.handles.endpoint import EndpointManifest
from soaptune.snowflake.names import Name

__all__ = ["ServiceManifest"]


class ServiceManifest(EndpointManifest):
    """``manifest.json`` of a service: an endpoint that lives in the account."""

    service: tuple[str, str, str]
    """Database, schema and name of the service, exact."""
    registry_model: str
    """The model's exact name in the registry, in the same schema."""
    registry_version: str
    """The version that is served."""
    engine: Literal["transformers", "vllm"]
    """The kind of the engine that answers, see `soaptune.engines`."""
    max_new_tokens: int
    """How many tokens an answer may have."""
    special_tokens: tuple[str, ...] = ()
    """The tokenizer's control tokens; vLLM would obey those that stand in a user's text."""
    token: str | None = None
    """What the `Deployer` named for the access token; for people: no handle reads a variable that a file names."""

    @property
    def service_name(self) -> Name:
        """The service's full name."""
        return Name(*self.service)

    @field_validator("engine", mode="before")
    @classmethod
    def _name_of_the_first_release(cls, value: Any) -> Any:
        return "transformers" if value == "soaptune" else value
