"""From what the SDK sends with SYSTEM$EXECUTE_ML_JOB to the service specification of a job.

What the server makes of the options was not seen; it is inferred from what the SDK reads back (`_container_spec`,
`_result_path` and `_stage_path` of snowflake/ml/jobs/job.py) and from the comment about the result mount in the SDK's
launcher (snowflake/ml/jobs/_utils/scripts/mljob_launcher.py:25).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from soaptune.testing.snowflake import integrations
from soaptune.testing.snowflake.jobrecord import RESULT_MOUNT, STAGE_MOUNT
from soaptune.testing.snowflake.names import Name
from soaptune.testing.snowflake.results import SqlError

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

RESULT_FILE = "mljob_result"


def specification(name: Name, options: dict[str, Any], job_options: dict[str, Any]) -> dict[str, Any]:
    """The service specification, with the overrides of the submitter merged in.

    Args:
        name: The full name of the job.
        options: The spec options, as snowflake/ml/jobs/_utils/type_utils.py:144 lists them, in upper case.
        job_options: The job options of line 133 of that file.

    Raises:
        SqlError: If the job wants what the emulator cannot run.
    """
    wanted: dict[str, Any] = options.get("ENV_VARS") or {}
    env = {key: str(value) for key, value in wanted.items()}
    if env.get("MLRS_LAUNCH_BACKEND"):
        text = (
            "parallel=True runs the launcher that is inside the platform's image, which the SDK does not upload: the "
            "emulated account cannot run it. Use target_instances= without parallel=."
        )
        raise SqlError(2140, text, "0A000")
    env["MLRS_MIN_INSTANCES"] = str(job_options.get("MIN_INSTANCES") or job_options.get("TARGET_INSTANCES") or 1)
    # The result lies in a folder of the job's own, beside the payload that jobs of one definition share.
    env["MLRS_STAGE_RESULT_PATH"], env["MLRS_RESULT_PATH"] = RESULT_MOUNT, RESULT_FILE
    stage = str(options["STAGE_PATH"])
    mounts = [
        {"name": "stage-volume", "mountPath": STAGE_MOUNT},
        {"name": "result-volume", "mountPath": RESULT_MOUNT},
    ]
    container: dict[str, Any] = {
        "name": "main",
        "image": options.get("RUNTIME"),
        "command": [],
        "args": [str(argument) for argument in options.get("ARGS") or ()],
        "env": env,
        "volumeMounts": mounts,
    }
    volumes = [
        {"name": "stage-volume", "source": "stage", "stageConfig": {"name": stage}},
        {"name": "result-volume", "source": "stage", "stageConfig": {"name": f"{stage}/{name.name}"}},
    ]
    spec: dict[str, Any] = {"spec": {"containers": [container], "volumes": volumes}}
    if options.get("ENABLE_METRICS"):
        spec["spec"]["platformMonitor"] = {"metricConfig": {"groups": ["system"]}}
    return _merged(spec, options.get("SPEC_OVERRIDES") or {})


def environment(account: Account, spec: dict[str, Any], name: Name) -> dict[str, str]:
    """What a container finds in its environment: that of the specification, and the secrets that it names.

    Raises:
        SqlError: If a secret does not exist.
    """
    container = spec["spec"]["containers"][0]
    wanted: dict[str, Any] = container.get("env") or {}
    env = {key: str(value) for key, value in wanted.items()}
    for entry in container.get("secrets") or ():
        source: Any = entry.get("snowflakeSecret")
        text = str(source.get("objectName") if isinstance(source, dict) else source)  # type: ignore[reportUnknownMemberType]
        if entry.get("envVarName"):
            env[str(entry["envVarName"])] = integrations.secret(account, text, name.database, name.schema)
    return env


def _merged(base: Any, over: Any) -> Any:
    """Mappings merge by key, lists of named things by name; everything else is replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        both: dict[str, Any] = {**cast("dict[str, Any]", base)}
        for key, value in cast("dict[str, Any]", over).items():
            both[key] = _merged(both[key], value) if key in both else value
        return both
    if _named(base) and _named(over):
        things: dict[str, Any] = {item["name"]: item for item in cast("list[dict[str, Any]]", base)}
        for item in cast("list[dict[str, Any]]", over):
            things[item["name"]] = _merged(things.get(item["name"], item), item)
        return list(things.values())
    return over


def _named(things: Any) -> bool:
    return isinstance(things, list) and all(
        isinstance(thing, dict) and "name" in thing for thing in cast("list[Any]", things)
    )
