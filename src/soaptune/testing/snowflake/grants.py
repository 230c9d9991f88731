"""Roles and what was granted to them; who makes an object owns it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soaptune.testing.snowflake import literals, names
from soaptune.testing.snowflake.names import NAME, PART
from soaptune.testing.snowflake.objects import full_name
from soaptune.testing.snowflake.results import Result, missing, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

_COLUMNS = "created_on privilege granted_on name granted_to grantee_name grant_option granted_by".split()
_KINDS = (
    r"COMPUTE\s+POOL|EXTERNAL\s+ACCESS\s+INTEGRATION|IMAGE\s+REPOSITORY|NETWORK\s+RULE|INTEGRATION|WAREHOUSE|DATABASE|"
    r"SCHEMA|STAGE|TABLE|VIEW|SECRET|MODEL|SERVICE|EXPERIMENT"
)
_TABLE = re.compile(
    rf"^\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:\w+\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})", re.IGNORECASE
)
_OWNED = ("OWNERSHIP", "TABLE")
_PARTS = {"DATABASE": 1, "WAREHOUSE": 1, "INTEGRATION": 1, "COMPUTE POOL": 1, "SCHEMA": 2}


@dataclass(frozen=True)
class Grant:
    """One privilege of a role.

    Attributes:
        privilege: Such as USAGE, or OWNERSHIP, which includes every other.
        kind: The kind of object, such as ``COMPUTE POOL``; ACCOUNT for global privileges.
        name: The object's name by its parts.
        role: Who has it.
    """

    privilege: str
    kind: str
    name: tuple[str, ...]
    role: str
    created: str = field(default_factory=literals.now, compare=False)


class Grants:
    """The roles and grants of an account."""

    def __init__(self, account: Account) -> None:
        self.roles = [account.role, "PUBLIC", "SYSADMIN", "SECURITYADMIN", "USERADMIN", "ACCOUNTADMIN"]
        self._grants: list[Grant] = []
        self._lock = threading.RLock()
        self.own(account.role, "DATABASE", (account.database,))
        self.own(account.role, "SCHEMA", (account.database, account.schema))
        for privilege in ("USAGE", "OPERATE", "MONITOR"):
            self.give(privilege, "WAREHOUSE", (account.warehouse,), account.role)
            self.give(privilege, "COMPUTE POOL", ("GPU_POOL",), account.role)
        self.give("BIND SERVICE ENDPOINT", "ACCOUNT", (), account.role)

    def give(self, privilege: str, kind: str, name: tuple[str, ...], role: str) -> None:
        """Grants a privilege; granting it again changes nothing."""
        with self._lock:
            grant = Grant(privilege, kind, tuple(name), role)
            if grant not in self._grants:
                self._grants.append(grant)

    def own(self, role: str, kind: str, name: tuple[str, ...]) -> None:
        """Makes a role the owner of an object."""
        self.give("OWNERSHIP", kind, name, role)

    def made_by(self, session: Session, sql: str) -> None:
        """Makes a role the owner of the table that its statement has created.

        Args:
            session: Who ran the statement.
            sql: The statement, which succeeded.
        """
        if found := _TABLE.match(sql):
            name = names.qualified(found["name"], session.database, session.schema)
            with self._lock:
                self._grants = [g for g in self._grants if (g.privilege, g.kind, g.name) != (*_OWNED, tuple(name))]
            self.own(session.role, "TABLE", tuple(name))

    def take(self, privilege: str | None, kind: str, name: tuple[str, ...], role: str) -> None:
        """Revokes a privilege, or all with None."""
        with self._lock:
            self._grants = [
                grant
                for grant in self._grants
                if (grant.kind, grant.name, grant.role) != (kind, tuple(name), role)
                or privilege not in (None, grant.privilege)
            ]

    def allows(self, role: str, privilege: str, kind: str, name: tuple[str, ...]) -> bool:
        """Whether a role has a privilege on an object, by itself or as its owner."""
        with self._lock:
            found = {
                grant.privilege
                for grant in self._grants
                if (grant.kind, grant.name) == (kind, tuple(name)) and grant.role in (role, "PUBLIC")
            }
        return role == "ACCOUNTADMIN" or privilege in found or "OWNERSHIP" in found

    def owner(self, kind: str, name: tuple[str, ...]) -> str:
        """The owner of an object, as SHOW prints it."""
        for grant in self.all():
            if (grant.privilege, grant.kind, grant.name) == ("OWNERSHIP", kind, tuple(name)):
                return grant.role
        return ""

    def all(self) -> list[Grant]:
        """The grants, in the order they were made."""
        with self._lock:
            return list(self._grants)


def _kind(text: str) -> str:
    kind = re.sub(r"\s+", " ", text).upper()
    return "INTEGRATION" if kind == "EXTERNAL ACCESS INTEGRATION" else kind


def _target(call: Call) -> tuple[str, tuple[str, ...]]:
    if call["account"]:
        return "ACCOUNT", ()
    kind = _kind(str(call["kind"]))
    return kind, tuple(full_name(call, str(call["name"]), _PARTS.get(kind, 3)))


_ON = rf"ON\s+(?:(?P<account>ACCOUNT)|(?P<kind>{_KINDS})\s+(?P<name>{NAME}))"


@handles(
    rf"^(GRANT|REVOKE)\s+(?P<what>[\w\s,]+?)\s+{_ON}\s+(?:TO|FROM)\s+(?:ROLE\s+)?(?P<role>{PART})", issued_by="users"
)
def grant_or_revoke(account: Account, call: Call) -> Result:
    """GRANT ... ON ... TO ROLE, and REVOKE ... FROM ROLE."""
    kind, name = _target(call)
    role = names.unquoted(str(call["role"]))
    if role not in account.grants.roles:
        raise missing("Role", names.written(role))
    for privilege in re.split(r"\s*,\s*", re.sub(r"\s+", " ", str(call["what"])).strip().upper()):
        every = privilege in ("ALL", "ALL PRIVILEGES")
        if str(call[1]).upper() == "GRANT":
            account.grants.give("OWNERSHIP" if every else privilege, kind, name, role)
        else:
            account.grants.take(None if every else privilege, kind, name, role)
    return status()


@handles(rf"^GRANT\s+(DATABASE\s+)?ROLE\s+({NAME})\s+TO\s+(ROLE|USER)\s+({PART})", issued_by="users")
def grant_role(account: Account, call: Call) -> Result:
    """GRANT ROLE: a role has what is granted to the roles it was granted; the one user has every role."""
    kind, role = ("DATABASE ROLE" if call[1] else "ROLE"), names.parts(str(call[2]))
    if kind == "ROLE" and role[0] not in account.grants.roles:
        raise missing("Role", str(call[2]))
    if str(call[3]).upper() == "ROLE":
        account.grants.give("USAGE", kind, role, names.unquoted(str(call[4])))
    return status()


@handles(rf"^CREATE\s+(?:OR\s+REPLACE\s+)?ROLE\s+(?:IF\s+NOT\s+EXISTS\s+)?({PART})", issued_by="users")
def create_role(account: Account, call: Call) -> Result:
    """CREATE ROLE."""
    role = names.unquoted(str(call[1]))
    if role not in account.grants.roles:
        account.grants.roles.append(role)
    return status(f"Role {role} successfully created.")


@handles(rf"^SHOW\s+ROLES(?:\s+LIKE\s+({literals.TEXT}|\?))?\s*$", issued_by="users")
def show_roles(account: Account, call: Call) -> Result:
    """SHOW ROLES."""
    pattern = call.pattern()
    columns = ["created_on", "name", "is_default", "is_current", "owner", "comment"]
    return literals.listing(
        columns,
        [
            {
                "created_on": literals.now(),
                "name": role,
                "is_default": "Y" if role == account.role else "N",
                "is_current": "Y" if role == call.session.role else "N",
                "owner": "",
                "comment": "",
            }
            for role in account.grants.roles
            if literals.like(pattern, role)
        ],
    )


def _made(account: Account, call: Call, grants: Sequence[Grant]) -> list[Grant]:
    """What roles own unsaid: their stages, and the tables in their schemas that nobody was seen to make."""
    owned = {grant.name: grant.role for grant in grants if (grant.privilege, grant.kind) == ("OWNERSHIP", "SCHEMA")}
    known = {grant.name for grant in grants if (grant.privilege, grant.kind) == _OWNED}
    found = call.session.duck("SELECT table_catalog, table_schema, table_name FROM information_schema.tables")
    tables = [tuple(table) for table in found if tuple(table) not in known and table[:2] in owned]
    return [
        *(Grant("OWNERSHIP", "STAGE", tuple(stage.name), stage.owner) for stage in account.stages.all()),
        *(Grant(*_OWNED, table, owned[table[:2]]) for table in tables),
    ]


@handles(
    rf"^SHOW\s+GRANTS(?:\s+(?:{_ON}|TO\s+ROLE\s+(?P<role>{PART})|TO\s+USER\s+(?P<user>{PART})))?\s*$", issued_by="users"
)
def show_grants(account: Account, call: Call) -> Result:
    """SHOW GRANTS on an object, to a role, or to the user."""
    found = account.grants.all()
    if call["account"] or call["kind"]:
        kind, name = _target(call)
        found = [grant for grant in found if (grant.kind, grant.name) == (kind, name)]
    elif call["role"]:
        role = names.unquoted(str(call["role"]))
        if role not in account.grants.roles:
            raise missing("Role", names.written(role))
        found = [grant for grant in [*found, *_made(account, call, found)] if grant.role == role]
    else:
        columns = ["created_on", "role", "granted_to", "grantee_name", "granted_by"]
        return literals.listing(
            columns,
            [
                {"created_on": literals.now(), "role": role, "granted_to": "USER", "grantee_name": account.user}
                for role in account.grants.roles
            ],
        )
    return literals.listing(
        _COLUMNS,
        [
            {
                "created_on": grant.created,
                "privilege": grant.privilege,
                "granted_on": grant.kind.replace(" ", "_"),
                "name": ".".join(names.written(part) for part in grant.name) or "EMULATED",
                "granted_to": "ROLE",
                "grantee_name": grant.role,
                "grant_option": grant.privilege == "OWNERSHIP",
                "granted_by": grant.role,
            }
            for grant in found
        ],
    )
