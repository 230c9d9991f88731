"""The preflight of a job on Snowflake: everything that stands in its way, at once, each with the SQL that mends it.

It reads and changes nothing. What the role may not see becomes a warning that says what was not checked.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence

from soaptune.errors import BackendError, ConfigError, SoaptuneError, Violation
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.names import Name, literal
from soaptune.snowflake.preflight import grants, network, objects, pool
from soaptune.snowflake.preflight.hosts import hosts
from soaptune.snowflake.preflight.reading import Reader, Target, Unreadable, finding, unchecked
from soaptune.snowflake.session import NOT_FOUND, Connection, error_number
from soaptune.snowflake.settings import SnowflakeSettings

__all__ = ["findings"]

_NO_CONNECTION = (BackendError, Unreadable)

_ABSENT = ("no-", "unchecked")
"""How the codes begin of findings about what nobody can have a privilege on, as far as is known."""


def findings(
    settings: SnowflakeSettings,
    connection: Connection,
    spec: JobSpec,
    *,
    tables: Sequence[tuple[Name, Sequence[str]]] = (),
) -> list[Violation]:
    """Looks at everything in the account that a job needs.

    Args:
        settings: How jobs run in the account.
        connection: The way to it.
        spec: The job.
        tables: Tables that it reads beside those of its inputs, each with the exact names of the columns that must be
            there.

    Returns:
        All findings; only one when there is no connection.
    """
    try:
        return _look(settings, Reader(connection.session()), spec, tables)
    except ConfigError as error:
        return [Violation(path="backend", code="bad-name", message=str(error))]
    except _NO_CONNECTION as error:
        if error_number(error) not in NOT_FOUND:
            return [_no_connection(error)]
        refused = error
    # The login went well, and the session could not take on its role or warehouse: another one tells which.
    try:
        with connection.bare() as session:
            found = _look(settings, Reader(session), spec, tables)
    except _NO_CONNECTION as error:
        return [_no_connection(error)]
    explained = any(v.level == "error" and v.path in ("backend.role", "backend.warehouse") for v in found)
    return found if explained else [_no_connection(refused), *found]


def _look(
    settings: SnowflakeSettings, reader: Reader, spec: JobSpec, tables: Sequence[tuple[Name, Sequence[str]]]
) -> list[Violation]:
    target = _target(settings, reader)
    found = [*objects.role(settings.role, target), *objects.warehouse(reader, target)]
    home = list(objects.home(reader, target))
    found += home
    stage_there = False
    read = {name: tuple(columns) for name, columns in [*objects.tables_of(spec), *tables]}
    if not any(violation.level == "error" for violation in home):
        stage_there, about_stage = objects.stage(reader, target)
        found += [*about_stage, *objects.secrets(reader, target, spec)]
    found += objects.tables(reader, read)
    found += objects.in_the_way(reader, spec)
    pool_there, about_pool = pool.check(reader, target, spec)
    found += about_pool
    if pool_there:
        found += _runtime(reader, target, settings.runtime_environment)
    found += network.check(reader, target, hosts(spec, requirements=settings.pip_requirements))
    if spec.needs is None:
        message = "the job does not state what it needs (JobSpec.needs): models, memory and most hosts were not checked"
        found.append(Violation(path="needs", code="unchecked", level="warning", message=message))
    missing = {v.path.removeprefix("backend.") for v in found if v.code.startswith(_ABSENT)}
    found += grants.check(reader, target, spec, stage_there=stage_there, missing=missing, tables=tuple(read))
    return found


def _no_connection(error: Exception) -> Violation:
    reason = str(error) if isinstance(error, SoaptuneError) else Unreadable(error).reason
    return Violation(
        path="backend",
        code="cannot-connect",
        message=f"there is no connection to Snowflake: {reason}",
        hint="Check account, user and authentication of the connection (connection_name= is a section of "
        'connections.toml); "snow connection test" tries it without soaptune.',
    )


def _target(settings: SnowflakeSettings, reader: Reader) -> Target:
    (now,) = reader.rows("SELECT CURRENT_ROLE() AS ROLE, CURRENT_WAREHOUSE() AS WAREHOUSE")
    return Target(
        role=str(now["role"] or ""),
        pool=settings.pool_name,
        database=settings.database_name,
        schema=settings.schema_name,
        stage=settings.stage_name,
        warehouse=settings.warehouse_name or str(now["warehouse"] or ""),
        integrations=settings.integration_names,
        nodes=settings.target_instances,
    )


def _runtime(reader: Reader, target: Target, wanted: str | None) -> Iterator[Violation]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    asked = {"pythonVersion": version} | ({} if wanted is None else {"runtimeEnvironment": wanted})
    # The SDK asks in these words, with both as literals: snowflake/ml/jobs/_utils/runtime_env_utils.py.
    try:
        rows = reader.rows(f"CALL SYSTEM$GET_ML_JOB_RUNTIME({literal(target.pool)}, {literal(json.dumps(asked))})")
    except Unreadable as error:
        yield unchecked("runtime_environment", f"the container image for Python {version}", error)
        return
    image = str(next(iter(rows[0].values())) or "") if rows else ""
    if not image:
        yield finding(
            "runtime_environment",
            "no-runtime",
            f"Snowflake has no container image for Python {version}" + (f" and {wanted!r}" if wanted else ""),
            "Submit from another Python version (3.10 to 3.12), or leave runtime_environment out.",
        )
        return
    tag = re.search(r"-py3(\d+)\b", image)
    if tag is not None and f"3.{tag[1]}" != version:
        yield finding(
            "runtime_environment",
            "other-python",
            f"the job would run on Python 3.{tag[1]}, this process on {version}",
            "Code that is sent as objects may not load there; files and data do.",
            level="warning",
        )
