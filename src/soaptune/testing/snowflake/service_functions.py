"""Functions of services and models inside SQL: ``SERVICE!METHOD(a, b)`` and ``MODEL(m, v)!METHOD(a, b)``.

Fakesnow's grammar has no such calls. They are rewritten to calls of a function of DuckDB, which asks the container of
the service, row by row, just as the server asks it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake.names import NAME, PART, Name, unquoted
from soaptune.testing.snowflake.results import SqlError, missing
from soaptune.testing.snowflake.service_container import ContainerError

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.statements import Call

FUNCTION = "_EMULATED_CALL"

_TOKEN = re.compile(
    rf"""'(?:[^'\\]|\\.|'')*' | \$\$.*?\$\$ | --[^\n]* | /\*.*?\*/
      | (?:MODEL\s*\(\s*(?P<model>{NAME})(?:\s*,\s*(?P<version>{PART}))?\s*\)|(?P<service>{NAME}))
        \s*!\s*(?P<function>{PART})\s*\(
      | {NAME}""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_NESTING = re.compile(r"""'(?:[^'\\]|\\.|'')*'|\$\$.*?\$\$|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|[()\[\],]""", re.DOTALL)


def _arguments(sql: str, start: int) -> tuple[list[str], int]:
    """The arguments of a call whose parenthesis opens before `start`, and where it ends."""
    depth, begin, found = 0, start, list[str]()
    for token in _NESTING.finditer(sql, start):
        if token[0] in "([":
            depth += 1
        elif token[0] in ")]" and depth:
            depth -= 1
        elif token[0] == ")":
            last = sql[begin : token.start()].strip()
            return [*found, last] if last or found else [], token.end()
        elif token[0] == "," and not depth:
            found.append(sql[begin : token.start()].strip())
            begin = token.end()
    raise SqlError(1003, f"SQL compilation error:\nsyntax error: a parenthesis is not closed in: {sql}", "42000")


def rewrite(account: Account, call: Call) -> str:
    """A statement with its calls of services and models replaced.

    Raises:
        SqlError: If a service or a model that is called does not exist, or has no such function.
    """
    sql, made, position = call.sql, list[str](), 0
    while token := _TOKEN.search(sql, position):
        made.append(sql[position : token.start()])
        position = token.end()
        if token["function"] is None:
            made.append(token[0])
            continue
        arguments, position = _arguments(sql, token.end())
        kind = "model" if token["model"] else "service"
        name = call.resolve(token[kind])
        function = unquoted(token["function"])
        key = json.dumps([kind, *name, token["version"] or "DEFAULT", _target(account, kind, name, token, function)])
        values = "".join(f", TO_JSON({argument})" for argument in arguments)
        made.append(f"PARSE_JSON({FUNCTION}('{key.replace(chr(39), chr(39) * 2)}'{values}))")
    return "".join([*made, sql[position:]])


def _target(account: Account, kind: str, name: Name, token: re.Match[str], function: str) -> str:
    if kind == "model":
        return account.models[name].version(token["version"] or "DEFAULT").target(function)
    service = account.services[name]
    if service.version is None:
        raise missing("Service", name.dotted)
    return service.version.target(function)


def register(account: Account) -> None:
    """Makes the function known to the account's DuckDB."""

    def answer(key: str, *values: Any) -> str:
        kind, database, schema, name, version, method = json.loads(key)
        full = Name(database, schema, name)
        row = [None if value is None else json.loads(value) for value in values]
        try:
            if kind == "model":
                container = account.services.warehouse(account.models[full].version(version))
            else:
                container = account.services.container(account.services[full])
            return json.dumps(container.call(method, [row])[0])
        except (ContainerError, SqlError) as error:
            # Fakesnow loses what a function raises; whoever answers the client asks for it.
            account.services.failed(f"Request failed for service function {full.dotted}!{method}: {error}")
            raise

    account.fake.duck_conn.create_function(
        FUNCTION, answer, None, "VARCHAR", null_handling="special", side_effects=True
    )
