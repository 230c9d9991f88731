"""`setup_sql`: what an administrator runs once, so that a role can do all that soaptune does.

The preflight shows its statements one by one, as the remedy for what is missing. All names are quoted. Every statement
can be run again: what is there already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from soaptune.errors import ConfigError
from soaptune.snowflake.names import Name, fold, literal, quote
from soaptune.snowflake.preflight.hosts import HUB_RULE
from soaptune.snowflake.settings import SnowflakeSettings

__all__ = [
    "DEFAULT_INTEGRATION",
    "HUB_RULE_NAME",
    "SCHEMA_PRIVILEGES",
    "create_access",
    "create_pool",
    "create_stage",
    "create_warehouse",
    "grant",
    "setup_sql",
]

SCHEMA_PRIVILEGES = {
    "CREATE STAGE": "files of jobs",
    "CREATE SERVICE": "jobs, and endpoints",
    "CREATE TABLE": "data sets and reports",
    "CREATE MODEL": "the model registry",
    "CREATE DATASET": "versioned data sets",
    "CREATE EXPERIMENT": "metrics of runs",
    "CREATE FILE FORMAT": "reading Parquet files from a stage",
}
"""What a role creates in its schema, and what for."""

_PYPI_RULE = "SNOWFLAKE.EXTERNAL_ACCESS.PYPI_RULE"
DEFAULT_INTEGRATION = "SOAPTUNE_ACCESS"
"""What the integration is called where the backend names none."""
HUB_RULE_NAME = "SOAPTUNE_HUB_RULE"
"""What the network rule with the Hugging Face hub's hosts is called."""
_SUSPEND_AFTER = 600


def setup_sql(
    settings: SnowflakeSettings, *, role: str, instance_family: str = "GPU_NV_M", max_nodes: int | None = None
) -> str:
    """Writes the script that gives a role all that soaptune needs.

    Args:
        settings: How jobs are to run; the names become the script's.
        role: The role that will use it, as a person writes it.
        instance_family: The machines of the compute pool, should it not exist yet (see
            `soaptune.snowflake.preflight.families`).
        max_nodes: How many of them at most; the backend's ``target_instances`` when unset.

    Returns:
        SQL for an administrator, with comments that say what each part is for.

    Raises:
        ConfigError: A name cannot be one.
    """
    database, schema = settings.database_name, settings.schema_name
    grantee, pool, home = fold(role), settings.pool_name, _dotted(database, schema)
    stage = settings.stage_name
    nodes = max(1, max_nodes or settings.target_instances)
    chosen = settings.integration_names
    integration, *others = chosen or (DEFAULT_INTEGRATION,)
    rule, minutes = Name(database, schema, HUB_RULE_NAME), _SUSPEND_AFTER // 60
    parts = [
        f"""\
-- What soaptune needs in this account, for the role {_in_comment(grantee)}.
-- Read it before you run it. It needs the role ACCOUNTADMIN, and can be run again: what is there stays as it is.
USE ROLE ACCOUNTADMIN;""",
        f"""\
-- 1. The database and the schema where tables, models and the files of jobs lie.
CREATE DATABASE IF NOT EXISTS {quote(database)};
CREATE SCHEMA IF NOT EXISTS {home};
{grant("USAGE", "DATABASE", quote(database), grantee)}
{grant("USAGE", "SCHEMA", home, grantee)}""",
        "-- 2. What the role makes in that schema.\n"
        + "\n".join(
            f"{grant(privilege, 'SCHEMA', home, grantee)}  -- {purpose}"
            for privilege, purpose in SCHEMA_PRIVILEGES.items()
        ),
        f"""\
-- 3. The stage with the files of jobs. Jobs mount it, which needs encryption on the server's side (SNOWFLAKE_SSE).
{create_stage(stage)}
{grant("READ, WRITE", "STAGE", stage.sql, grantee)}""",
        f"""\
-- 4. The machines that train, evaluate and serve. They cost credits from a job's start until {minutes} minutes after
-- the last one's end.
-- "SHOW COMPUTE POOL INSTANCE FAMILIES" lists what this account offers in place of {_family(instance_family)}.
{create_pool(pool, instance_family=instance_family, max_nodes=nodes)}
{grant("USAGE, MONITOR", "COMPUTE POOL", quote(pool), grantee)}""",
        _warehouse_part(settings.warehouse_name, grantee),
        f"""\
-- 6. The hosts outside of Snowflake that jobs may reach: packages (PyPI) and models (the Hugging Face hub), no others.
-- Leave it out for jobs that need neither; the data never takes this way.
{create_access(integration, rule)}
"""
        + "\n".join(grant("USAGE", "INTEGRATION", quote(name), grantee) for name in (integration, *others)),
        f"""\
-- 7. Endpoints that clients outside of Snowflake can call. Their images are built into Snowflake's own repository.
GRANT BIND SERVICE ENDPOINT ON ACCOUNT TO ROLE {quote(grantee)};""",
        f"""\
-- 8. AI functions (AI_COMPLETE), to write data and to judge answers. Most accounts grant both to PUBLIC already.
GRANT DATABASE ROLE SNOWFLAKE.CORTEX_USER TO ROLE {quote(grantee)};
GRANT USE AI FUNCTIONS ON ACCOUNT TO ROLE {quote(grantee)};""",
    ]
    if not chosen:
        parts.append(
            f'-- Then name the integration in the backend: external_access_integrations=["{DEFAULT_INTEGRATION}"].'
        )
    return "\n\n".join(parts) + "\n"


def create_pool(pool: str, *, instance_family: str, max_nodes: int) -> str:
    """The statement that makes a compute pool.

    Args:
        pool: Its exact name.
        instance_family: Its machines.
        max_nodes: How many at most.

    Raises:
        ConfigError: The instance family's name cannot be one.
    """
    return (
        f"CREATE COMPUTE POOL IF NOT EXISTS {quote(pool)}\n"
        f"  MIN_NODES = 1 MAX_NODES = {int(max_nodes)} INSTANCE_FAMILY = {_family(instance_family)}\n"
        f"  AUTO_RESUME = TRUE AUTO_SUSPEND_SECS = {_SUSPEND_AFTER} INITIALLY_SUSPENDED = TRUE;"
    )


def create_warehouse(warehouse: str) -> str:
    """The statement that makes a warehouse.

    Args:
        warehouse: Its exact name.
    """
    return (
        f"CREATE WAREHOUSE IF NOT EXISTS {quote(warehouse)}\n"
        "  WAREHOUSE_SIZE = XSMALL AUTO_SUSPEND = 60 AUTO_RESUME = TRUE INITIALLY_SUSPENDED = TRUE;"
    )


def create_stage(stage: Name) -> str:
    """The statement that makes a stage which jobs can mount.

    Args:
        stage: Its full name.
    """
    return f"CREATE STAGE IF NOT EXISTS {stage.sql} ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE');"


def create_access(integration: str, rule: Name) -> str:
    """The statements that make an external access integration for packages (PyPI) and models (the Hugging Face hub).

    Args:
        integration: Its exact name.
        rule: The full name of the network rule with the hub's hosts; that of PyPI is in every account.
    """
    return (
        f"CREATE NETWORK RULE IF NOT EXISTS {rule.sql}\n"
        f"  MODE = EGRESS TYPE = HOST_PORT\n"
        f"  VALUE_LIST = ({_values(HUB_RULE)});\n"
        f"CREATE EXTERNAL ACCESS INTEGRATION IF NOT EXISTS {quote(integration)}\n"
        f"  ALLOWED_NETWORK_RULES = ({_PYPI_RULE}, {rule.sql})\n"
        "  ENABLED = TRUE;"
    )


def grant(privilege: str, kind: str, name: str, role: str) -> str:
    """The statement that grants a privilege.

    Args:
        privilege: The privilege, or several with commas between.
        kind: What kind of object it is on, such as ``"SCHEMA"``; ``"ACCOUNT"`` has no name.
        name: The object, as SQL.
        role: The exact name of the role.
    """
    return f"GRANT {privilege} ON {f'{kind} {name}'.strip()} TO ROLE {quote(role)};"


def _warehouse_part(warehouse: str | None, grantee: str) -> str:
    if warehouse is None:
        return "-- 5. SQL runs on the warehouse that the user's connection names; the role needs USAGE on it."
    return f"""\
-- 5. The warehouse that answers SQL: reading and writing tables, AI functions.
{create_warehouse(warehouse)}
{grant("USAGE", "WAREHOUSE", quote(warehouse), grantee)}"""


def _family(name: str) -> str:
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise ConfigError(f"{name!r} cannot be the name of an instance family; examples are GPU_NV_M and CPU_X64_M")
    return name.upper()


def _dotted(*parts: str) -> str:
    return ".".join(quote(part) for part in parts)


def _in_comment(text: str) -> str:
    # A line end would end the comment, and the rest of the name would be run.
    return quote(" ".join(text.split()))


def _values(values: Iterable[str]) -> str:
    return ", ".join(literal(value) for value in values)
