"""Where a session stands: its role, warehouse, database and schema, its parameters, and the functions that tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from soaptune.testing.snowflake import literals, names
from soaptune.testing.snowflake.names import NAME, PART
from soaptune.testing.snowflake.results import Result, SqlError, rows, status
from soaptune.testing.snowflake.statements import Call, handles, outside_quotes, rewrites

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

_FUNCTION = (
    r"current_(?:user|role|warehouse|database|schema|account|account_name|organization_name|session|region|"
    r"available_roles|secondary_roles|ip_address|client)\s*\(\s*\)"
)
_PARAMETERS = ["key", "value", "default", "level", "description", "type"]


def no_such_object(name: str) -> SqlError:
    """The error of USE for what does not exist, in the server's words."""
    text = f"Object does not exist, or operation cannot be performed: {name}"
    return SqlError(2043, f"SQL compilation error:\n{text}", "02000")


def value_of(function: str, account: Account, session: Session) -> str | None:
    """What a context function returns."""
    name = function.lower().partition("(")[0].strip().removeprefix("current_")
    values: dict[str, str | None] = {
        "user": session.user,
        "role": session.role,
        "warehouse": session.warehouse,
        "database": session.database,
        "schema": session.schema,
        "account": "EMULATED",
        "account_name": "EMULATED",
        "organization_name": "SOAPTUNE",
        "session": str(session.number),
        "region": "EMULATED_LOOPBACK",
        "available_roles": "[" + ", ".join(f'"{role}"' for role in account.grants.roles) + "]",
        "secondary_roles": '{"roles":"","value":""}',
        "ip_address": "127.0.0.1",
        "client": "PythonConnector",
    }
    return values[name]


@handles(
    rf"^SELECT\s+({_FUNCTION}(?:\s+AS\s+{PART})?(?:\s*,\s*{_FUNCTION}(?:\s+AS\s+{PART})?)*)\s*$",
    issued_by="snowflake/snowpark/_internal/server_connection.py:270",
)
def select_context(account: Account, call: Call) -> Result:
    """SELECT of context functions and nothing else, with the names of columns that the server gives them."""
    columns: list[str] = []
    values: list[str | None] = []
    for found in re.finditer(rf"({_FUNCTION})(?:\s+AS\s+({PART}))?", str(call[1]), re.IGNORECASE):
        columns.append(names.unquoted(found[2]) if found[2] else found[1].upper())
        values.append(value_of(found[1], account, call.session))
    return rows(columns, [values])


@rewrites(issued_by="users")
def context_functions(account: Account, session: Session, sql: str) -> str:
    """Puts the value of context functions in their place."""

    def value(match: re.Match[str]) -> str:
        found = value_of(match["found"], account, session)
        return "NULL" if found is None else "'" + found.replace("'", "''") + "'"

    return outside_quotes(rf"\b{_FUNCTION}", value, sql)


@handles(rf"^USE\s+ROLE\s+({PART})\s*$", issued_by="snowflake/snowpark/session.py:4520")
def use_role(account: Account, call: Call) -> Result:
    """USE ROLE."""
    role = names.unquoted(str(call[1]))
    if role not in account.grants.roles:
        raise no_such_object(role)
    call.session.role = role
    return status()


@handles(r"^USE\s+SECONDARY\s+ROLES\s+\S+\s*$", issued_by="snowflake/snowpark/session.py:4528")
def use_secondary_roles(account: Account, call: Call) -> Result:  # noqa: ARG001
    """USE SECONDARY ROLES: there is nothing to switch."""
    return status()


@handles(rf"^USE\s+WAREHOUSE\s+({PART})\s*$", issued_by="snowflake/snowpark/session.py:4512")
def use_warehouse(account: Account, call: Call) -> Result:
    """USE WAREHOUSE."""
    warehouse = names.unquoted(str(call[1]))
    if warehouse not in account.warehouses:
        raise no_such_object(warehouse)
    call.session.warehouse = warehouse
    return status()


@handles(rf"^USE\s+(?:(DATABASE|SCHEMA)\s+)?({NAME})\s*$", issued_by="snowflake/snowpark/session.py:4504")
def use_schema(account: Account, call: Call) -> Result:  # noqa: ARG001
    """USE DATABASE, USE SCHEMA, and the short form of either; a database brings its schema PUBLIC along."""
    session, found = call.session, names.parts(str(call[2]))
    database_alone = len(found) == 1 and (call[1] or "DATABASE").upper() == "DATABASE"
    database, schema = (found[0], "PUBLIC") if database_alone else (found if len(found) == 2 else ("", found[0]))
    database = database or session.database or ""
    known = session.schemas(database)
    if not known or (schema not in known and not database_alone):
        raise no_such_object(".".join(found))
    session.stand(database, schema if schema in known else None)
    return status()


@handles(r"^ALTER\s+SESSION\s+SET\s+(.+)$", issued_by="snowflake/snowpark/_internal/server_connection.py:995")
def alter_session(account: Account, call: Call) -> Result | None:  # noqa: ARG001
    """ALTER SESSION SET; AUTOCOMMIT is fakesnow's matter."""
    if re.match(r"AUTOCOMMIT\b", str(call[1]), re.IGNORECASE):
        return None
    for key, value in re.findall(rf"(\w+)\s*=\s*({literals.TEXT}|[\w.-]+)", str(call[1]), re.DOTALL):
        call.session.parameters[key.upper()] = literals.text(value) if value[0] in "'$" else value
    return status()


@handles(r"^ALTER\s+SESSION\s+UNSET\s+(.+)$", issued_by="snowflake/snowpark/_internal/server_connection.py:1008")
def unset_session(account: Account, call: Call) -> Result:  # noqa: ARG001
    """ALTER SESSION UNSET."""
    for key in re.findall(r"\w+", str(call[1])):
        call.session.parameters.pop(key.upper(), None)
    return status()


@handles(rf"^SHOW\s+PARAMETERS(?:\s+LIKE\s+({literals.TEXT}))?(?:\s+IN\s+.*)?$", issued_by="users")
def show_parameters(account: Account, call: Call) -> Result:  # noqa: ARG001
    """SHOW PARAMETERS: those that were set in the session."""
    pattern = call.pattern()
    found = {"QUERY_TAG": "", **call.session.parameters}
    return rows(
        _PARAMETERS,
        [[key, value, "", "SESSION", "", "STRING"] for key, value in found.items() if literals.like(pattern, key)],
    )


@handles(r"^SELECT\s+SYSTEM\$CANCEL_ALL_QUERIES\(", issued_by="snowflake/snowpark/session.py:1405")
def cancel_all(account: Account, call: Call) -> Result:  # noqa: ARG001
    """What Snowpark sends when a session is closed."""
    return rows(["SYSTEM$CANCEL_ALL_QUERIES"], [["0 cancelled"]])


@handles(r"^SHOW\s+REGIONS\b", issued_by="snowflake/ml/_internal/utils/snowflake_env.py:64")
def show_regions(account: Account, call: Call) -> Result:  # noqa: ARG001
    """SHOW REGIONS: the one region there is."""
    columns = ["snowflake_region", "cloud", "region", "display_name"]
    return rows(columns, [["EMULATED_LOOPBACK", "aws", "us-west-2", "Loopback"]])
