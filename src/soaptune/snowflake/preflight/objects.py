"""The preflight's look at what a job uses: role, warehouse, database, schema, stage, secrets and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from soaptune.errors import ConfigError, Violation
from soaptune.handles.location import Tables
from soaptune.jobs.output import NamedTables
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.names import Name, fold, literal, parse, quote
from soaptune.snowflake.preflight.reading import Reader, Target, Unreadable, finding, unchecked
from soaptune.snowflake.preflight.setup import create_stage, create_warehouse, grant
from soaptune.snowflake.tables.spec import table_of

__all__ = ["home", "in_the_way", "role", "secrets", "stage", "tables", "tables_of", "warehouse"]

_OWNS_NO_SERVICE = ("ACCOUNTADMIN", "SECURITYADMIN", "ORGADMIN")


def role(asked_for: str | None, target: Target) -> Iterator[Violation]:
    """Looks at the role of the session.

    Args:
        asked_for: The role that the backend names, as a person writes it.
        target: What the session has.
    """
    if not target.role:
        yield finding("role", "no-role", "the session has no role", "Name one: SnowflakeBackend(role=...).")
        return
    if asked_for and fold(asked_for) != target.role:
        wanted = fold(asked_for)
        yield finding(
            "role",
            "other-role",
            f"the session has the role {target.role}, and the backend asks for {wanted}",
            f"GRANT ROLE {quote(wanted)} TO USER <user>; or run USE ROLE {quote(wanted)}; on the session.",
        )
    if target.role in _OWNS_NO_SERVICE:
        yield finding(
            "role",
            "administrator-role",
            f"a job runs as the role that starts it, and Snowflake does not run jobs as {target.role}",
            "Use a role of its own; setup_sql(role=...) prints what it needs. GRANT ROLE <role> TO USER <user>;",
            level="warning",
        )


def warehouse(reader: Reader, target: Target) -> Iterator[Violation]:
    """Looks for the warehouse.

    Args:
        reader: Asks the account.
        target: The names to look for.
    """
    if not target.warehouse:
        hint = "Name one: SnowflakeBackend(warehouse=...), or ALTER USER <user> SET DEFAULT_WAREHOUSE = <warehouse>;"
        yield finding("warehouse", "no-warehouse", "the session has no warehouse, so that it cannot read tables", hint)
        return
    try:
        there = reader.named("SHOW WAREHOUSES", target.warehouse) is not None
    except Unreadable as error:
        yield unchecked("warehouse", f"the warehouse {target.warehouse}", error)
        return
    if not there:
        yield finding(
            "warehouse",
            "no-such-warehouse",
            f"there is no warehouse {target.warehouse}, or the role {target.role} may not see it",
            f"{create_warehouse(target.warehouse)} "
            f"GRANT USAGE ON WAREHOUSE {quote(target.warehouse)} TO ROLE {quote(target.role)};",
        )


def home(reader: Reader, target: Target) -> Iterator[Violation]:
    """Looks for the database and the schema.

    Args:
        reader: Asks the account.
        target: The names to look for.
    """
    grantee = quote(target.role)
    if not target.database:
        hint = "Name one: SnowflakeBackend(database=..., schema=...)."
        yield finding("database", "no-database", "neither the backend nor the session names a database", hint)
        return
    database = quote(target.database)
    try:
        if reader.named("SHOW DATABASES", target.database) is None:
            yield finding(
                "database",
                "no-such-database",
                f"there is no database {target.database}, or the role {target.role} may not see it",
                f"CREATE DATABASE IF NOT EXISTS {database}; GRANT USAGE ON DATABASE {database} TO ROLE {grantee};",
            )
            return
    except Unreadable as error:
        yield unchecked("database", f"the database {target.database}", error)
    schema = f"{database}.{quote(target.schema)}"
    try:
        if reader.named("SHOW SCHEMAS", target.schema, f"IN DATABASE {database}") is None:
            yield finding(
                "schema",
                "no-such-schema",
                f"there is no schema {target.schema} in {target.database}, or the role {target.role} may not see it",
                f"CREATE SCHEMA IF NOT EXISTS {schema}; GRANT USAGE ON SCHEMA {schema} TO ROLE {grantee};",
            )
    except Unreadable as error:
        yield unchecked("schema", f"the schema {target.schema}", error)


def stage(reader: Reader, target: Target) -> tuple[bool, list[Violation]]:
    """Looks for the stage, which the first job makes if it is not there.

    Args:
        reader: Asks the account.
        target: The names to look for.

    Returns:
        Whether it is there, and what is wrong with it.
    """
    stage = target.stage
    if stage is None:
        return False, []
    within = f"IN SCHEMA {quote(stage.database)}.{quote(stage.schema)}"
    try:
        row = reader.named("SHOW STAGES", stage.name, within)
    except Unreadable as error:
        return False, [unchecked("stage", f"the stage {stage}", error)]
    if row is None:
        return False, []  # it is made on first use, if the role may: `preflight_grants` looks at that
    kind = str(row.get("type") or "").upper()
    if kind == "INTERNAL":
        other = stage.beside(f"{stage.name}_SSE")
        return True, [
            finding(
                "stage",
                "client-encryption",
                f"the stage {stage} is encrypted on the client's side, and jobs cannot mount such a stage",
                f'Take another one, stage="{other.name}": {create_stage(other)}',
            )
        ]
    return True, []


def secrets(reader: Reader, target: Target, spec: JobSpec) -> Iterator[Violation]:
    """Looks for the secrets that become environment variables of the job.

    Args:
        reader: Asks the account.
        target: Where bare names lie.
        spec: The job.
    """
    for variable, source in spec.secrets.items():
        path = f"secrets[{variable}]"
        try:
            name = parse(source, database=target.database, schema=target.schema)
            row = reader.named("SHOW SECRETS", name.name, f"IN SCHEMA {quote(name.database)}.{quote(name.schema)}")
        except ConfigError as error:
            yield Violation(path=path, code="bad-name", message=str(error))
        except Unreadable as error:
            message = f"the secret {source} could not be checked: {error.reason}"
            yield Violation(path=path, code="unchecked", level="warning", message=message)
        else:
            if row is None:
                yield Violation(
                    path=path,
                    code="no-such-secret",
                    message=f"there is no secret {name}, which is to become the job's {variable}, or the role "
                    f"{target.role} may not see it",
                    hint=f"CREATE SECRET {name.sql} TYPE = GENERIC_STRING SECRET_STRING = '<the value>'; "
                    f"{grant('READ', 'SECRET', name.sql, target.role)}",
                )


def tables_of(spec: JobSpec) -> Iterator[tuple[Name, tuple[str, ...]]]:
    """The tables among a job's inputs, each with the columns that are read.

    Args:
        spec: The job.
    """
    for place in spec.places.values():
        if not isinstance(place, Tables):
            continue
        for split in place.splits.values():
            name = table_of(split)
            if name is not None:
                order = () if split.order is None else (split.order,)
                yield name, tuple(dict.fromkeys([*split.columns.values(), *order]))


def in_the_way(reader: Reader, spec: JobSpec) -> Iterator[Violation]:
    """Looks for tables under the names that the job writes.

    Args:
        reader: Asks the account.
        spec: The job.
    """
    if not isinstance(spec.output, NamedTables) or spec.output.replace_existing:
        return
    name = parse(spec.output.name)
    wanted = [f"{name.name}_{split.upper()}" for split in (*spec.output.splits, "manifest")]
    within = f"IN SCHEMA {quote(name.database)}.{quote(name.schema)}"
    try:
        there = [table for table in wanted if reader.named("SHOW TABLES", table, within) is not None]
    except Unreadable:
        return  # no such schema: the look at database and schema says which, and what mends it
    if there:
        yield Violation(
            path="table",
            code="table-exists",
            level="warning",
            message=f"{name} has {', '.join(there)} already; unless that is this very dataset, the job will fail.",
            hint="Choose another name with table=..., or replace them with overwrite=True.",
        )


def tables(reader: Reader, wanted: Mapping[Name, Sequence[str]]) -> Iterator[Violation]:
    """Looks for tables and their columns.

    Args:
        reader: Asks the account.
        wanted: The tables, each with the exact names of the columns that must be there.
    """
    for name, columns in wanted.items():
        path = f"tables[{name}]"
        try:
            there = [str(row.get("name")) for row in reader.rows(f"DESCRIBE TABLE {name.sql}")]
        except Unreadable as error:
            if not error.missing:
                message = f"the table {name} could not be checked: {error.reason}"
                yield Violation(path=path, code="unchecked", level="warning", message=message)
                continue
            yield Violation(
                path=path,
                code="no-such-table",
                message=f"there is no table {name}, or the session's role may not see it",
                hint=f"SHOW TABLES LIKE {literal(name.name)} IN ACCOUNT; finds it in another schema.",
            )
            continue
        lacking = [column for column in columns if column not in there]
        if lacking:
            yield Violation(
                path=path,
                code="missing-column",
                message=f"the table {name} has no column {', '.join(lacking)}; it has {', '.join(there) or 'none'}",
                hint="Name the columns it has, columns={'<field>': '<column>'}, or rename one: "
                f"ALTER TABLE {name.sql} RENAME COLUMN <column> TO {quote(lacking[0])};",
            )
