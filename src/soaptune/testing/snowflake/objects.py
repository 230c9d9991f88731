"""Warehouses, databases and schemas: making, showing and dropping them."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake import literals, names
from soaptune.testing.snowflake.names import NAME, PART, Name
from soaptune.testing.snowflake.results import Result, exists, missing, rows, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

_WAREHOUSE = (
    "name state type size running queued is_default is_current auto_suspend auto_resume created_on owner comment"
)
_DATABASE = "created_on name is_default is_current origin owner comment options retention_time kind"
_SCHEMA = "created_on name is_default is_current database_name owner comment options retention_time"
_HIDDEN = {"MAIN", "_FS_INFORMATION_SCHEMA", "PG_CATALOG"}


@dataclass
class Warehouse:
    """A warehouse."""

    name: str
    owner: str
    size: str = "X-Small"
    state: str = "STARTED"
    comment: str = ""
    created: str = field(default_factory=literals.now)


class Warehouses:
    """The warehouses of an account, by name."""

    def __init__(self, account: Account) -> None:
        self._warehouses: dict[str, Warehouse] = {}
        self._lock = threading.RLock()
        self.add(account.warehouse, account.role)

    def __contains__(self, name: str) -> bool:
        return name in self._warehouses

    def __getitem__(self, name: str) -> Warehouse:
        """A warehouse.

        Raises:
            SqlError: If it does not exist.
        """
        if name not in self._warehouses:
            raise missing("Warehouse", names.written(name))
        return self._warehouses[name]

    def add(self, name: str, owner: str) -> Warehouse:
        """Makes a warehouse, or makes it anew."""
        with self._lock:
            made = self._warehouses[name] = Warehouse(name, owner)
            return made

    def drop(self, name: str) -> bool:
        """Removes a warehouse; whether there was one."""
        with self._lock:
            return self._warehouses.pop(name, None) is not None

    def all(self) -> list[Warehouse]:
        """The warehouses, by name."""
        with self._lock:
            return sorted(self._warehouses.values(), key=lambda warehouse: warehouse.name)


@handles(rf"^SHOW\s+WAREHOUSES(?:\s+LIKE\s+({literals.TEXT}|\?))?\s*$", issued_by="users")
def show_warehouses(account: Account, call: Call) -> Result:
    """SHOW WAREHOUSES."""
    pattern = call.pattern()
    found = [warehouse for warehouse in account.warehouses.all() if literals.like(pattern, warehouse.name)]
    return literals.listing(
        _WAREHOUSE.split(),
        [
            {
                "name": one.name,
                "state": one.state,
                "type": "STANDARD",
                "size": one.size,
                "running": 0,
                "queued": 0,
                "is_default": "Y" if one.name == account.warehouse else "N",
                "is_current": "Y" if one.name == call.session.warehouse else "N",
                "auto_suspend": 600,
                "auto_resume": True,
                "created_on": one.created,
                "owner": one.owner,
                "comment": one.comment,
            }
            for one in found
        ],
    )


@handles(rf"^CREATE\s+(OR\s+REPLACE\s+)?WAREHOUSE\s+(IF\s+NOT\s+EXISTS\s+)?({PART})(.*)$", issued_by="users")
def create_warehouse(account: Account, call: Call) -> Result:
    """CREATE WAREHOUSE."""
    name = names.unquoted(str(call[3]))
    if name in account.warehouses and not call[1]:
        if call[2]:
            return status(f"{name} already exists, statement succeeded.")
        raise exists("Object", name)
    made = account.warehouses.add(name, call.session.role)
    if size := re.search(r"WAREHOUSE_SIZE\s*=\s*'?([\w-]+)", str(call[4]), re.IGNORECASE):
        made.size = size[1]
    account.grants.own(call.session.role, "WAREHOUSE", (name,))
    call.session.warehouse = name
    return status(f"Warehouse {name} successfully created.")


@handles(rf"^ALTER\s+WAREHOUSE\s+(IF\s+EXISTS\s+)?({PART})\s+(SUSPEND|RESUME|SET)\b(.*)$", issued_by="users")
def alter_warehouse(account: Account, call: Call) -> Result:
    """ALTER WAREHOUSE."""
    warehouse = account.warehouses[names.unquoted(str(call[2]))]
    action = str(call[3]).upper()
    if action != "SET":
        warehouse.state = "SUSPENDED" if action == "SUSPEND" else "STARTED"
    elif size := re.search(r"WAREHOUSE_SIZE\s*=\s*'?([\w-]+)", str(call[4]), re.IGNORECASE):
        warehouse.size = size[1]
    return status()


@handles(rf"^DROP\s+WAREHOUSE\s+(IF\s+EXISTS\s+)?({PART})\s*$", issued_by="users")
def drop_warehouse(account: Account, call: Call) -> Result:
    """DROP WAREHOUSE."""
    name = names.unquoted(str(call[2]))
    if not account.warehouses.drop(name) and not call[1]:
        raise missing("Warehouse", names.written(name))
    return status(f"{name} successfully dropped.")


def _databases(call: Call) -> list[str]:
    found = call.session.duck("SELECT DISTINCT catalog_name FROM information_schema.schemata")
    return sorted(str(name) for (name,) in found if name not in {"memory", "system", "temp", "_fs_global"})


@handles(
    rf"^SHOW\s+(?:TERSE\s+)?DATABASES(?:\s+LIKE\s+({literals.TEXT}|\?))?(?:\s+IN\s+ACCOUNT)?\s*$", issued_by="users"
)
def show_databases(account: Account, call: Call) -> Result:
    """SHOW DATABASES."""
    pattern = call.pattern()
    found: list[dict[str, Any]] = [
        {
            "created_on": literals.now(),
            "name": name,
            "is_default": "Y" if name == account.database else "N",
            "is_current": "Y" if name == call.session.database else "N",
            "origin": "",
            "owner": account.grants.owner("DATABASE", (name,)),
            "comment": "",
            "options": "",
            "retention_time": "1",
            "kind": "STANDARD",
        }
        for name in _databases(call)
        if literals.like(pattern, name)
    ]
    return literals.listing(_DATABASE.split(), found)


@handles(
    rf"^SHOW\s+(?:TERSE\s+)?SCHEMAS(?:\s+LIKE\s+({literals.TEXT}|\?))?(?:\s+IN\s+(?:(ACCOUNT)|(?:DATABASE\s+)?({PART})))?\s*$",
    issued_by="users",
)
def show_schemas(account: Account, call: Call) -> Result:
    """SHOW SCHEMAS."""
    pattern = call.pattern()
    wanted = call[3]
    database = names.unquoted(wanted) if wanted else None if call[2] else call.session.database
    if wanted and database not in _databases(call):
        raise missing("Database", names.written(str(database)))
    found: list[dict[str, Any]] = []
    for of in _databases(call) if database is None else [database]:
        for name in sorted({*call.session.schemas(str(of)), "INFORMATION_SCHEMA"}):
            if name.upper() in _HIDDEN or not literals.like(pattern, name) or name == "information_schema":
                continue
            found.append(
                {
                    "created_on": literals.now(),
                    "name": name,
                    "is_default": "N",
                    "is_current": "Y" if (of, name) == (call.session.database, call.session.schema) else "N",
                    "database_name": of,
                    "owner": account.grants.owner("SCHEMA", (of, name)),
                    "comment": "",
                    "options": "",
                    "retention_time": "1",
                }
            )
    return literals.listing(_SCHEMA.split(), found)


@handles(
    rf"^CREATE\s+(?:OR\s+REPLACE\s+)?(?:TRANSIENT\s+)?DATABASE\s+(IF\s+NOT\s+EXISTS\s+)?({PART})", issued_by="users"
)
def create_database(account: Account, call: Call) -> Result:
    """CREATE DATABASE: brings a schema PUBLIC with it, and becomes the current database."""
    name, session = names.unquoted(str(call[2])), call.session
    if name in _databases(call):
        if call[1]:
            return status(f"{name} already exists, statement succeeded.")
        raise exists("Object", names.written(name))
    _attach(session, name)
    session.stand(name, "PUBLIC")
    account.grants.own(session.role, "DATABASE", (name,))
    account.grants.own(session.role, "SCHEMA", (name, "PUBLIC"))
    return status(f"Database {name} successfully created.")


def _attach(session: Session, name: str) -> None:
    """What fakesnow does for a new database, also for a name that needs quotes."""
    from fakesnow import info_schema, macros

    catalog, literal = names.quoted(name), "'" + name.replace("'", "''") + "'"
    session.duck(f"ATTACH DATABASE ':memory:' AS {catalog}")
    for script in (info_schema.per_db_creation_sql(catalog), macros.creation_sql(catalog)):
        session.duck(script.replace(f"'{catalog}'", literal))
    session.duck(f'CREATE SCHEMA {catalog}."PUBLIC"')


@handles(rf"^CREATE\s+(OR\s+REPLACE\s+)?(?:TRANSIENT\s+)?SCHEMA\s+(IF\s+NOT\s+EXISTS\s+)?({NAME})", issued_by="users")
def create_schema(account: Account, call: Call) -> Result:
    """CREATE SCHEMA: becomes the current schema."""
    session, found = call.session, names.parts(str(call[3]))
    database, name = found if len(found) == 2 else (session.database or "", found[0])
    full = f"{names.quoted(database)}.{names.quoted(name)}"
    if name in session.schemas(database):
        if call[2]:
            return status(f"{name} already exists, statement succeeded.")
        if not call[1]:
            raise exists("Object", names.written(name))
        session.duck(f"DROP SCHEMA {full} CASCADE")
    session.duck(f"CREATE SCHEMA {full}")
    session.stand(database, name)
    account.grants.own(session.role, "SCHEMA", (database, name))
    return status(f"Schema {name} successfully created.")


@handles(rf"^DROP\s+(SCHEMA|DATABASE)\s+(IF\s+EXISTS\s+)?({NAME})", issued_by="users")
def drop_schema(account: Account, call: Call) -> Result | None:
    """DROP SCHEMA and DROP DATABASE: their stages go with them; the tables of a schema are fakesnow's matter."""
    found, session = names.parts(str(call[3])), call.session
    schema = str(call[1]).upper() == "SCHEMA"
    within = (session.database or "", *found) if schema and len(found) == 1 else found
    for stage in account.stages.all():
        if stage.name[: len(within)] == within:
            account.stages.drop(stage.name)
    if schema:
        return None
    name = found[0]
    if name in _databases(call):
        if name == session.database:
            session.leave()
        session.duck(f"DETACH {names.quoted(name)}")
    elif not call[2]:
        raise missing("Database", names.written(name))
    return status(f"{name} successfully dropped.")


@handles(rf"^DESC(?:RIBE)?\s+(?:DATABASE|SCHEMA)\s+({NAME})\s*$", issued_by="users")
def describe_schema(account: Account, call: Call) -> Result:  # noqa: ARG001
    """DESCRIBE DATABASE, DESCRIBE SCHEMA: what lies in it."""
    found = names.parts(str(call[1]))
    if re.match(r"DESC(?:RIBE)?\s+DATABASE", call.sql, re.IGNORECASE):
        what, kind = [(name,) for name in call.session.schemas(found[0])], "SCHEMA"
    else:
        where = found if len(found) == 2 else (call.session.database, found[0])
        what = call.session.duck(
            "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? AND table_schema = ?", where
        )
        kind = "TABLE"
    return rows(["created_on", "name", "kind"], [[literals.now(), name, kind] for (name,) in what])


def full_name(call: Call, text: str, count: int) -> tuple[str, ...]:
    """A name of SQL text with as many parts as the kind of object has; the session completes it."""
    if count == 3:
        return call.resolve(text)
    found = names.parts(text)
    return (call.session.database or "", *found) if count == 2 and len(found) == 1 else tuple(found)


__all__ = ["Name", "Warehouse", "Warehouses"]
