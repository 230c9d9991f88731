"""Serving from this machine as config: who may ask, how much, and how long a connection may take."""

from __future__ import annotations

from pydantic import Field

from soaptune.config import Config
from soaptune.errors import Violation

__all__ = ["ServerOptions"]

_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class ServerOptions(Config):
    """How the server of a local endpoint treats its clients.

    Examples:
        >>> ServerOptions(api_key="SOAPTUNE_API_KEY", requests_per_minute=600).has_keys
        True
    """

    api_key: str | None = Field(default=None, pattern=_VARIABLE)
    """*Name* of the environment variable with the API key, or several with commas between them; never the key itself.
    With keys every request but ``GET /health`` needs one, as ``Authorization: Bearer KEY``."""

    api_keys_file: str | None = None
    """A file with the hashes of API keys, one on a line, as `soaptune.deploy.hash_api_key` makes them."""

    allowed_hosts: tuple[str, ...] = ()
    """Names beside the host's own and the machine's by which clients may call the endpoint (their ``Host`` header)."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    """How many requests each key may make in a minute; without keys, all clients together."""

    tokens_per_minute: int | None = Field(default=None, ge=1)
    """How many tokens, of prompts and answers, each key may use in a minute; without keys, all clients together."""

    tls_certificate: str | None = None
    """A PEM file with the certificate chain; with it the endpoint speaks HTTPS."""

    tls_key: str | None = None
    """A PEM file with the certificate's private key."""

    max_waiting: int = Field(default=512, ge=1)
    """How many requests may wait for their answers; more are turned away with ``503`` and ``Retry-After``."""

    max_connections: int = Field(default=1_024, ge=2)
    """How many connections may be open. A new one takes the place of the one that has been idle the longest."""

    request_timeout: float = Field(default=20.0, gt=0)
    """Seconds in which a request must have arrived, its head and its body each."""

    idle_timeout: float = Field(default=15.0, gt=0)
    """Seconds after which a connection is closed that asks nothing more."""

    @property
    def has_keys(self) -> bool:
        """Whether requests need an API key."""
        return self.api_key is not None or self.api_keys_file is not None

    def check(self) -> list[Violation]:
        """All that is wrong with the options themselves."""
        if (self.tls_certificate is None) == (self.tls_key is None):
            return []
        missing = "tls_certificate" if self.tls_certificate is None else "tls_key"
        message = "HTTPS needs both a certificate and its private key."
        return [Violation(path=f"server.{missing}", code="tls-half", message=message, hint=f"Set {missing} too.")]
