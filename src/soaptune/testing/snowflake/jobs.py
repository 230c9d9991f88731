"""ML Jobs: the statements with which the SDK sends, watches, cancels and drops them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.inline import moment
from soaptune.testing.snowflake.jobrecord import Instance, Job
from soaptune.testing.snowflake.literals import TEXT
from soaptune.testing.snowflake.names import NAME, unquoted, written
from soaptune.testing.snowflake.results import Result, SqlError, missing, records, rows, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

_JOB = "snowflake/ml/jobs/job.py"
_IMAGES = "/snowflake/images/snowflake_images/st_plat/runtime/x86"
_SHOWN = (
    "name status database_name schema_name owner compute_pool spec dns_name current_instances target_instances "
    "min_instances max_instances auto_resume external_access_integrations created_on updated_on comment "
    "query_warehouse is_job is_async_job"
).split()
_INSTANCE = (
    "database_name schema_name service_name service_status instance_id status creation_time start_time ip_address"
).split()
_CONTAINER = (
    "database_name schema_name service_name service_status instance_id instance_status container_name status message "
    "image_name restart_count start_time last_exit_code"
).split()


def find_job(account: Account, call: Call, text: str) -> Job | None:
    """The job that a statement names; None if it is the name of a service that is no job.

    Raises:
        SqlError: If there is neither.
    """
    name = call.resolve(text)
    job = account.jobs.get(name)
    if job is None and account.services.get(name) is None:
        raise missing("Service", name.dotted)
    return job


def _row(job: Job) -> dict[str, Any]:
    integrations = [unquoted(name) for name in job.options.get("EXTERNAL_ACCESS_INTEGRATIONS") or ()]
    return {
        "name": written(job.name.name),
        "status": job.status,
        "database_name": job.name.database,
        "schema_name": job.name.schema,
        "owner": job.login.role,
        "compute_pool": written(job.pool),
        "spec": yaml.safe_dump(job.spec, sort_keys=False, allow_unicode=True),
        "dns_name": f"{job.name.name.lower().replace('_', '-')}.emulated.svc.spcs.internal",
        "current_instances": sum(instance.status == "READY" for instance in job.instances),
        "target_instances": job.target_instances,
        "min_instances": job.min_instances,
        "max_instances": job.target_instances,
        "auto_resume": True,
        "external_access_integrations": integrations or None,
        "created_on": moment(job.created),
        "updated_on": moment(job.ended or job.started or job.created),
        "comment": job.options.get("COMMENT"),
        "query_warehouse": job.login.warehouse,
        "is_job": True,
        "is_async_job": True,
    }


@handles(
    rf"^CALL\s+SYSTEM\$GET_ML_JOB_RUNTIME\(\s*({TEXT})\s*,\s*({TEXT})\s*\)$",
    issued_by="snowflake/ml/jobs/_utils/runtime_env_utils.py:11",
)
def runtime(account: Account, call: Call) -> Result:
    """The image for a pool; it follows the client's version of Python, and the tag or image that was asked for."""
    pool = account.pools.find(literals.text(call[1] or ""))
    asked = literals.text(call[2] or "")
    wanted: dict[str, Any] = json.loads(asked) if asked.startswith("{") else {"runtimeEnvironment": asked}
    environment = str(wanted.get("runtimeEnvironment") or "")
    if ":" in environment:
        return rows(["SYSTEM$GET_ML_JOB_RUNTIME"], [[environment]])
    kind = "generic_gpu/runtime_image" if pool.gpus else "runtime_image"
    python = "py" + str(wanted.get("pythonVersion") or "3.10").replace(".", "")
    image = f"{_IMAGES}/{kind}/snowbooks:{environment or '2.4.0'}-{python}"
    return rows(["SYSTEM$GET_ML_JOB_RUNTIME"], [[image]])


@handles(
    rf"^CALL\s+SYSTEM\$EXECUTE_ML_JOB\(\s*({TEXT})\s*,\s*({TEXT})\s*,\s*({TEXT})\s*,\s*({TEXT})\s*\)$",
    issued_by="snowflake/ml/jobs/job_definition.py:301",
)
def execute(account: Account, call: Call) -> Result:
    """Takes a job on, and answers its id; without ASYNC, after it has ended."""
    name, pool, options, job_options = (literals.text(call[number] or "") for number in range(1, 5))
    # For a quoted name, the SDK puts the underscore before the suffix behind the closing quote (job_definition.py:296).
    full = call.resolve(re.sub(r'"_$', '_"', name))
    chosen: dict[str, Any] = json.loads(job_options)
    job = account.jobs.submit(full, unquoted(pool), json.loads(options), chosen, call.session)
    if not chosen.get("ASYNC", True):
        account.jobs.wait(job, float("inf"))
    return rows(["SYSTEM$EXECUTE_ML_JOB"], [[job.id]])


@handles(rf"^DESC(?:RIBE)?\s+SERVICE\s+({NAME})$", issued_by=f"{_JOB}:954")
def describe(account: Account, call: Call) -> Result | None:
    """Status and specification of a job."""
    job = find_job(account, call, call[1] or "")
    return None if job is None else records(_SHOWN, [_row(job)])


@handles(
    rf"^SHOW\s+JOB\s+SERVICES(?:\s+LIKE\s+(?P<like>{TEXT}))?\s*"
    rf"(?:IN\s+(?:(?P<account>ACCOUNT)|DATABASE\s+(?P<database>{NAME})|(?:SCHEMA\s+)?(?P<schema>{NAME})))?"
    r"\s*(?:LIMIT\s+(?P<limit>\d+))?$",
    issued_by="snowflake/ml/jobs/manager.py:71",
)
def show_jobs(account: Account, call: Call) -> Result:
    """The jobs that are not dropped, the latest first."""
    found = [job for job in account.jobs.history() if job.deleted is None]
    if pattern := call["like"]:
        found = [job for job in found if literals.like(literals.text(pattern), job.name.name)]
    if database := call["database"]:
        found = [job for job in found if job.name.database == unquoted(database)]
    elif not call["account"]:
        place = call.resolve(f"{call['schema']}.X") if call["schema"] else call.resolve("X")
        found = [job for job in found if job.name[:2] == place[:2]]
    return records(_SHOWN, [_row(job) for job in found[: int(call["limit"] or len(found))]])


@handles(
    rf"^CALL\s+({NAME})!spcs_wait_for\(\s*'(\w+)'\s*,\s*(\d+)\s*\)$",
    issued_by=f"{_JOB}:317",
)
def wait_for(account: Account, call: Call) -> Result:
    """Waits for a status; it is an error if the job ends otherwise or the time is over."""
    job = account.jobs.find(call.name(1))
    ended = account.jobs.wait(job, float(call[3] or 0))
    if job.status != (call[2] or "").upper():
        reason = f"it ended as {job.status}" if ended else f"timed out after {call[3]} seconds as {job.status}"
        raise SqlError(395001, f"Waiting for {job.id} to be {call[2]}: {reason}.")
    return status()


@handles(rf"^CALL\s+({NAME})!spcs_cancel_job\(\s*\)$", issued_by=f"{_JOB}:473")
def cancel(account: Account, call: Call) -> Result:
    """Kills a job; nothing of it is left when this answers."""
    job = account.jobs.find(call.name(1))
    account.jobs.cancel(job)
    return rows(["SPCS_CANCEL_JOB"], [[f"Job {job.id} is {job.status}."]])


@handles(
    rf"^DROP\s+SERVICE\s+(?P<kept>IF\s+EXISTS\s+)?(?P<name>{NAME})(?:\s+FORCE)?$",
    issued_by="snowflake/ml/jobs/manager.py:199",
)
def drop(account: Account, call: Call) -> Result | None:
    """Removes a job; it stays in the history."""
    name = call.name("name")
    job = account.jobs.get(name) if call["kept"] else find_job(account, call, call["name"] or "")
    if job is None and not (call["kept"] and account.services.get(name) is None):
        return None
    if job:
        account.jobs.drop(job)
    return status(f"{name.dotted} successfully dropped.")


@handles(rf"^SHOW\s+SERVICE\s+INSTANCES\s+IN\s+SERVICE\s+({NAME})$", issued_by=f"{_JOB}:485, {_JOB}:865")
def show_instances(account: Account, call: Call) -> Result | None:
    """The instances of a job."""
    job = find_job(account, call, call[1] or "")
    return None if job is None else records(_INSTANCE, job.instance_rows())


@handles(rf"^SHOW\s+SERVICE\s+CONTAINERS\s+IN\s+SERVICE\s+({NAME})$", issued_by="users")
def show_containers(account: Account, call: Call) -> Result | None:
    """The containers of a job; none while it waits for its nodes."""
    job = find_job(account, call, call[1] or "")
    return None if job is None else records(_CONTAINER, job.container_rows())


@handles(rf"^SHOW\s+ENDPOINTS\s+IN\s+SERVICE\s+({NAME})$", issued_by=f"{_JOB}:359")
def show_endpoints(account: Account, call: Call) -> Result | None:
    """No endpoint: there is no Ray dashboard."""
    job = find_job(account, call, call[1] or "")
    return None if job is None else rows(["name", "port", "ingress_url", "privatelink_ingress_url"], [])


@handles(rf"^(?:SELECT|CALL)\s+SYSTEM\$GET_SERVICE_STATUS\(\s*({TEXT}|\?)\s*(?:,[^)]*)?\)", issued_by="users")
def service_status(account: Account, call: Call) -> Result | None:
    """The containers of a job as JSON."""
    job = find_job(account, call, _arguments(call)[0])
    if job is None:
        return None
    found = [
        {
            "status": row["status"],
            "message": row["message"],
            "containerName": row["container_name"],
            "instanceId": str(row["instance_id"]),
            "serviceName": job.name.name,
            "image": row["image_name"],
            "restartCount": 0,
            "startTime": row["start_time"],
        }
        for row in job.container_rows()
    ] or [{"status": "PENDING", "message": job.message, "serviceName": job.name.name}]
    return rows(["SYSTEM$GET_SERVICE_STATUS"], [[json.dumps(found)]])


@handles(r"^(?:SELECT|CALL)\s+SYSTEM\$GET_SERVICE_LOGS\(", issued_by=f"{_JOB}:552")
def service_logs(account: Account, call: Call) -> Result | None:
    """The end of the log of one instance: as many lines as are asked for, and no more than 100 KB."""
    name, instance, container, *more = [*_arguments(call), "0", "main"][: max(3, len(_arguments(call)))]
    job = find_job(account, call, name)
    if job is None:
        return None
    if container != job.container_name:
        raise SqlError(395014, f"Container '{container}' is not found in service {job.id}.")
    found = _instance(job, instance)
    return rows(["SYSTEM$GET_SERVICE_LOGS"], [[found.log(account.faults.log_delay, int(more[0]) if more else None)]])


def _instance(job: Job, number: str) -> Instance:
    if not number.isdecimal() or int(number) >= job.target_instances:
        raise SqlError(395015, f"Instance '{number}' is not found in service {job.id}.")
    if int(number) >= len(job.instances):
        # The SDK knows these words and takes them for an empty log (job.py:559).
        raise SqlError(395016, f"Logs of {job.id} are not available. Container Status: PENDING")
    return job.instances[int(number)]


def _arguments(call: Call) -> list[str]:
    """The arguments of the first function that a statement calls, bound ones included."""
    binds = iter(call.binds)
    inside = call.sql[call.sql.index("(") + 1 :]
    found = re.findall(rf"{TEXT}|\?|[^\s,()]+(?=\s*[,)])|\)", inside, re.DOTALL)
    if ")" in found:
        found = found[: found.index(")")]
    return [
        str(next(binds)) if each == "?" else literals.text(each) if each[0] in "'$" else each.upper() for each in found
    ]
