"""What stands before the routes: the limit on a request's size, and the last resort when something fails."""

from __future__ import annotations

import logging
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soaptune.runtime.serve.surface import ApiError

__all__ = ["Guard"]

_log = logging.getLogger("soaptune.serve")

_DISCARDED = 64
"""How many times the limit of a body that is too large is read and thrown away: most clients read no answer before
they have sent everything."""


class Guard:
    """Wraps an application.

    Args:
        app: The application.
        max_bytes: How large a request's body may be.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            body = await self._body(receive)
            if body is None:
                error = ApiError(413, "request_too_large", f"The request is larger than {self._max_bytes:,} bytes.")
                await _reply(error, scope, receive, watched)
            else:
                await self._app(scope, _replaying(body, receive), watched)
        except ClientDisconnect:
            return
        except Exception as error:
            # Neither its message nor its traceback: both can hold parts of the request.
            _log.error("a request failed: %s", type(error).__name__)
            if not started:
                await _reply(ApiError(500, "internal_error", "The server failed."), scope, receive, watched)

    async def _body(self, receive: Receive) -> bytes | None:
        """The request's body, or None when it is too large."""
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part: bytes = message.get("body", b"")
            more = bool(message.get("more_body", False))
            size += len(part)
            if size <= self._max_bytes:
                parts.append(part)
            else:
                parts.clear()
                if size > _DISCARDED * self._max_bytes:
                    break
        return b"".join(parts) if size <= self._max_bytes else None


def _replaying(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _reply(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    response: Any = JSONResponse(error.body(), status_code=error.status)
    await response(scope, receive, send)
