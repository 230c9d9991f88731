"""Work spread over the nodes of a job.

Of a Snowflake ML Job with several instances only the first runs the command; the others have joined its Ray cluster and
wait for tasks. Where there is one node, or no cluster, the work is done right here.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["node_count", "over_nodes"]

T = TypeVar("T")
_AT_A_TIME = 4
"""Tasks in flight for each node: enough that none waits, few enough that results do not pile up."""


def node_count() -> int:
    """How many nodes this job was given."""
    return int(os.environ.get("SNOWFLAKE_JOBS_COUNT") or 1)


def over_nodes(function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> Iterator[T]:
    """Calls a function for each tuple of arguments; the results come in the order of the calls.

    Args:
        function: A function of a module that all nodes can import.
        calls: Its arguments, call by call.

    Yields:
        What each call gives.
    """
    ray = _cluster() if node_count() > 1 and len(calls) > 1 else None
    if ray is None:
        for arguments in calls:
            yield function(*arguments)
        return
    # The nodes share the job's stage, and with it the folder that the payload lies in.
    paths = {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}
    remote: Any = ray.remote(function).options(runtime_env=paths, scheduling_strategy="SPREAD")
    waiting = deque(calls)
    under_way: deque[Any] = deque()
    while waiting or under_way:
        while waiting and len(under_way) < _AT_A_TIME * node_count():
            under_way.append(remote.remote(*waiting.popleft()))
        yield ray.get(under_way.popleft())


def _cluster() -> Any:
    """Ray, joined to the job's cluster; None where there is none."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        return None
    if getattr(ray, "remote", None) is None:
        return None
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError:
            return None
    return ray
