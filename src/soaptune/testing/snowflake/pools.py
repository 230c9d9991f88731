"""Compute pools: their nodes, their states, and who holds how many nodes."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake.inline import moment
from soaptune.testing.snowflake.literals import TEXT, like, text
from soaptune.testing.snowflake.names import PART, unquoted, written
from soaptune.testing.snowflake.results import Result, SqlError, exists, missing, rows, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

FAMILIES: dict[str, tuple[int, int, int, str | None]] = {
    "CPU_X64_XS": (1, 6, 0, None),
    "CPU_X64_S": (3, 13, 0, None),
    "CPU_X64_M": (6, 28, 0, None),
    "CPU_X64_SL": (14, 54, 0, None),
    "CPU_X64_L": (28, 116, 0, None),
    "HIGHMEM_X64_S": (6, 58, 0, None),
    "HIGHMEM_X64_M": (28, 240, 0, None),
    "HIGHMEM_X64_SL": (92, 654, 0, None),
    "HIGHMEM_X64_L": (124, 984, 0, None),
    "GPU_NV_S": (6, 27, 1, "A10G"),
    "GPU_NV_M": (44, 178, 4, "A10G"),
    "GPU_NV_L": (92, 1112, 8, "A100"),
    "GPU_NV_XS": (3, 26, 1, "T4"),
    "GPU_NV_SM": (32, 424, 1, "A10"),
    "GPU_NV_2M": (68, 858, 2, "A10"),
    "GPU_NV_3M": (44, 424, 2, "A100"),
    "GPU_NV_SL": (92, 858, 4, "A100"),
    "GPU_GCP_NV_L4_1_24G": (6, 28, 1, "L4"),
    "GPU_GCP_NV_L4_4_24G": (44, 178, 4, "L4"),
    "GPU_GCP_NV_A100_8_40G": (92, 654, 8, "A100"),
}
"""By name: CPUs, memory in GiB, GPUs and their kind; after snowflake/ml/jobs/_utils/constants.py:96."""

_COLUMNS = (
    "name state min_nodes max_nodes instance_family num_services num_jobs auto_suspend_secs auto_resume active_nodes "
    "idle_nodes target_nodes created_on resumed_on updated_on owner comment is_exclusive application budget error_code "
    "status_message"
).split()
_NUMBERS = ("min_nodes", "max_nodes", "num_services", "num_jobs", "auto_suspend_secs", "active_nodes", "idle_nodes")
_TYPES: dict[str, str] = dict.fromkeys((*_NUMBERS, "target_nodes"), "fixed")


@dataclass
class Pool:
    """A compute pool.

    Attributes:
        name: Its name, unquoted.
        instance_family: What its nodes are.
        min_nodes: How many nodes stay while it is not suspended.
        max_nodes: How many it may have.
        auto_resume: Whether a job or service resumes it.
        auto_suspend_secs: After how many idle seconds it suspends itself; 0 for never.
        comment: What its owner says of it.
        owner: Whose it is.
        suspended: Whether it is, or will be when its jobs have ended.
        ready_at: Until when it is starting.
        jobs: The nodes that jobs hold, by the id of the job.
        services: The nodes that services hold, by the name of the service.
    """

    name: str
    instance_family: str = "GPU_NV_M"
    min_nodes: int = 1
    max_nodes: int = 2
    auto_resume: bool = True
    auto_suspend_secs: int = 3600
    comment: str = ""
    owner: str = ""
    suspended: bool = False
    ready_at: float = 0.0
    created_on: float = field(default_factory=time.time)
    updated_on: float = field(default_factory=time.time)
    resumed_on: float | None = None
    idle_since: float = field(default_factory=time.time)
    jobs: dict[str, int] = field(default_factory=dict[str, int])
    services: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def active_nodes(self) -> int:
        """The nodes in use."""
        return sum(self.jobs.values()) + sum(self.services.values())

    @property
    def state(self) -> str:
        """What SHOW COMPUTE POOLS says of it now."""
        now = time.time()
        idle = not self.active_nodes
        if idle and self.auto_suspend_secs and now - max(self.idle_since, self.ready_at) > self.auto_suspend_secs:
            self.suspended = True
        if self.suspended:
            return "SUSPENDED" if idle else "STOPPING"
        if now < self.ready_at:
            return "STARTING"
        return "IDLE" if idle else "ACTIVE"

    @property
    def gpus(self) -> int:
        """The GPUs of a node."""
        return FAMILIES[self.instance_family][2]

    def row(self) -> list[Any]:
        """Its row of SHOW and DESCRIBE."""
        state = self.state
        up = 0 if state in ("SUSPENDED", "STARTING") else max(self.min_nodes, self.active_nodes)
        target = 0 if state == "SUSPENDED" else max(self.min_nodes, self.active_nodes)
        resumed = moment(self.resumed_on or self.created_on)
        times = [moment(self.created_on), resumed, moment(self.updated_on)]
        counts = [len(self.services), len(self.jobs), self.auto_suspend_secs, self.auto_resume]
        nodes = [self.active_nodes, up - min(up, self.active_nodes), target]
        head = [written(self.name), state, self.min_nodes, self.max_nodes, self.instance_family]
        return [*head, *counts, *nodes, *times, self.owner, self.comment or None, False, None, None, None, None]


class Pools:
    """The compute pools of an account. A job takes whole nodes, one for each of its instances, as on the platform.

    Attributes:
        account: Whose pools they are.
        start_seconds: How long a pool takes to start or resume; minutes on the platform, nothing here by default.
        max_nodes: The account's quota: how many nodes all pools together may be allowed to have.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.start_seconds = 0.0
        self.max_nodes = 100
        self._lock = threading.RLock()
        self._pools = {"GPU_POOL": Pool("GPU_POOL", owner=account.role)}

    def __iter__(self) -> Any:
        with self._lock:
            return iter([self._pools[name] for name in sorted(self._pools)])

    def find(self, name: str) -> Pool:
        """A pool by its unquoted name.

        Raises:
            SqlError: If there is none.
        """
        with self._lock:
            if name not in self._pools:
                raise missing("Compute Pool", written(name))
            return self._pools[name]

    def create(self, name: str, **options: Any) -> Pool:
        """A new pool, starting.

        Raises:
            SqlError: If the name is taken, or the options make no sense.
        """
        with self._lock:
            if name in self._pools:
                raise exists("Compute Pool", written(name))
            pool = Pool(name, owner=self.account.role, **options)
            self._check(pool)
            pool.ready_at = time.time() + self.start_seconds
            self._pools[name] = pool
        return pool

    def drop(self, name: str) -> None:
        """Removes a pool.

        Raises:
            SqlError: If there is none, or something still runs in it.
        """
        waited_for = self.account.jobs.waiting_for(name)
        with self._lock:
            pool = self.find(name)
            if pool.active_nodes or waited_for:
                words = f"Compute pool {written(name)} cannot be dropped: services or jobs are still using it."
                raise SqlError(392510, words)
            del self._pools[name]

    def alter(self, name: str, **options: Any) -> None:
        """Changes a pool.

        Raises:
            SqlError: If there is none, or the options make no sense.
        """
        with self._lock:
            pool = self.find(name)
            changed = replace(pool, updated_on=time.time(), **options)
            self._check(changed, instead_of=pool)
            vars(pool).update(vars(changed))
        self.account.jobs.wake()

    def suspend(self, name: str) -> None:
        """Suspends a pool; what runs in it is allowed to end, and nothing new starts."""
        self.find(name).suspended = True

    def resume(self, name: str) -> None:
        """Resumes a pool; it is starting first."""
        with self._lock:
            pool = self.find(name)
            if pool.state in ("SUSPENDED", "STOPPING"):
                pool.suspended, pool.resumed_on = False, time.time()
                pool.ready_at = pool.idle_since = time.time() + self.start_seconds
        self.account.jobs.wake()

    def admit(self, name: str, instances: int = 1) -> Pool:
        """A pool for something that shall run in it; resumed if it is suspended and may be.

        Raises:
            SqlError: If there is none, it stays suspended, or can never have so many nodes.
        """
        pool = self.find(name)
        if instances > pool.max_nodes:
            words = (
                f"Compute pool {written(name)} has at most {pool.max_nodes} nodes; {instances} instances do not fit."
            )
            raise SqlError(392511, words)
        if pool.state in ("SUSPENDED", "STOPPING"):
            if not pool.auto_resume:
                raise SqlError(392512, f"Compute pool {written(name)} is suspended and auto_resume is disabled.")
            self.resume(name)
        return pool

    def take(self, name: str, holder: str, least: int, most: int, *, service: bool = False) -> int:
        """Takes nodes for a job or service, if enough are free now.

        Returns:
            How many were taken: as many as are free, from `least` to `most`, or none.
        """
        with self._lock:
            pool = self._pools.get(name)
            free = pool.max_nodes - pool.active_nodes if pool and pool.state in ("IDLE", "ACTIVE") else 0
            if pool is None or free < least:
                return 0
            count = min(free, most)
            (pool.services if service else pool.jobs)[holder] = count
            return count

    def give(self, name: str, holder: str) -> None:
        """Gives back all nodes of a job or service."""
        with self._lock:
            pool = self._pools.get(name)
            if pool and (pool.jobs.pop(holder, 0) or pool.services.pop(holder, 0)):
                pool.idle_since = time.time()
        self.account.jobs.wake()

    def starting_until(self) -> float | None:
        """When the next pool that is starting will be there."""
        times = [pool.ready_at for pool in self if pool.ready_at > time.time()]
        return min(times) if times else None

    def _check(self, pool: Pool, instead_of: Pool | None = None) -> None:
        if pool.instance_family not in FAMILIES:
            families = ", ".join(FAMILIES)
            raise SqlError(392508, f"Instance family '{pool.instance_family}' is not available; valid are {families}.")
        if not 0 <= pool.min_nodes <= pool.max_nodes or pool.max_nodes < 1:
            raise SqlError(392513, f"Invalid node counts: min_nodes {pool.min_nodes}, max_nodes {pool.max_nodes}.")
        total = sum(other.max_nodes for other in self if other is not instead_of) + pool.max_nodes
        if total > self.max_nodes:
            words = f"Compute pools would have up to {total} nodes; the account is limited to {self.max_nodes}."
            raise SqlError(392509, words)


_OPTION = re.compile(rf"\b(\w+)\s*=\s*({TEXT}|\w+)")
_POOL = rf"(?P<name>{PART})"


def _options(sql: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _OPTION.findall(sql):
        plain = text(value) if value[0] in "'$" else value.upper()
        match key.lower():
            case "min_nodes" | "max_nodes" | "auto_suspend_secs" as name:
                found[name] = int(plain)
            case "auto_resume":
                found["auto_resume"] = plain.upper() == "TRUE"
            case "instance_family":
                found["instance_family"] = plain.upper()
            case "comment":
                found["comment"] = plain
            case _:
                pass
    return found


@handles(r"^SHOW\s+COMPUTE\s+POOL\s+INSTANCE\s+FAMILIES", issued_by="users")
def show_families(account: Account, call: Call) -> Result:
    """What nodes there are."""
    del account, call
    columns = ["name", "description", "vcpu", "memory_gib", "gpu", "gpu_count", "gpu_memory_gib"]
    found = [
        [name, "", cpus, memory, f"NVIDIA {gpu}" if gpu else "", gpus, _gpu_memory(name, gpu)]
        for name, (cpus, memory, gpus, gpu) in FAMILIES.items()
    ]
    return rows(columns, found, dict.fromkeys(("vcpu", "memory_gib", "gpu_count", "gpu_memory_gib"), "fixed"))


def _gpu_memory(family: str, gpu: str | None) -> int:
    if family in ("GPU_NV_3M", "GPU_NV_SL"):
        return 80
    return {"A10G": 24, "A10": 24, "L4": 24, "T4": 16, "A100": 40}.get(gpu or "", 0)


@handles(r"^SHOW\s+COMPUTE\s+POOLS(?:\s+LIKE\s+(?P<like>\?|" + TEXT + r"))?", issued_by="snowflake/ml/jobs/job.py:975")
def show_pools(account: Account, call: Call) -> Result:
    """The pools, all or those whose name is like a pattern."""
    pattern = call["like"]
    wanted = call.binds[0] if pattern == "?" else pattern and text(pattern)
    found = [pool.row() for pool in account.pools if wanted is None or like(wanted, pool.name)]
    return rows(_COLUMNS, found, _TYPES)


@handles(rf"^DESC(?:RIBE)?\s+COMPUTE\s+POOL\s+{_POOL}", issued_by="users")
def describe_pool(account: Account, call: Call) -> Result:
    """One pool."""
    return rows(_COLUMNS, [account.pools.find(unquoted(call["name"] or "")).row()], _TYPES)


@handles(rf"^CREATE\s+COMPUTE\s+POOL\s+(?P<kept>IF\s+NOT\s+EXISTS\s+)?{_POOL}(?P<rest>.*)", issued_by="users")
def create_pool(account: Account, call: Call) -> Result:
    """A new pool; INITIALLY_SUSPENDED is understood."""
    name, rest = unquoted(call["name"] or ""), call["rest"] or ""
    if call["kept"] and any(pool.name == name for pool in account.pools):
        return status(f"{written(name)} already exists, statement succeeded.")
    options = _options(rest)
    if not {"min_nodes", "max_nodes", "instance_family"} <= options.keys():
        raise SqlError(
            2029, "SQL compilation error:\nMissing option: MIN_NODES, MAX_NODES and INSTANCE_FAMILY are needed."
        )
    account.pools.create(name, **options)
    if re.search(r"\bINITIALLY_SUSPENDED\s*=\s*TRUE\b", rest, re.IGNORECASE):
        account.pools.suspend(name)
    return status(f"Compute pool {written(name)} successfully created.")


@handles(rf"^ALTER\s+COMPUTE\s+POOL\s+(?P<kept>IF\s+EXISTS\s+)?{_POOL}\s+(?P<what>.*)", issued_by="users")
def alter_pool(account: Account, call: Call) -> Result:
    """SUSPEND, RESUME, STOP ALL, SET and UNSET COMMENT."""
    name, what = unquoted(call["name"] or ""), (call["what"] or "").strip()
    if call["kept"] and all(pool.name != name for pool in account.pools):
        return status()
    match what.upper().split():
        case ["SUSPEND"]:
            account.pools.suspend(name)
        case ["RESUME"]:
            account.pools.resume(name)
        case ["STOP", "ALL"]:
            account.pools.find(name)
            account.jobs.cancel_all_in(name)
        case ["SET", *_]:
            account.pools.alter(name, **_options(what[3:]))
        case ["UNSET", "COMMENT"]:
            account.pools.alter(name, comment="")
        case _:
            raise SqlError(1003, f"SQL compilation error:\nsyntax error: ALTER COMPUTE POOL cannot '{what}'.")
    return status()


@handles(rf"^DROP\s+COMPUTE\s+POOL\s+(?P<kept>IF\s+EXISTS\s+)?{_POOL}", issued_by="users")
def drop_pool(account: Account, call: Call) -> Result:
    """Removes a pool in which nothing runs."""
    name = unquoted(call["name"] or "")
    if call["kept"] and all(pool.name != name for pool in account.pools):
        return status("Drop statement executed successfully.")
    account.pools.drop(name)
    return status(f"{written(name)} successfully dropped.")
