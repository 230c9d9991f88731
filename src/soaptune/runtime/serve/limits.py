"""What stands before the routes: keys, the limits on a request's size and time, and the last resort on failures.

A request whose client has left is cancelled here, wherever it has got to.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soaptune.runtime.serve.access import Access, Allowance
from soaptune.runtime.serve.surface import ApiError

__all__ = ["ALLOWANCE", "Guard"]

_log = logging.getLogger("soaptune.serve")

ALLOWANCE = "soaptune.allowance"
"""Where in a request's scope its `Allowance` is."""

_OPEN_TO_ALL = "/health"
"""The path that is answered without a key, with nothing but that the engine works."""
_HELD = 64_000_000
_BODIES_HELD = 16
"""Bodies that are kept at the same time: so many bytes, or so many of the largest."""
_DISCARDED = 64
"""How many times the limit of a body that is too large is read and thrown away: most clients read no answer before
they have sent everything."""


class Guard:
    """Wraps an application.

    Args:
        app: The application; it finds the allowance of a request's key in its scope, under `ALLOWANCE`.
        access: Who may ask.
        max_bytes: How large a request's body may be.
        seconds: How long a body may take to arrive.
    """

    def __init__(self, app: ASGIApp, access: Access, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._access = access
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._most_held = max(_HELD, _BODIES_HELD * max_bytes)
        self._held = 0

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
            await self._handle(scope, receive, watched)
        except ClientDisconnect:
            return
        except ApiError as error:
            await _reply(error, scope, receive, watched)
        except Exception as error:
            # Neither its message nor its traceback: both can hold parts of the request.
            _log.error("a request failed: %s", type(error).__name__)
            if not started:
                await _reply(ApiError(500, "internal_error", "The server failed."), scope, receive, watched)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope[ALLOWANCE] = self._allowance(scope)
        except ApiError:
            # Most clients read no answer before they have sent everything; what nobody may send is not kept.
            await self._body(receive, 0)
            raise
        body = await self._body(receive, self._max_bytes)
        if body is None:
            raise ApiError(413, "request_too_large", f"The request is larger than {self._max_bytes:,} bytes.")
        self._held += len(body)
        try:
            if self._held > self._most_held:
                raise ApiError(503, "overloaded", "Too many large requests wait; try again later.", retry_after=1)
            await _until_hung_up(self._app, scope, body, receive, send)
        finally:
            self._held -= len(body)

    def _allowance(self, scope: Scope) -> Allowance | None:
        """The allowance of the request's key; None for the one request that needs no key and brings none."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        self._access.check_host(headers.get(b"host"))
        try:
            allowance = self._access.allowance(headers.get(b"authorization"))
        except ApiError:
            if scope["path"] == _OPEN_TO_ALL:
                return None
            raise
        if scope["path"] != _OPEN_TO_ALL:
            allowance.request()
        return allowance

    async def _body(self, receive: Receive, most: int) -> bytes | None:
        """The request's body, or None when it is larger than so many bytes.

        Raises:
            ApiError: With status 408, when it does not arrive.
            ClientDisconnect: The client has left.
        """
        try:
            return await asyncio.wait_for(_read(receive, most, _DISCARDED * self._max_bytes), self._seconds)
        except asyncio.TimeoutError:
            raise ApiError(408, "request_timeout", "The request took too long to arrive.") from None


async def _read(receive: Receive, most: int, discarded: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    more = True
    while more and size <= discarded:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        more = bool(message.get("more_body", False))
        size += len(part)
        if size <= most:
            parts.append(part)
        else:
            parts.clear()
    return b"".join(parts) if size <= most else None


async def _until_hung_up(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Runs the application on a body that has been read, until it ends or the client leaves."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            await asyncio.Event().wait()  # for ever: it is noticed here when the client leaves
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    running = asyncio.ensure_future(app(scope, replay, send))
    left = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait({running, left}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, left):
            task.cancel()
        await asyncio.gather(running, left, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reply(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    headers = error.headers()
    if error.status in (408, 413):
        headers["connection"] = "close"  # what is still to come of the request is not read
    response: Any = JSONResponse(error.body(), status_code=error.status, headers=headers)
    await response(scope, receive, send)
