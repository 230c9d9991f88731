"""Connections that end: uvicorn's protocol with a deadline for each request to arrive, and a bound on their number.

uvicorn closes a connection that is idle after an answer, and none that has not asked yet or sends its request a byte at
a time; nor does it notice that a client which sent more than one request at once has left.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from soaptune.runtime.serve.surface import ApiError

__all__ = ["connection_bound", "protocol"]

_SPARE_FILES = 64
"""Open files that are for other things than connections."""
_MOST_PIPELINED = 65_536
"""Bytes that a client may send ahead of the answer that it waits for."""


def connection_bound(wanted: int) -> int:
    """How many connections may be open: what is wanted, as far as the process may have that many files open."""
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + _SPARE_FILES:
        soft = wanted + _SPARE_FILES if hard == resource.RLIM_INFINITY else min(hard, wanted + _SPARE_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(2, min(wanted, soft - _SPARE_FILES))


def protocol(*, arrival: float, connections: int) -> type[H11Protocol]:
    """Makes the protocol class for `uvicorn.Config`.

    Args:
        arrival: Seconds in which a request's head, and then its body, must have arrived.
        connections: How many connections may be open.
    """
    # In the order in which they began to; of those that are being answered none is here.
    waiting: dict[_Connection, None] = {}

    class Bounded(_Connection):
        seconds = arrival
        most = connections
        incomplete = waiting

    return Bounded


class _Connection(H11Protocol):
    seconds: float
    most: int
    incomplete: dict[_Connection, None]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            # Who has sent no whole request makes room; when all have, the newcomer has to come again.
            next(iter(self.incomplete), self)._abort()
        if not transport.is_closing():
            self._await("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._await("")
        self.incomplete.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        awaited = self._what_is_awaited()
        if not awaited:
            self._read_on()
        # A request that arrives in pieces has one deadline; an idle connection gets one with its next byte.
        if awaited != self._awaited:
            self._await(awaited)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                self.loop.call_later(self.seconds, self.transport.abort)  # who reads no answer is not waited for
            return
        self._await("idle" if self._what_is_awaited() == "head" else self._what_is_awaited())

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP; in the shape of all other errors."""
        del msg
        error = ApiError(400, "invalid_http", "This is not a request of HTTP/1.1 that can be read.")
        body = json.dumps(error.body()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _what_is_awaited(self) -> str:
        """Which part of a request is to come: ``"head"``, ``"body"``, or nothing while one is being answered."""
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:
            return "head"
        return "body" if cycle.more_body else ""

    def _read_on(self) -> None:
        """Goes on reading behind a request that is being answered: else it would not be noticed that a client left."""
        if len(self.conn.trailing_data[0]) > _MOST_PIPELINED:
            self._abort()
        else:
            self.flow.resume_reading()

    def _await(self, what: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._awaited = what
        if what:
            self.incomplete[self] = None
        else:
            self.incomplete.pop(self, None)
        # A body that does not come is answered by `soaptune.runtime.serve.limits.Guard`; this is for what goes on.
        seconds = {"head": self.seconds, "body": 2 * self.seconds}.get(what)
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._abort)

    def _abort(self) -> None:
        self._await("")
        self.transport.abort()
