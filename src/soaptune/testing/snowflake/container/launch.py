"""What ``python …/mljob_launcher.py`` is in an emulated container: it asks the container's supervisor for a fork.

Started with the name of the supervisor's socket and the script with its arguments. It ends as the fork does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def main(name: str, argv: list[str]) -> int:
    """Has the script run, and waits for it.

    Returns:
        Its exit status. One that a signal has ended ends this process in the same way.
    """
    asked = os.memfd_create("asked")
    with open(asked, "w+", encoding="utf-8") as file:  # noqa: PTH123
        json.dump({"argv": argv, "env": dict(os.environ), "cwd": os.getcwd()}, file)  # noqa: PTH109
        file.flush()
        file.seek(0)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(f"\0{name}")
        socket.send_fds(connection, [b"."], [0, 1, 2, file.fileno()])
    code = int(connection.recv(16) or 1)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
