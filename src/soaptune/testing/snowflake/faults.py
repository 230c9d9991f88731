"""Faults on order: what goes wrong between a client and its account, so that a pipeline can be tested for it."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

Kind = Literal["before", "after", "throttle"]


@dataclass
class Fault:
    """One thing that shall go wrong.

    Attributes:
        kind: Drop the connection before or after the statement ran, or throttle.
        pattern: The statements it befalls.
        left: How often it still happens.
        recover: Whether the connector's own retry is answered.
        status: The HTTP status of a throttled answer.
    """

    kind: Kind
    pattern: re.Pattern[str]
    left: int
    recover: bool = True
    status: int = 503


@dataclass
class Faults:
    """Orders faults; each happens as often as it was ordered, then everything works again.

    Attributes:
        account: Whose connections they befall.
        log_delay: How many seconds a job's log lags behind.
    """

    account: Account = field(repr=False)
    log_delay: float = 0.0
    _ordered: list[Fault] = field(default_factory=list[Fault])
    _failing_puts: set[int] = field(default_factory=set[int])
    _puts: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def drop_connection(
        self, *, before: str | None = None, after: str | None = None, times: int = 1, recover: bool = False
    ) -> None:
        """Cuts the connection at statements that match, before they ran or after they took effect.

        The connector tries again by itself. With `recover` that is answered, as a server does: a statement that has
        taken effect is not run again. Without it the retry is turned away, and the client sees a network error.

        Args:
            before: A regular expression of the statements that do not run.
            after: A regular expression of the statements that run and whose answer is lost.
            times: How many statements it befalls.
            recover: Whether the connector's own retry is answered.

        Raises:
            ValueError: If not exactly one of `before` and `after` is given.
        """
        if (before is None) == (after is None):
            raise ValueError("drop_connection takes either before= or after=, a regular expression of statements")
        kind: Kind = "before" if before is not None else "after"
        self._order(kind, before or after or "", times, recover=recover)

    def throttle(self, pattern: str = "", *, times: int = 1, status: Literal[429, 503] = 503) -> None:
        """Answers requests with "too many" or "not now"; the connector tries again after a second.

        Args:
            pattern: A regular expression of the statements it befalls; all by default.
            times: How many requests are turned away.
            status: The HTTP status they are turned away with.
        """
        self._order("throttle", pattern, times, status=status)

    def expire_session(self, *, renewable: bool = True) -> None:
        """Expires the tokens of all sessions that are logged in now, but for those of jobs.

        Args:
            renewable: Whether the client may renew its token, which the connector does by itself. If not, the session
                is lost, and every statement fails until the client logs in again.
        """
        for session in self.account.sessions:
            if session.of_job:
                continue
            session.expired = True
            session.lost = session.lost or not renewable

    def fail_put(self, n: int = 1) -> None:
        """Makes the upload of the nth file set from now fail, on the client's side as well.

        Args:
            n: Which PUT, counted from 1.

        Raises:
            ValueError: If `n` is less than 1.
        """
        if n < 1:
            raise ValueError("fail_put counts from 1, the next PUT")
        with self._lock:
            self._failing_puts.add(self._puts + n)

    def kill_job(self, name: str = "", *, after: float = 0.0, times: int = 1) -> None:
        """Kills jobs while they run, as the system does with what takes too much memory.

        Args:
            name: A regular expression of the names of the jobs it befalls; any by default.
            after: How many seconds a job runs before.
            times: How many jobs it befalls.
        """
        self.account.jobs.kill_later(name, after, times)

    def preempt_node(self, name: str = "", *, after: float = 0.0, instance: int = 0, times: int = 1) -> None:
        """Takes the node of an instance away from running jobs.

        Args:
            name: A regular expression of the names of the jobs it befalls; any by default.
            after: How many seconds a job runs before.
            instance: Which of its instances loses its node.
            times: How many jobs it befalls.
        """
        self.account.jobs.preempt_later(name, after, instance, times)

    def delay_logs(self, seconds: float) -> None:
        """Lets the log of jobs lag behind, as it does on the server.

        Args:
            seconds: By how much; 0 ends it.
        """
        self.log_delay = seconds

    def take(self, kind: Kind, sql: str) -> Fault | None:
        """The fault of a kind that a statement meets now, if any; it counts as having happened."""
        with self._lock:
            for fault in self._ordered:
                if fault.kind == kind and fault.left > 0 and fault.pattern.search(sql):
                    fault.left -= 1
                    return fault
        return None

    def put_fails(self) -> bool:
        """Counts a PUT; whether it is one that shall fail."""
        with self._lock:
            self._puts += 1
            return self._puts in self._failing_puts

    def _order(self, kind: Kind, pattern: str, times: int, *, recover: bool = True, status: int = 503) -> None:
        compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        with self._lock:
            self._ordered.append(Fault(kind, compiled, times, recover, status))
