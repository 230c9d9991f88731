"""From a `Plan` to a `JobSpec`: what all backends have in common."""

from __future__ import annotations

from collections.abc import Mapping

from soaptune.handles.location import Location
from soaptune.jobs.output import Output
from soaptune.jobs.place import PLACE_FILE, Account, Place
from soaptune.jobs.plan import Plan, as_json
from soaptune.jobs.spec import JobSpec

__all__ = ["lowered"]


def lowered(
    plan: Plan,
    *,
    backend: str,
    keeps: Mapping[str, Location] | None = None,
    output: Output | None = None,
    account: Account | None = None,
    nodes: int = 1,
) -> JobSpec:
    """The job of a plan: its payload as it is, with the place beside it.

    Args:
        plan: What a step wants.
        backend: The kind of backend.
        keeps: Where each of the plan's kept folders lies.
        output: What the job leaves, with names as the backend resolves them; the plan's own when None.
        account: The account that the job works in.
        nodes: How many machines it runs on.
    """
    output = plan.output if output is None else output
    place = Place(
        name=plan.name,
        kind=plan.kind,
        plan=plan.fingerprint,
        backend=backend,
        nodes=nodes,
        inputs=plan.inputs,
        keeps=dict(keeps or {}),
        output=output,
        account=account,
    )
    return JobSpec(
        name=plan.name,
        kind=plan.kind,
        files={**plan.files, PLACE_FILE: as_json(place)},
        entrypoint=plan.entrypoint,
        env=plan.env,
        secrets=plan.needs.secrets,
        inputs=plan.inputs,
        keeps=plan.keeps,
        code_paths=plan.code_paths,
        output=output,
        resources=plan.resources,
        needs=plan.needs,
        detach=plan.detach,
    )
