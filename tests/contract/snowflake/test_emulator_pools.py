"""Compute pools, integrations and secrets of the emulated account, by SQL through the real Snowpark."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from soaptune.testing.snowflake.account import Account

pytestmark = pytest.mark.contract


def rows(session: Any, sql: str) -> list[Any]:
    return session.sql(sql).collect()


@pytest.fixture
def job_file(tmp_path: Path) -> str:
    path = tmp_path / "job.py"
    path.write_text("print('ran')", encoding="utf-8")
    return str(path)


def test_the_pool_of_the_start_has_two_nodes_of_four_gpus(session: Any) -> None:
    (pool,) = rows(session, "show compute pools like 'gpu_po%'")

    assert (pool["name"], pool["state"], pool["instance_family"]) == ("GPU_POOL", "IDLE", "GPU_NV_M")
    assert (pool["min_nodes"], pool["max_nodes"], pool["active_nodes"]) == (1, 2, 0)
    assert rows(session, "show compute pools like 'other'") == []
    assert rows(session, "describe compute pool gpu_pool")[0]["name"] == "GPU_POOL"
    families = {row["name"]: row["gpu_count"] for row in rows(session, "show compute pool instance families")}
    assert (families["GPU_NV_M"], families["CPU_X64_XS"]) == (4, 0)


def test_a_pool_is_created_changed_suspended_resumed_and_dropped(session: Any) -> None:
    rows(
        session,
        'create compute pool "small pool" min_nodes = 1 max_nodes = 3 instance_family = CPU_X64_S '
        "auto_suspend_secs = 60 initially_suspended = true comment = 'it''s mine'",
    )
    (pool,) = rows(session, "show compute pools like 'small pool'")
    assert (pool["name"], pool["state"], pool["comment"]) == ('"small pool"', "SUSPENDED", "it's mine")

    rows(session, 'alter compute pool "small pool" resume')
    rows(session, 'alter compute pool "small pool" set max_nodes = 5 auto_resume = false')
    (pool,) = rows(session, 'describe compute pool "small pool"')
    assert (pool["state"], pool["max_nodes"], pool["auto_resume"]) == ("IDLE", 5, "false")

    rows(session, 'alter compute pool "small pool" suspend')
    assert rows(session, 'describe compute pool "small pool"')[0]["state"] == "SUSPENDED"
    rows(session, 'drop compute pool "small pool"')
    rows(session, 'drop compute pool if exists "small pool"')
    assert len(rows(session, "show compute pools")) == 1


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("create compute pool gpu_pool min_nodes=1 max_nodes=1 instance_family=CPU_X64_S", 2002),
        ("create compute pool p min_nodes=2 max_nodes=1 instance_family=CPU_X64_S", 392513),
        ("create compute pool p min_nodes=1 max_nodes=1 instance_family=GPU_NV_XXL", 392508),
        ("create compute pool p min_nodes=1 max_nodes=99 instance_family=CPU_X64_S", 392509),
        ("create compute pool p", 2029),
        ("describe compute pool p", 2003),
        ("drop compute pool p", 2003),
        ("alter compute pool p suspend", 2003),
    ],
)
def test_what_makes_no_sense_is_refused(session: Any, sql: str, number: int) -> None:
    from snowflake.snowpark.exceptions import SnowparkSQLException

    with pytest.raises(SnowparkSQLException) as refused:
        rows(session, sql)
    assert refused.value.sql_error_code == number


def test_a_job_resumes_a_suspended_pool_and_waits_while_it_starts(
    session: Any, account: Account, job_file: str
) -> None:
    from snowflake.ml import jobs

    account.pools.start_seconds = 1.0
    rows(session, "alter compute pool gpu_pool suspend")
    start = time.monotonic()

    job = jobs.submit_file(job_file, "GPU_POOL", stage_name="payloads", session=session)

    assert rows(session, "describe compute pool gpu_pool")[0]["state"] == "STARTING"
    assert job.status == "PENDING"
    assert job.wait() == "DONE"
    assert time.monotonic() - start > 1.0


def test_a_suspended_pool_that_may_not_resume_refuses_jobs(session: Any, job_file: str) -> None:
    from snowflake.ml import jobs
    from snowflake.snowpark.exceptions import SnowparkSQLException

    rows(session, "alter compute pool gpu_pool set auto_resume = false")
    rows(session, "alter compute pool gpu_pool suspend")

    with pytest.raises(SnowparkSQLException, match="suspended"):
        jobs.submit_file(job_file, "GPU_POOL", stage_name="payloads", session=session)


def test_a_pool_in_use_is_stopped_before_it_is_dropped(session: Any, tmp_path: Path) -> None:
    from snowflake.ml import jobs
    from snowflake.snowpark.exceptions import SnowparkSQLException

    (tmp_path / "long.py").write_text("import time; time.sleep(600)", encoding="utf-8")
    job = jobs.submit_file(str(tmp_path / "long.py"), "GPU_POOL", stage_name="payloads", session=session)

    with pytest.raises(SnowparkSQLException, match="still using"):
        rows(session, "drop compute pool gpu_pool")
    rows(session, "alter compute pool gpu_pool stop all")
    assert job.status == "CANCELLED"
    rows(session, "drop compute pool gpu_pool")


def test_an_idle_pool_suspends_itself(session: Any, account: Account) -> None:
    rows(session, "alter compute pool gpu_pool set auto_suspend_secs = 1")
    account.pools.find("GPU_POOL").idle_since -= 2

    assert rows(session, "describe compute pool gpu_pool")[0]["state"] == "SUSPENDED"


def test_more_instances_than_nodes_are_refused_by_the_client(session: Any, job_file: str) -> None:
    from snowflake.ml import jobs

    with pytest.raises(ValueError, match="exceeds the max_nodes"):
        jobs.submit_file(job_file, "GPU_POOL", stage_name="payloads", session=session, target_instances=3)


def test_fewer_nodes_than_wanted_are_enough_with_min_instances(session: Any, job_file: str) -> None:
    from snowflake.ml import jobs

    job = jobs.submit_file(
        job_file,
        "GPU_POOL",
        stage_name="payloads",
        session=session,
        target_instances=3,
        min_instances=1,
        env_vars={"MLRS_INSTANCES_MIN_WAIT": "0"},
    )

    assert job.wait() == "DONE"
    assert (job.target_instances, job.min_instances) == (3, 1)
    assert job.get_logs() == "ran"


def test_integrations_are_created_shown_and_dropped(session: Any) -> None:
    from snowflake.snowpark.exceptions import SnowparkSQLException

    rows(
        session,
        "create network rule hub mode = egress type = host_port value_list = ('huggingface.co', 'pypi.org:443')",
    )
    rows(session, "create or replace external access integration eai allowed_network_rules = (hub) enabled = true")

    (rule,) = rows(session, "describe network rule hub")
    assert (rule["mode"], rule["value_list"]) == ("EGRESS", "huggingface.co,pypi.org:443")
    assert [row["name"] for row in rows(session, "show external access integrations like 'E%'")] == ["EAI"]
    properties = {row["property"]: row["property_value"] for row in rows(session, "describe integration eai")}
    assert properties["ALLOWED_NETWORK_RULES"] == "[TEST_DB.PUBLIC.HUB]"
    assert [row["name"] for row in rows(session, "show network rules like 'HUB'")] == ["HUB"]

    with pytest.raises(SnowparkSQLException, match="Network rule"):
        rows(session, "create external access integration other allowed_network_rules = (nothing) enabled = true")
    rows(session, "drop integration eai")
    rows(session, "drop network rule hub")
    with pytest.raises(SnowparkSQLException, match="does not exist"):
        rows(session, "drop integration eai")
