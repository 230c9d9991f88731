"""What is told of jobs by table functions: the history of all jobs, and log and events of one.

Statements select from them freely, so that each call of such a function becomes a sub-select with its rows, and the
rest is left to fakesnow.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.inline import inline_table, moment
from soaptune.testing.snowflake.jobrecord import Job
from soaptune.testing.snowflake.literals import TEXT
from soaptune.testing.snowflake.names import NAME
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

_ARGUMENTS = rf"((?:{TEXT}|[^()']|\([^()]*\))*)"
_HISTORY = re.compile(rf"\bTABLE\s*\(\s*SNOWFLAKE\.SPCS\.GET_JOB_HISTORY\(\s*{_ARGUMENTS}\)\s*\)", re.IGNORECASE)
_ONE = re.compile(rf"\bTABLE\s*\(\s*({NAME})!spcs_get_(logs|events)\(\s*{_ARGUMENTS}\)\s*\)", re.IGNORECASE)
_COLUMNS = {
    "QUERY_ID": "VARCHAR",
    "ID": "NUMBER",
    "NAME": "VARCHAR",
    "DATABASE_NAME": "VARCHAR",
    "SCHEMA_NAME": "VARCHAR",
    "CREATED_TIME": "TIMESTAMP_TZ",
    "COMPLETED_TIME": "TIMESTAMP_TZ",
    "DELETED_TIME": "TIMESTAMP_TZ",
    "STATUS": "VARCHAR",
    "MESSAGE": "VARCHAR",
    "INSTANCE_STATUSES": "VARIANT",
    "COMPUTE_POOL_NAME": "VARCHAR",
    "OWNER": "VARCHAR",
    "PARAMETERS": "VARIANT",
}
_LOG_COLUMNS = {"TIMESTAMP": "TIMESTAMP_TZ", "INSTANCE_ID": "NUMBER", "CONTAINER_NAME": "VARCHAR", "LOG": "VARCHAR"}
_EVENT_COLUMNS = {"TIMESTAMP": "TIMESTAMP_TZ", "STATUS": "VARCHAR", "MESSAGE": "VARCHAR"}


@handles(
    r"SNOWFLAKE\.SPCS\.GET_JOB_HISTORY\s*\(",
    issued_by="snowflake/ml/jobs/manager.py:110, snowflake/ml/jobs/job.py:1104",
)
def history(account: Account, call: Call) -> None:
    """All jobs, the dropped ones too; the arguments about time and number are understood where they are constants."""

    def table(match: re.Match[str]) -> str:
        found = account.jobs.history()
        times = dict(re.findall(rf"(CREATED_TIME_\w+)\s*=>\s*[^,']*({TEXT})", match[1].upper()))
        start, end = times.get("CREATED_TIME_START"), times.get("CREATED_TIME_END")
        found = [
            job
            for job in found
            if (not start or (moment(job.created) or "") >= _moment(start))
            and (not end or (moment(job.created) or "") <= _moment(end))
        ]
        limit = re.search(r"RESULT_LIMIT\s*=>\s*(\d+)", match[1], re.IGNORECASE)
        return inline_table(_COLUMNS, [_row(job) for job in found[: int(limit[1]) if limit else 100]])

    call.sql = _HISTORY.sub(table, call.sql)


@handles(rf"\bTABLE\s*\(\s*{NAME}!spcs_get_(?:logs|events)\s*\(", issued_by="snowflake/ml/jobs/job.py:1056")
def of_one(account: Account, call: Call) -> None:
    """Log or events of one job.

    Raises:
        SqlError: If there is no such job.
    """
    until = time.time() - account.faults.log_delay

    def table(match: re.Match[str]) -> str:
        job = account.jobs.find(call.resolve(match[1]))
        if match[2].lower() == "events":
            return inline_table(_EVENT_COLUMNS, [[moment(at), state, text] for at, state, text in job.events])
        lines = [
            [moment(at), instance.index, job.container_name, line]
            for instance in job.instances
            for at, line in instance.container.lines
            if at <= until
        ]
        return inline_table(_LOG_COLUMNS, lines)

    call.sql = _ONE.sub(table, call.sql)


def _row(job: Job) -> list[object]:
    statuses = {str(instance.index): {job.container_name: instance.container_status} for instance in job.instances}
    return [
        job.query_id,
        int(job.query_id[:8], 16),
        job.name.name,
        job.name.database,
        job.name.schema,
        moment(job.created),
        moment(job.ended),
        moment(job.deleted),
        job.status,
        job.message,
        statuses,
        job.pool,
        job.login.role,
        {"REPLICAS": job.target_instances},
    ]


def _moment(literal: str) -> str:
    """A point in time in quotes as `moment` writes it, which is read as UTC."""
    return literals.text(literal).replace(" ", "T", 1)
