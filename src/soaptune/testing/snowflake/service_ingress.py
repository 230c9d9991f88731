"""The ingress of an inference service: the only way in, which checks the token and ends what takes too long.

On a real account it stands in front of the container; here it is a thread that passes requests on over loopback.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from soaptune.testing.snowflake.service_container import Container, ContainerError

TIMEOUT = 60.0
"""Seconds after which the ingress gives a request up."""

HOST = "service.snowflakecomputing.app"
"""What the address ends with: ``ModelVersion.list_services`` shows no address that does not end like Snowflake's own
(snowflake/ml/model/_client/ops/model_ops.py:705). Here it is the first part of the path."""

_TOKEN = re.compile(r'Snowflake Token="([^"]+)"')


class Ingress:
    """Passes requests with a good token on to the container of a service.

    Attributes:
        address: What SHOW ENDPOINTS calls the ingress URL: without a scheme. On loopback clients must use ``http://``.
        timeout: Seconds after which a request is answered 504.
    """

    def __init__(self, container: Callable[[], Container], accepts: Callable[[str], bool]) -> None:
        """Starts listening.

        Args:
            container: The container that answers now, started if need be.
            accepts: Whether a token is good.
        """
        self.timeout = TIMEOUT
        ingress = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = _TOKEN.fullmatch(self.headers.get("Authorization") or "")
                if token is None or not accepts(token[1]):
                    return self._send(404, b"")
                try:
                    code, answer = container().post(self.path.removeprefix(f"/{HOST}"), body, ingress.timeout)
                except TimeoutError:
                    return self._send(504, b"upstream request timeout")
                except ContainerError as error:
                    return self._send(503, json.dumps({"error": str(error)}).encode())
                return self._send(code, answer)

            def _send(self, code: int, content: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", "application/json" if content[:1] == b"{" else "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: a request's line does not belong on the standard error of whoever runs the tests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.address = f"127.0.0.1:{self._server.server_address[1]}/{HOST}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="ingress")
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
