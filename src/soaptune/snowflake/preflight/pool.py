"""The preflight's look at the compute pool: that it runs, is large enough, and that its machines can hold the job."""

from __future__ import annotations

from collections.abc import Iterator

from soaptune.errors import Violation
from soaptune.jobs.memory_need import MemoryNeed
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.names import quote
from soaptune.snowflake.preflight.families import AS_OF, FAMILIES, Family, family, from_row
from soaptune.snowflake.preflight.reading import Reader, Row, Target, Unreadable, finding, truth, unchecked
from soaptune.snowflake.preflight.setup import create_pool

__all__ = ["check"]

_READY = ("IDLE", "ACTIVE", "STARTING", "RESIZING")
_ASLEEP = ("SUSPENDED", "STOPPING")
_GIB = 1.073741824


def check(reader: Reader, target: Target, spec: JobSpec) -> tuple[bool, list[Violation]]:
    """Looks at the pool.

    Args:
        reader: Asks the account.
        target: The names to look for.
        spec: The job.

    Returns:
        Whether the pool is there, and what is wrong with it.
    """
    try:
        row = reader.named("SHOW COMPUTE POOLS", target.pool)
    except Unreadable as error:
        return False, [unchecked("compute_pool", f"the compute pool {target.pool}", error)]
    if row is None:
        wanted = _family_for(spec, target)
        return False, [
            finding(
                "compute_pool",
                "no-such-pool",
                f"there is no compute pool {target.pool}, or the role {target.role} may not see it",
                f"{create_pool(target.pool, instance_family=wanted, max_nodes=target.nodes)} "
                f"GRANT USAGE ON COMPUTE POOL {quote(target.pool)} TO ROLE {quote(target.role)};",
            )
        ]
    found = [*_state(row, target), *_size(row, target)]
    machine, unknown = _machine(reader, row, target)
    found += unknown
    if machine is not None:
        found += _gpus(machine, spec, target)
        found += _memory(machine, spec, target)
    return True, found


def _state(row: Row, target: Target) -> Iterator[Violation]:
    state, pool = str(row.get("state") or "").upper(), quote(target.pool)
    if state in _ASLEEP and not truth(row.get("auto_resume")):
        yield finding(
            "compute_pool",
            "pool-suspended",
            f"the compute pool {target.pool} is {state.lower()} and does not wake up by itself",
            f"ALTER COMPUTE POOL {pool} SET AUTO_RESUME = TRUE; or ALTER COMPUTE POOL {pool} RESUME;",
        )
    elif state not in (*_READY, *_ASLEEP):
        yield finding(
            "compute_pool",
            "pool-state",
            f"the compute pool {target.pool} is in the state {state or 'unknown'}, which this release does not know",
            f"DESCRIBE COMPUTE POOL {pool}; shows its status message.",
            level="warning",
        )
    if truth(row.get("is_exclusive")):
        owner = row.get("application") or "of another owner"
        yield finding(
            "compute_pool",
            "pool-reserved",
            f"the compute pool {target.pool} is reserved for the application {owner}",
            create_pool(f"{target.pool}_JOBS", instance_family="GPU_NV_M", max_nodes=target.nodes),
        )


def _size(row: Row, target: Target) -> Iterator[Violation]:
    if target.nodes > 1:
        yield finding(
            "target_instances",
            "several-nodes-untried",
            f"a job on {target.nodes} nodes works right on its mounted stage, which may refuse the files that training "
            "appends to; soaptune has not been seen to work on more than one node",
            "Take a larger instance family in place of more nodes, or try it with max_steps first.",
            level="warning",
        )
    try:
        nodes = int(str(row.get("max_nodes")))
    except ValueError:
        return
    if nodes < target.nodes:
        yield finding(
            "target_instances",
            "pool-too-small",
            f"the job runs on {target.nodes} nodes, and the compute pool {target.pool} has {nodes} at most",
            f"ALTER COMPUTE POOL {quote(target.pool)} SET MAX_NODES = {target.nodes};",
        )


def _machine(reader: Reader, row: Row, target: Target) -> tuple[Family | None, list[Violation]]:
    name = str(row.get("instance_family") or "")
    known = family(name)
    if known is not None:
        return known, []
    try:
        listed = reader.rows("SHOW COMPUTE POOL INSTANCE FAMILIES")
        live = next((one for one in listed if str(one.get("name")).upper() == name.upper()), None)
        if live is not None:
            return from_row(live), []
        why = "the account does not list it either"
    except Unreadable as error:
        why = error.reason
    message = f"the instance family {name or '(none)'} of {target.pool} is not known as of {AS_OF}, and {why}"
    hint = "GPUs and memory were not checked. SHOW COMPUTE POOL INSTANCE FAMILIES; lists what they have."
    return None, [finding("compute_pool", "unknown-family", message, hint, level="warning")]


def _gpus(machine: Family, spec: JobSpec, target: Target) -> Iterator[Violation]:
    wanted = spec.resources.gpus
    if wanted is not None and wanted > machine.gpus:
        yield finding(
            "compute_pool",
            "too-few-gpus",
            f"the job asks for {wanted} GPU(s) on a node, and a node of {target.pool} is a {machine}",
            _other_pool(target, gpus=wanted, memory=0.0, than=machine),
        )
    if spec.needs is not None and spec.needs.half_precision and not machine.gpus and wanted is None:
        yield finding(
            "compute_pool",
            "without-gpu",
            f"training in half precision without a GPU is slow, and a node of {target.pool} is a {machine}",
            _other_pool(target, gpus=1, memory=0.0, than=machine),
            level="warning",
        )


def _memory(machine: Family, spec: JobSpec, target: Target) -> Iterator[Violation]:
    if not machine.gpus:
        return
    for need in _memory_of(spec):
        model, needs = need.model, need.estimate(gpus=spec.resources.gpus or machine.gpus, nodes=target.nodes)
        if needs is None:
            yield finding(
                "compute_pool",
                "memory-unchecked",
                f"whether {model} fits into a GPU of {machine.name} was not checked: its name does not give its size",
                level="warning",
            )
            continue
        if needs.gpu_gb > machine.gpu_memory_gb:
            yield finding(
                "compute_pool",
                "gpu-memory",
                f"{model} needs about {needs.gpu_gb:g} GB on each GPU ({needs.why}), and those of {target.pool} have "
                f"{machine.gpu_memory_gb:g} GB",
                _other_pool(target, gpus=1, memory=needs.gpu_gb, than=machine),
                level="warning",
            )
        if machine.memory_gib is not None and needs.host_gb > machine.memory_gib * _GIB:
            yield finding(
                "compute_pool",
                "main-memory",
                f"{model} needs about {needs.host_gb:g} GB of main memory for what is offloaded, and a node of "
                f"{target.pool} has {machine.memory_gib:g} GiB",
                _other_pool(target, gpus=machine.gpus, memory=needs.gpu_gb, than=machine, host=needs.host_gb),
                level="warning",
            )


def _memory_of(spec: JobSpec) -> tuple[MemoryNeed, ...]:
    return () if spec.needs is None else spec.needs.memory


def _other_pool(target: Target, *, gpus: int, memory: float, than: Family, host: float = 0.0) -> str:
    fitting = [
        one
        for one in FAMILIES.values()
        if one.gpus >= gpus
        and one.gpu_memory_gb >= memory
        and (one.memory_gib or 0) * _GIB >= host
        and (not than.clouds or set(one.clouds) & set(than.clouds))
    ]
    if not fitting:
        return "No known instance family is large enough; spread the job over more nodes, or train with LoRA."
    best = min(fitting, key=lambda one: one.credits_per_hour or 0.0)
    return (
        f"{best} would do, at about {best.credits_per_hour:g} credits an hour ({AS_OF}): "
        f"{create_pool(f'{target.pool}_{best.name}', instance_family=best.name, max_nodes=target.nodes)}"
    )


def _family_for(spec: JobSpec, target: Target) -> str:
    wanted = spec.resources.gpus
    if wanted == 0 or (wanted is None and spec.kind == "data"):
        return "CPU_X64_M"
    gpus = wanted or 4
    for one in sorted(FAMILIES.values(), key=lambda one: one.credits_per_hour or 0.0):
        estimates = [need.estimate(gpus=gpus, nodes=target.nodes) for need in _memory_of(spec)]
        fits = (needs is None or needs.gpu_gb <= one.gpu_memory_gb for needs in estimates)
        if "AWS" in one.clouds and one.gpus >= gpus and all(fits):
            return one.name
    return "GPU_NV_L"
