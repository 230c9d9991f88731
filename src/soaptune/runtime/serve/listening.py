"""Listening: the socket, who may come in, and how the server is set up."""

from __future__ import annotations

import importlib
import ipaddress
import math
import os
import socket
import ssl
from typing import Any

import uvicorn

from soaptune.deploy.keys import key_hashes
from soaptune.deploy.payload import ServePayload
from soaptune.deploy.server import ServerOptions
from soaptune.errors import BackendError, ConfigError
from soaptune.handles.endpoint import API_KEY
from soaptune.runtime.serve.access import Access
from soaptune.runtime.serve.connections import connection_bound, protocol

__all__ = ["access_to", "check_tls", "listen", "url_of", "uvicorn_config"]

_asyncio_constants: Any = importlib.import_module("asyncio.constants")
_BACKLOG = 2_048
_DRAIN_SECONDS = 10


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket.

    Raises:
        BackendError: The address cannot be listened at.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it would let two programs listen at one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise BackendError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    return listener


def url_of(plan: ServePayload, listener: socket.socket) -> str:
    """Where the endpoint is reached, without ``/v1``."""
    # Nobody can connect to "every address"; this machine reaches itself at the first.
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(plan.host, plan.host)
    host = f"[{reached}]" if ":" in reached else reached
    return f"{'http' if plan.server.tls_certificate is None else 'https'}://{host}:{listener.getsockname()[1]}"


def access_to(plan: ServePayload, listener: socket.socket) -> Access:
    """Who may ask. The keys themselves are forgotten: what stays are their hashes.

    Raises:
        ConfigError: There is no API key where one is needed, or it cannot be read.
    """
    options = plan.server
    # By the socket: a host's name can be another address's than it was when the step was checked.
    loopback = ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0]).is_loopback
    if not loopback and not options.has_keys:
        raise ConfigError(f"others than this machine can reach {plan.host}, and the endpoint has no API key")
    named = options.api_key is not None
    hashes = key_hashes(options.model_copy(update={"api_key": API_KEY}) if named else options, os.environ)
    for name in (API_KEY, options.api_key):
        os.environ.pop(name or "", None)
    return Access(
        hashes,
        hosts=(plan.host, socket.gethostname(), *options.allowed_hosts),
        any_address=not loopback,
        requests=options.requests_per_minute,
        tokens=options.tokens_per_minute,
    )


def check_tls(options: ServerOptions) -> None:
    """Tries the files for HTTPS.

    Raises:
        ConfigError: They cannot be read, or do not fit each other.
    """
    if options.tls_certificate is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls_certificate, options.tls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"HTTPS with the certificate {options.tls_certificate} and the key {options.tls_key} does not work "
            f"({getattr(error, 'reason', None) or getattr(error, 'strerror', None) or type(error).__name__}); "
            "both are PEM files, and the key has no password"
        ) from error


def uvicorn_config(app: Any, options: ServerOptions) -> uvicorn.Config:
    """How uvicorn is set up.

    Args:
        app: The application.
        options: How clients are treated.
    """
    # uvicorn gives no way to set it, and a connection is no connection to it before.
    _asyncio_constants.SSL_HANDSHAKE_TIMEOUT = options.request_timeout
    return uvicorn.Config(
        app,
        http=protocol(arrival=options.request_timeout, connections=connection_bound(options.max_connections)),
        timeout_keep_alive=math.ceil(options.idle_timeout),
        log_config=None,
        access_log=False,  # a path can hold text
        lifespan="off",
        ws="none",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
    )
