"""Inference services: what a Snowflake backend contributes to one, and what is written down about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soaptune.handles.endpoint import EndpointManifest
from soaptune.snowflake.names import Name

__all__ = ["ServiceDefaults", "ServiceManifest", "service_defaults"]


@dataclass(frozen=True)
class ServiceDefaults:
    """What a service takes from its backend.

    Attributes:
        database: The exact name of the database.
        schema: The exact name of the schema.
        compute_pool: The pool.
        integrations: External access integrations.
    """

    database: str
    schema: str
    compute_pool: str
    integrations: tuple[str, ...]


def service_defaults(backend: Any) -> ServiceDefaults:
    """What a backend contributes to a service; nothing is asked of the account.

    Args:
        backend: A `SnowflakeBackend`.
    """
    return ServiceDefaults(
        database=backend.database_name,
        schema=backend.schema_name,
        compute_pool=backend.compute_pool,
        integrations=tuple(backend.external_access_integrations),
    )


class ServiceManifest(EndpointManifest):
    """``manifest.json`` of a service: an endpoint that lives in the account."""

    service: tuple[str, str, str]
    """Database, schema and name of the service, exact."""
    registry_model: str
    """The model's exact name in the registry, in the same schema."""
    registry_version: str
    """The version that is served."""
    engine: str
    """What answers: ``"soaptune"`` or ``"vllm"``."""
    max_new_tokens: int
    """How many tokens an answer may have."""
    special_tokens: tuple[str, ...] = ()
    """The tokenizer's control tokens; vLLM would obey those that stand in a user's text."""
    token: str | None = None
    """Name of the environment variable with the access token; None calls the service through SQL."""

    @property
    def service_name(self) -> Name:
        """The service's full name."""
        return Name(*self.service)
