"""The preflight's look at privileges: what the role may do, itself and through the roles that were granted to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

from soaptune.errors import ConfigError, Violation
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.names import Name, parse, quote
from soaptune.snowflake.preflight.reading import Reader, Target, Unreadable, finding, parts_of, same_name, unchecked
from soaptune.snowflake.preflight.setup import grant

__all__ = ["Grants", "check", "read"]

_MOST_ROLES = 100
_RELATIONS = ("TABLE", "VIEW", "MATERIALIZED_VIEW", "DYNAMIC_TABLE", "EXTERNAL_TABLE", "ICEBERG_TABLE", "EVENT_TABLE")
_BY_KIND: dict[str, tuple[tuple[str, Literal["error", "warning"]], ...]] = {
    "data": (("CREATE TABLE", "error"),),
    "report": (("CREATE TABLE", "error"), ("CREATE EXPERIMENT", "warning")),
    "model": (("CREATE EXPERIMENT", "warning"),),
    "endpoint": (("CREATE MODEL", "error"),),
}
"""What a job's kind makes in the schema beside its files and its service; runs go on without their experiment."""


@dataclass
class Grants:
    """The privileges of a role.

    Attributes:
        held: Privilege, kind of object and its name as the account writes it.
        roles: The roles that they come from.
        unread: The roles whose privileges could not be read.
    """

    held: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    roles: set[str] = field(default_factory=set[str])
    unread: list[str] = field(default_factory=list[str])

    def has(self, privilege: str, kind: str, *name: str) -> bool:
        """Whether the role holds a privilege, or one that includes it.

        Args:
            privilege: The privilege.
            kind: What kind of object, as the account writes it (``"COMPUTE_POOL"``).
            *name: The object's exact name; none for the account.
        """
        return any(
            held in (privilege, "OWNERSHIP", "ALL", "ALL PRIVILEGES")
            and on == kind
            and (not name or same_name(of, name))
            for held, on, of in self.held
        )


def read(
    reader: Reader,
    role: str,
    *,
    databases: AbstractSet[str] = frozenset(),
    enough: Callable[[Grants], bool] | None = None,
) -> Grants:
    """Reads what a role may do. What its user may do through other roles does not count: a job has this role alone.

    Args:
        reader: Asks the account.
        role: The exact name of the role.
        databases: The databases whose database roles matter; they hold privileges in their own database only.
        enough: Tells when no further role needs to be read.

    Raises:
        Unreadable: Not even the role's own privileges can be read.
    """
    grants = Grants()
    waiting = [f"ROLE {quote(role)}", 'ROLE "PUBLIC"']
    while waiting and not (enough and enough(grants)):
        one = waiting.pop(0)
        if one in grants.roles:
            continue
        if len(grants.roles) >= _MOST_ROLES:
            grants.unread.append(f"{len(waiting) + 1} further roles")
            break
        grants.roles.add(one)
        try:
            rows = reader.rows(f"SHOW GRANTS TO {one}")
        except Unreadable:
            if len(grants.roles) == 1:
                raise
            grants.unread.append(one)
            continue
        for row in rows:
            privilege, name = str(row.get("privilege") or "").upper(), str(row.get("name") or "")
            kind = str(row.get("granted_on") or "").upper().replace(" ", "_")
            grants.held.append((privilege, kind, name))
            parts = parts_of(name)
            if privilege == "USAGE" and (kind == "ROLE" or (kind == "DATABASE_ROLE" and parts[0] in databases)):
                waiting.append(f"{kind.replace('_', ' ')} {'.'.join(quote(part) for part in parts)}")
    return grants


def check(
    reader: Reader,
    target: Target,
    spec: JobSpec,
    *,
    stage_there: bool,
    missing: AbstractSet[str],
    tables: Sequence[Name],
) -> list[Violation]:
    """Looks at the privileges that a job needs.

    Args:
        reader: Asks the account.
        target: The names of what they are on.
        spec: The job.
        stage_there: Whether the stage exists already.
        missing: The arguments of the backend whose object does not exist: there is nothing to have a privilege on.
        tables: The tables that the job reads.
    """
    if not target.role:
        return []
    wanted = [one for one in _wanted(target, spec, stage_there, tables) if one.path not in missing]
    databases = {target.database, *(table.database for table in tables)}
    try:
        grants = read(reader, target.role, databases=databases, enough=lambda held: all(w.met(held) for w in wanted))
    except Unreadable as error:
        return [unchecked("role", f"the privileges of the role {target.role}", error)]
    # What the account did not show may hold the privilege, and an administrator holds more than is listed.
    sure = not grants.unread and 'ROLE "ACCOUNTADMIN"' not in grants.roles
    found = [_lacking(target, one, one.level if sure else "warning") for one in wanted if not one.met(grants)]
    if found and grants.unread:
        message = f"privileges that come through {', '.join(grants.unread)} could not be read, and may be enough"
        found.append(finding("role", "unchecked", message, level="warning"))
    return found


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A privilege that the job needs: what it is for, how bad its lack is, on what."""

    path: str
    level: Literal["error", "warning"]
    privilege: str
    kind: str
    name: tuple[str, ...] = ()

    def met(self, grants: Grants) -> bool:
        kinds = _RELATIONS if self.kind == "TABLE" else (self.kind,)
        return any(grants.has(self.privilege, kind, *self.name) for kind in kinds)


def _wanted(target: Target, spec: JobSpec, stage_there: bool, tables: Sequence[Name]) -> Iterator[_Wanted]:
    yield _Wanted("compute_pool", "error", "USAGE", "COMPUTE_POOL", (target.pool,))
    if target.warehouse:
        yield _Wanted("warehouse", "error", "USAGE", "WAREHOUSE", (target.warehouse,))
    for number, name in enumerate(target.integrations):
        yield _Wanted(f"external_access_integrations[{number}]", "error", "USAGE", "INTEGRATION", (name,))
    if spec.kind == "endpoint":
        yield _Wanted("", "warning", "BIND SERVICE ENDPOINT", "ACCOUNT")
    for table in tables:
        yield _Wanted(f"tables[{table}]", "error", "SELECT", "TABLE", (table.database, table.schema, table.name))
    if not target.database or target.stage is None:
        return
    for variable, source in spec.secrets.items():
        secret = _secret(source, target)
        if secret is not None:
            full = (secret.database, secret.schema, secret.name)
            yield _Wanted(f"secrets[{variable}]", "error", "READ", "SECRET", full)
    home = (target.database, target.schema)
    yield _Wanted("database", "error", "USAGE", "DATABASE", (target.database,))
    yield _Wanted("schema", "error", "USAGE", "SCHEMA", home)
    yield _Wanted("schema", "error", "CREATE SERVICE", "SCHEMA", home)
    for privilege, level in _BY_KIND.get(spec.kind, ()):
        yield _Wanted("schema", level, privilege, "SCHEMA", home)
    stage = (target.stage.database, target.stage.schema, target.stage.name)
    if stage_there:
        yield _Wanted("stage", "error", "READ", "STAGE", stage)
        yield _Wanted("stage", "error", "WRITE", "STAGE", stage)
    else:
        yield _Wanted("stage", "error", "CREATE STAGE", "SCHEMA", stage[:2])


def _secret(source: str, target: Target) -> Name | None:
    try:
        return parse(source, database=target.database, schema=target.schema)
    except ConfigError:
        return None  # reported already, where the secret was looked for


def _lacking(target: Target, lacking: _Wanted, level: Literal["error", "warning"]) -> Violation:
    words, sql = lacking.kind.replace("_", " "), ".".join(quote(part) for part in lacking.name)
    what = f"{words.lower()} {'.'.join(lacking.name)}".strip()
    makes = f"there is no stage {target.stage}, and " if lacking.privilege == "CREATE STAGE" else ""
    own = lacking.path.startswith(("tables[", "secrets["))
    return Violation(
        path=lacking.path if own else f"backend.{lacking.path}".rstrip("."),
        code="missing-privilege",
        level=level,
        message=f"{makes}the role {target.role} has no {lacking.privilege} on the {what}",
        hint=grant(lacking.privilege, words, sql, target.role),
    )
