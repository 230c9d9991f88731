"""Containers of inference services: one child process for each, supervised, and gone with whoever started it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

RUNNER = "soaptune.testing.snowflake.service_runner"
START_TIMEOUT = 300.0
"""Seconds that a model may take to load; importing torch on a busy machine alone takes many."""


class ContainerError(Exception):
    """The program in the container ended, or does not answer; the message holds its last lines."""


class Container:
    """A process that answers for one packed model on loopback.

    Attributes:
        log: The file with what the process prints.
        port: Where it answers; 0 until it does.
    """

    def __init__(self, model: Path, scratch: Path, log: Path, *, workers: int = 1) -> None:
        """Starts the process; `wait_until_ready` says when it answers.

        Args:
            model: The folder of the packed model.
            scratch: A folder of the container's own, its working directory.
            log: Where its output is appended.
            workers: How many requests it answers at a time.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.port = 0
        self._ready = scratch / "ready"
        self._ready.unlink(missing_ok=True)
        self._lock = threading.Lock()
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", RUNNER, str(model), "--ready", str(self._ready), "--workers", str(workers)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=scratch,
                env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Waits until the model is loaded.

        Raises:
            ContainerError: If the process ends first, or takes longer.
        """
        deadline = time.monotonic() + timeout
        while not self._ready.exists():
            if not self.alive:
                raise ContainerError(f"the container ended with code {self._process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ContainerError(f"the container does not answer after {timeout:.0f} s:\n{self.tail()}")
            time.sleep(0.05)
        self.port = int(self._ready.read_text(encoding="ascii"))

    def post(self, path: str, body: bytes, timeout: float | None = None) -> tuple[int, bytes]:
        """Sends a request to the program; gives its status and body.

        Raises:
            ContainerError: If it does not answer at all.
            TimeoutError: If it takes longer than `timeout` seconds.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            # A process that is dying closes its connections first; the next request must not take it for alive.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            raise ContainerError(f"the container does not answer: {error}\n{self.tail()}") from error
        finally:
            connection.close()

    def call(self, method: str, rows: list[list[Any]]) -> list[Any]:
        """Calls a method with rows of values, as a SQL function does; gives one answer for each row.

        Raises:
            ContainerError: If the program does not answer, or answers with an error.
        """
        content = {"data": [[index, *row] for index, row in enumerate(rows)]}
        code, body = self.post("/" + method.replace("_", "-"), json.dumps(content).encode())
        answer: dict[str, Any] = json.loads(body)
        if code != 200:
            raise ContainerError(str(answer.get("error", body)))
        return [row for _, row in answer["data"]]

    def tail(self, lines: int = 20) -> str:
        """The last lines of the output."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    def stop(self) -> None:
        """Ends the process and whatever it started; again is no harm."""
        with self._lock:
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
            for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
                if self._process.poll() is not None:
                    break
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)
            self.port = 0
