"""Who may ask, and how much: API keys, host names, and what each key may use in a minute."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import time
from collections.abc import Callable, Iterable, Sequence

from soaptune.runtime.serve.surface import ApiError

__all__ = ["Access", "Allowance"]


class Allowance:
    """What one key may use: so much in a minute, and as much at once after a minute of rest.

    Args:
        requests: Requests in a minute; None for any number.
        tokens: Tokens in a minute; None for any number.
        now: The clock.
    """

    def __init__(self, requests: int | None, tokens: int | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._requests = _Bucket(requests, now)
        self._tokens = _Bucket(tokens, now)

    def request(self) -> None:
        """Counts a request.

        Raises:
            ApiError: With status 429, when there was more than is allowed.
        """
        wait = max(self._requests.wait(), self._tokens.wait())
        if wait > 0:
            raise ApiError(
                429, "rate_limit_exceeded", "This key has asked too much; try again later.", retry_after=math.ceil(wait)
            )
        self._requests.take(1)

    def used(self, tokens: int) -> None:
        """Counts the tokens of an answer; who has used more than there was has to wait for them."""
        self._tokens.take(tokens)


class _Bucket:
    """A token bucket."""

    def __init__(self, per_minute: int | None, now: Callable[[], float]) -> None:
        self._size = math.inf if per_minute is None else float(per_minute)
        self._level = self._size
        self._now = now
        self._seen = now()

    def wait(self) -> float:
        """Seconds until there is one to take."""
        if math.isinf(self._size):
            return 0.0
        now = self._now()
        self._level = min(self._size, self._level + (now - self._seen) * self._size / 60)
        self._seen = now
        return max(0.0, (1 - self._level) * 60 / self._size)

    def take(self, amount: int) -> None:
        self._level -= amount


class Access:
    """Decides on a request by its head.

    Args:
        hashes: The SHA-256 digests of the keys; none when no key is needed.
        hosts: The names by which the server may be called.
        any_address: Whether it may also be called by any address of digits, and not only by this machine's own.
        requests: What `Allowance` is given, for each key.
        tokens: What `Allowance` is given, for each key.
    """

    def __init__(
        self,
        hashes: Sequence[bytes] = (),
        *,
        hosts: Iterable[str] = (),
        any_address: bool = False,
        requests: int | None = None,
        tokens: int | None = None,
    ) -> None:
        self._hashes = tuple(hashes)
        self._hosts = frozenset(host.lower() for host in hosts)
        self._any_address = any_address
        self._allowances = [Allowance(requests, tokens) for _ in self._hashes or (b"",)]

    def check_host(self, host: str | None) -> None:
        """Refuses a request that was sent to another name: a page whose name was bound anew to this machine's address.

        Raises:
            ApiError: With status 421.
        """
        name = _name(host or "")
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            known = name == "localhost" or name in self._hosts
        else:
            known = name in self._hosts or address.is_loopback or (self._any_address and not address.is_unspecified)
        if not known:
            raise ApiError(
                421,
                "unknown_host",
                "This server is not called by that name; its operator can allow it with allowed_hosts.",
            )

    def allowance(self, authorization: str | None) -> Allowance:
        """The allowance of a request's key.

        Raises:
            ApiError: With status 401, when it has none, or none that is known.
        """
        if not self._hashes:
            return self._allowances[0]
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode("latin-1", "replace")).digest()
        # All are compared, each in constant time, so that the time tells nothing about any.
        matches = [hmac.compare_digest(digest, each) for each in self._hashes]
        if scheme.lower() != "bearer" or True not in matches:
            raise ApiError(
                401,
                "invalid_api_key",
                "This endpoint needs an API key that it knows, in the header: Authorization: Bearer KEY.",
            )
        return self._allowances[matches.index(True)]


def _name(host: str) -> str:
    """A ``Host`` header without its port and the brackets of IPv6."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")
