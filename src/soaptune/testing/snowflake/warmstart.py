"""Starting the supervisors of containers as forks of a process that has imported the SDK: one for all accounts.

It knows nothing of any account, and ends with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

PROGRAM = Path(__file__).parent / "container" / "warm.py"
POSSIBLE = sys.platform == "linux"
"""Elsewhere a process that has loaded the system's frameworks cannot be forked safely."""


class Forked:
    """A supervisor that was forked, with as much of `subprocess.Popen` as a container needs.

    Attributes:
        pid: Its process id.
        stdin: Its leash.
        stdout: What the container prints.
    """

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], status: IO[bytes]) -> None:
        self.stdin, self.stdout = stdin, stdout
        self._status = status
        self._code: int | None = None
        self.pid = int(status.readline() or 0)
        if not self.pid:
            self.wait()
            raise OSError("the process that forks containers has ended")

    def terminate(self) -> None:
        """Asks it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self._send(signal.SIGKILL)

    def wait(self) -> int:
        """Waits until it has ended; gives its exit status, or the negative number of SIGKILL where it wrote none."""
        if self._code is None:
            self._code = int(self._status.read() or -signal.SIGKILL)
            self._status.close()
        return self._code

    def _send(self, number: signal.Signals) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class WarmStart:
    """The process that forks."""

    def __init__(self, kept: Mapping[str, str]) -> None:
        """Starts it.

        Args:
            kept: What of this process's environment containers have too.
        """
        home = tempfile.mkdtemp(prefix="snowflake-warm-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = {**kept, "PATH": os.environ.get("PATH", os.defpath), "HOME": home, "PYTHONUNBUFFERED": "1"}
        with other:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=home,
                env=env,
                start_new_session=True,
            )
        atexit.register(self.close)

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def start(self, config: Path, name: str) -> Forked:
        """Starts the supervisor of a container.

        Args:
            config: Its file.
            name: The name of the socket over which processes of the container ask for a fork.

        Raises:
            OSError: If the process has ended, as it does where the SDK cannot be imported.
        """
        theirs, leash = os.pipe()
        output, its_output = os.pipe()
        status, its_status = os.pipe()
        try:
            message = json.dumps([str(config), name]).encode()
            socket.send_fds(self._control, [message], [theirs, its_output, its_status])
        finally:
            for number in (theirs, its_output, its_status):
                os.close(number)
        return Forked(os.fdopen(leash, "wb", 0), os.fdopen(output, "rb"), os.fdopen(status, "rb"))

    def close(self) -> None:
        """Ends it, and with it whatever still runs in containers."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)


_lock = threading.Lock()
_started: list[WarmStart] = []


def warm_start(kept: Mapping[str, str]) -> WarmStart | None:
    """The process that forks, started when it is first asked for; None where it cannot run."""
    with _lock:
        if not _started and POSSIBLE:
            _started.append(WarmStart(kept))
        return _started[0] if _started and _started[0].runs else None
