from __future__ import annotations

import re
from pathlib import Path

import pytest

from soaptune.errors import ConfigError
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.preflight.setup import create_pool, setup_sql

GOLDEN = Path(__file__).parents[2] / "golden" / "snowflake" / "setup.sql"


def _backend(**changes: object) -> SnowflakeBackend:
    arguments: dict[str, object] = {
        "compute_pool": "GPU_POOL",
        "database": "LLM_DEMO",
        "schema": "PUBLIC",
        "stage": "PAYLOAD_STAGE",
        "warehouse": "DEMO_WH",
        "external_access_integrations": ["PYPI_HF_EAI"],
    }
    return SnowflakeBackend(**{**arguments, **changes})  # type: ignore[arg-type]


def test_the_script_of_the_walkthrough_is_the_golden_one():
    assert _backend().setup_sql(role="ENGINEER") == GOLDEN.read_text(encoding="utf-8")


def test_every_object_is_made_only_if_it_is_not_there():
    made = [line for line in _backend().setup_sql(role="ENGINEER").splitlines() if line.startswith("CREATE")]
    assert len(made) == 7
    assert all(" IF NOT EXISTS " in line for line in made)


def test_names_cannot_become_statements():
    evil = '"x"" ; DROP TABLE y; --"'
    backend = _backend(
        database=evil, schema='"sélect"', stage=evil, warehouse="order", external_access_integrations=[evil, '"a.b"']
    )
    sql = backend.setup_sql(role='"eng"" ; DROP DATABASE z; --"')
    outside_of_quotes = re.sub(r'"(?:[^"]|"")*"', "", sql)
    assert "DROP" in sql
    assert "DROP" not in outside_of_quotes
    assert 'CREATE SCHEMA IF NOT EXISTS "x"" ; DROP TABLE y; --"."sélect";' in sql
    assert 'CREATE WAREHOUSE IF NOT EXISTS "ORDER"' in sql


def test_a_role_with_a_line_end_does_not_leave_its_comment():
    first = _backend().setup_sql(role='"a\nDROP DATABASE z; --"').splitlines()[0]
    assert first == '-- What soaptune needs in this account, for the role "a DROP DATABASE z; --".'


def test_without_an_integration_the_script_names_one_and_says_to_use_it():
    sql = _backend(external_access_integrations=()).setup_sql(role="ENGINEER")
    assert 'CREATE EXTERNAL ACCESS INTEGRATION IF NOT EXISTS "SOAPTUNE_ACCESS"' in sql
    assert 'external_access_integrations=["SOAPTUNE_ACCESS"]' in sql


def test_only_the_first_of_several_integrations_is_made_and_all_are_granted():
    sql = _backend(external_access_integrations=["ONE", "TWO"]).setup_sql(role="ENGINEER")
    assert sql.count("CREATE EXTERNAL ACCESS INTEGRATION") == 1
    assert 'GRANT USAGE ON INTEGRATION "TWO" TO ROLE "ENGINEER";' in sql


def test_the_pool_has_as_many_nodes_as_jobs_run_on():
    assert "MAX_NODES = 3 " in _backend(target_instances=3).setup_sql(role="ENGINEER")
    assert "MAX_NODES = 8 " in setup_sql(_backend().settings, role="ENGINEER", max_nodes=8)


def test_without_a_warehouse_none_is_made():
    assert "CREATE WAREHOUSE" not in _backend(warehouse=None).setup_sql(role="ENGINEER")


@pytest.mark.parametrize("family", ["GPU NV", "X; DROP", "", "é"])
def test_an_instance_family_that_cannot_be_one_is_refused(family: str):
    with pytest.raises(ConfigError, match="instance family"):
        create_pool("P", instance_family=family, max_nodes=1)
