"""Stands in for the Ray cluster of a job: copied over the SDK's scripts that start it, join it and end it.

The instances of an emulated job are process trees on one machine, and no Ray runs among them. What the SDK's start
script needs of Ray is kept, with the folder `CLUSTER` as the meeting place: an instance that is up leaves a file
``node-<index>`` there, the head asks the workers to leave with the file ``shutdown``, and each answers with
``left-<index>``. The name under which a copy is called says what it does.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

CLUSTER = Path("@CLUSTER@")
INDEX = os.environ.get("SNOWFLAKE_JOB_INDEX", "0")


def start() -> int:
    """What start_mlruntime.sh does on the platform: this node joins the cluster."""
    (CLUSTER / f"node-{INDEX}").touch()
    return 0


def address() -> int:
    """What get_instance_ip.py does: our own address, or index, address and status of the head, which is instance 0."""
    print("0 127.0.0.1 READY" if "--head" in sys.argv else "127.0.0.1")
    return 0


def listen() -> int:
    """What worker_shutdown_listener.py does: a worker stays until the head lets it go."""
    while not (CLUSTER / "shutdown").exists():
        time.sleep(0.05)
    (CLUSTER / f"left-{INDEX}").touch()
    return 0


def signal_workers() -> int:
    """What signal_workers.py does: lets the workers go, and waits for their answer as long as it is told to.

    Raises:
        TimeoutError: If a worker does not answer.
    """
    (CLUSTER / "shutdown").touch()
    seconds = float(sys.argv[sys.argv.index("--wait-time") + 1]) if "--wait-time" in sys.argv else 10.0
    until = time.monotonic() + seconds
    workers = {path.name.removeprefix("node-") for path in CLUSTER.glob("node-*")} - {"0"}
    while not all((CLUSTER / f"left-{worker}").exists() for worker in workers):
        if time.monotonic() > until:
            raise TimeoutError(f"Timed out waiting for {len(workers)} workers to acknowledge shutdown")
        time.sleep(0.05)
    return 0


PROGRAMS = {
    "cluster.py": start,
    "get_instance_ip.py": address,
    "worker_shutdown_listener.py": listen,
    "signal_workers.py": signal_workers,
}

if __name__ == "__main__":
    sys.exit(PROGRAMS[Path(sys.argv[0]).name]())
