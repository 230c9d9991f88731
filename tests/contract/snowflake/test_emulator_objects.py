"""What an administrator makes, and a check before a job looks at: warehouses, schemas, roles, grants, network rules."""

from __future__ import annotations

from typing import Any

import pytest
from snowflake.snowpark import Session
from snowflake.snowpark.exceptions import SnowparkSQLException


def _rows(session: Session, sql: str) -> list[dict[str, Any]]:
    return [row.as_dict() for row in session.sql(sql).collect()]


def test_what_is_there_from_the_start(session: Session) -> None:
    assert [row["name"] for row in _rows(session, "show databases")] == ["TEST_DB"]
    assert [row["name"] for row in _rows(session, "show schemas in database TEST_DB")] == [
        "INFORMATION_SCHEMA",
        "PUBLIC",
    ]
    [warehouse] = _rows(session, "show warehouses like 'test_wh'")
    assert (warehouse["name"], warehouse["state"], warehouse["is_current"]) == ("TEST_WH", "STARTED", "Y")
    [pool] = _rows(session, "show compute pools like 'GPU_POOL'")
    assert (pool["name"], pool["instance_family"], int(pool["max_nodes"])) == ("GPU_POOL", "GPU_NV_M", 2)


def test_databases_and_schemas_come_and_go(session: Session) -> None:
    session.sql('create database if not exists "my db"').collect()
    assert session.get_current_database() == '"my db"'
    session.sql('create schema "my db"."s""x"').collect()
    assert {row["name"] for row in _rows(session, 'show schemas in "my db"')} >= {"PUBLIC", 's"x'}
    with pytest.raises(SnowparkSQLException, match="already exists"):
        session.sql('create schema "my db"."s""x"').collect()
    session.sql('create schema if not exists "my db"."s""x"').collect()
    session.sql('create stage "my db"."s""x".files').collect()
    session.use_schema("TEST_DB.PUBLIC")
    session.sql('create schema "s""x"').collect()
    session.sql('create table "s""x".t as select 1 as a').collect()
    assert session.table('TEST_DB."s""x".t').count() == 1
    session.use_schema("PUBLIC")
    session.sql('drop schema "my db"."s""x"').collect()
    session.sql('drop database "my db"').collect()
    assert [row["name"] for row in _rows(session, "show databases")] == ["TEST_DB"]
    with pytest.raises(SnowparkSQLException, match="does not exist or not authorized"):
        session.sql("show schemas in database nowhere").collect()
    session.sql("create database passing").collect()
    session.sql("drop database passing").collect()
    assert session.sql("select current_database()").collect()[0][0] is None
    with pytest.raises(SnowparkSQLException, match="Database 'PASSING' does not exist"):
        session.sql("drop database passing").collect()


def test_a_warehouse_is_made_suspended_and_dropped(session: Session) -> None:
    session.sql("create warehouse if not exists big warehouse_size = 'LARGE'").collect()
    session.sql("alter warehouse big suspend").collect()
    [shown] = _rows(session, "show warehouses like 'BIG'")
    assert (shown["size"], shown["state"], shown["owner"]) == ("LARGE", "SUSPENDED", "TEST_ROLE")
    session.sql("drop warehouse big").collect()
    with pytest.raises(SnowparkSQLException, match="Warehouse 'BIG' does not exist"):
        session.sql("alter warehouse big resume").collect()


def test_grants_are_given_shown_and_taken(session: Session) -> None:
    session.sql("create role if not exists trainer").collect()
    session.sql("grant usage, monitor on compute pool GPU_POOL to role trainer").collect()
    session.sql("grant usage on schema TEST_DB.PUBLIC to role trainer").collect()
    session.sql("grant bind service endpoint on account to role trainer").collect()
    session.sql("grant role trainer to user TEST_USER").collect()
    shown = [
        (row["privilege"], row["granted_on"], row["name"]) for row in _rows(session, "show grants to role trainer")
    ]
    assert shown == [
        ("USAGE", "COMPUTE_POOL", "GPU_POOL"),
        ("MONITOR", "COMPUTE_POOL", "GPU_POOL"),
        ("USAGE", "SCHEMA", "TEST_DB.PUBLIC"),
        ("BIND SERVICE ENDPOINT", "ACCOUNT", "EMULATED"),
    ]
    session.sql("revoke usage on compute pool GPU_POOL from role trainer").collect()
    on_pool = _rows(session, "show grants on compute pool GPU_POOL")
    assert [row["privilege"] for row in on_pool if row["grantee_name"] == "TRAINER"] == ["MONITOR"]
    assert "TRAINER" in [row["role"] for row in _rows(session, "show grants to user TEST_USER")]
    with pytest.raises(SnowparkSQLException, match="Role 'NOBODY' does not exist"):
        session.sql("grant usage on database TEST_DB to role nobody").collect()


def test_who_makes_an_object_owns_it(session: Session) -> None:
    session.sql("use role SYSADMIN").collect()
    session.sql("create schema mine").collect()
    [owner] = [row for row in _rows(session, "show grants on schema TEST_DB.mine") if row["privilege"] == "OWNERSHIP"]
    assert owner["grantee_name"] == "SYSADMIN"


def test_who_makes_a_table_owns_it_in_anybodys_schema(session: Session) -> None:
    session.sql("use role ACCOUNTADMIN").collect()
    session.sql("create schema theirs").collect()
    session.sql("use role TEST_ROLE").collect()
    session.sql("create table TEST_DB.theirs.notes as select 1 as n").collect()
    granted = _rows(session, "show grants to role TEST_ROLE")
    owned = [row["name"] for row in granted if (row["privilege"], row["granted_on"]) == ("OWNERSHIP", "TABLE")]
    assert owned == ["TEST_DB.THEIRS.NOTES"]


def test_an_integration_opens_the_hosts_of_its_rules(session: Session) -> None:
    session.sql(
        "create or replace network rule hub mode = egress type = host_port "
        "value_list = ('huggingface.co', 'pypi.org:443')"
    ).collect()
    session.sql(
        "create or replace external access integration out_there allowed_network_rules = (hub) enabled = true"
    ).collect()
    [rule] = _rows(session, "describe network rule TEST_DB.PUBLIC.hub")
    assert rule["value_list"] == "huggingface.co,pypi.org:443"
    assert [row["name"] for row in _rows(session, "show external access integrations like 'OUT%'")] == ["OUT_THERE"]
    described = {row["property"]: row["property_value"] for row in _rows(session, "describe integration out_there")}
    assert described["ENABLED"] == "true"
    assert described["ALLOWED_NETWORK_RULES"] == "[TEST_DB.PUBLIC.HUB]"
    with pytest.raises(SnowparkSQLException, match="does not exist"):
        session.sql("create external access integration x allowed_network_rules = (nothing) enabled = true").collect()
    session.sql("drop integration out_there").collect()
    assert _rows(session, "show integrations") == []


def test_a_secret_never_shows_its_value(session: Session) -> None:
    session.sql("create secret hub_token type = generic_string secret_string = 'hf_value'").collect()
    found = _rows(session, "show secrets")
    assert [row["name"] for row in found] == ["HUB_TOKEN"]
    assert "hf_value" not in str(found)
