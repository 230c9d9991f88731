"""A port for each job: no two jobs of this machine are given the same one while both run. Standard library alone."""

from __future__ import annotations

import random
import socket

__all__ = ["reserve_port"]

_FIRST, _LAST = 20_000, 32_000
"""Below the range from which Linux and macOS take the ports of outgoing connections."""


def reserve_port() -> tuple[int, socket.socket]:
    """Finds a free TCP port and keeps other jobs from being given it.

    The reservation is the UDP port of the same number: it leaves the TCP port to the job, and the system lifts it when
    its holder ends, however that happens. A program that is not a job may still take the port before the job
    listens on it; the job then fails with "address already in use", and is submitted again.

    Returns:
        The port, and the reservation, to be kept open for as long as the job runs.

    Raises:
        OSError: No port is free.
    """
    chance = random.SystemRandom()
    for port in chance.sample(range(_FIRST, _LAST), 200):
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reservation.bind(("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind(("", port))
        except OSError:
            reservation.close()
            continue
        return port, reservation
    raise OSError("no free port was found on this machine")
