"""The preflight's look at the way out: that the integrations are there, enabled, and let a job reach what it needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from soaptune.errors import Violation
from soaptune.snowflake.names import Name, literal, quote
from soaptune.snowflake.preflight.hosts import HUB_RULE, MANAGED_RULES, Host, covers
from soaptune.snowflake.preflight.reading import Reader, Target, Unreadable, finding, parts_of, truth, unchecked
from soaptune.snowflake.preflight.setup import DEFAULT_INTEGRATION, HUB_RULE_NAME, create_access, grant

__all__ = ["check", "listed"]

_ITEM = re.compile(r"""(?:"(?:[^"]|"")*"|[^,"])+""")
_RULE = "SOAPTUNE_EGRESS_RULE"


@dataclass
class _Way:
    """What the integrations let through."""

    values: list[str] = field(default_factory=list[str])
    rules: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])
    unread: list[str] = field(default_factory=list[str])


def check(reader: Reader, target: Target, wanted: Sequence[Host]) -> list[Violation]:
    """Looks at the external access integrations.

    Args:
        reader: Asks the account.
        target: The names to look for.
        wanted: The hosts that the job needs.
    """
    found: list[Violation] = []
    way = _Way()
    usable: list[str] = []
    for number, name in enumerate(target.integrations):
        about = _integration(reader, target, f"external_access_integrations[{number}]", name, way)
        found += about
        if not any(violation.level == "error" for violation in about):
            usable.append(name)
    closed = [host for host in wanted if not covers(way.values, host)]
    if not closed or len(usable) < len(target.integrations):
        return found  # an integration that is missing or off is a finding already, and may be what leads there
    hint = _remedy(target, usable, way, closed)
    if way.unread:
        message = f"whether jobs reach {_names(closed)} was not checked: {', '.join(way.unread)} cannot be read"
        return [*found, finding("external_access_integrations", "unchecked", message, hint, level="warning")]
    certain = [host for host in closed if host.certain]
    perhaps = [host for host in closed if not host.certain]
    through = f"what {' and '.join(usable)} allows" if usable else "no external access integration"
    if certain:
        message = f"jobs cannot reach {_names(certain)} with {through}; they are needed {_reasons(certain)}"
        found.append(finding("external_access_integrations", "egress-blocked", message, hint))
    if perhaps:
        message = f"jobs cannot reach {_names(perhaps)} with {through}; they may be needed {_reasons(perhaps)}"
        found.append(finding("external_access_integrations", "egress-blocked", message, hint, level="warning"))
    return found


def listed(text: str) -> list[str]:
    """The items of a list as SHOW and DESCRIBE write it: with commas, perhaps in brackets, perhaps each in quotes.

    Args:
        text: The cell.
    """
    inner = text.strip()
    if inner[:1] in "[(" and inner[-1:] in "])":
        inner = inner[1:-1]
    items = (item.strip() for item in _ITEM.findall(inner))
    return [item[1:-1] if len(item) > 1 and item[0] == item[-1] == "'" else item for item in items if item]


def _integration(reader: Reader, target: Target, path: str, name: str, way: _Way) -> list[Violation]:
    sql = quote(name)
    try:
        row = reader.named("SHOW EXTERNAL ACCESS INTEGRATIONS", name)
    except Unreadable as error:
        way.unread.append(name)
        return [unchecked(path, f"the external access integration {name}", error)]
    if row is None:
        return [
            finding(
                path,
                "no-such-integration",
                f"there is no external access integration {name}, or the role {target.role} may not see it",
                _make(target, name),
            )
        ]
    if not truth(row.get("enabled")):
        hint = f"ALTER EXTERNAL ACCESS INTEGRATION {sql} SET ENABLED = TRUE;"
        return [finding(path, "integration-disabled", f"the external access integration {name} is switched off", hint)]
    try:
        rules = _rules(reader, sql)
    except Unreadable as error:
        way.unread.append(name)
        return [unchecked(path, f"what the external access integration {name} allows", error)]
    for rule in rules:
        _read_rule(reader, rule, way)
    return []


def _rules(reader: Reader, integration: str) -> list[str]:
    for row in reader.rows(f"DESCRIBE EXTERNAL ACCESS INTEGRATION {integration}"):
        if str(row.get("property") or row.get("name")).upper() == "ALLOWED_NETWORK_RULES":
            return listed(str(row.get("property_value") or row.get("value") or ""))
    return []


def _read_rule(reader: Reader, rule: str, way: _Way) -> None:
    parts = parts_of(rule)
    managed = MANAGED_RULES.get(".".join(parts))
    if managed is not None:
        way.values += managed
        return
    try:
        rows = reader.rows(f"DESCRIBE NETWORK RULE {'.'.join(quote(part) for part in parts)}")
    except Unreadable:
        way.unread.append(f"the network rule {rule}")
        return
    for row in rows:
        values = listed(str(row.get("value_list") or ""))
        way.rules.setdefault(rule, []).extend(values)
        way.values += values


def _remedy(target: Target, usable: Sequence[str], way: _Way, closed: Sequence[Host]) -> str:
    needed = [f"{host.name}:{host.port}" for host in closed]
    if any(host.name.endswith((".hf.co", "huggingface.co")) for host in closed):
        needed = [value for value in needed if not covers(HUB_RULE, _host(value))] + list(HUB_RULE)
    if way.rules:
        # SET takes the place of the whole list, so that what is allowed already is repeated.
        rule, values = next(iter(way.rules.items()))
        name = ".".join(quote(part) for part in parts_of(rule))
        return f"ALTER NETWORK RULE {name} SET VALUE_LIST = ({_literals([*values, *needed])});"
    if not usable:
        named = f'SnowflakeBackend(external_access_integrations=["{DEFAULT_INTEGRATION}"])'
        return f"{_make(target, DEFAULT_INTEGRATION)} Then name it: {named}."
    rule = Name(target.database, target.schema, _RULE).sql
    return (
        f"CREATE NETWORK RULE IF NOT EXISTS {rule} MODE = EGRESS TYPE = HOST_PORT VALUE_LIST = ({_literals(needed)}); "
        f"and add it to the integration: ALTER EXTERNAL ACCESS INTEGRATION {quote(usable[0])} "
        f"SET ALLOWED_NETWORK_RULES = (<its rules>, {rule});"
    )


def _make(target: Target, integration: str) -> str:
    if not target.database:
        return "setup_sql(role=...) prints what makes it."
    made = create_access(integration, Name(target.database, target.schema, HUB_RULE_NAME))
    return f"{made} {grant('USAGE', 'INTEGRATION', quote(integration), target.role)}"


def _host(value: str) -> Host:
    name, _, port = value.partition(":")
    return Host(name=name, why="", port=int(port or 443))


def _literals(values: Sequence[str]) -> str:
    return ", ".join(literal(value) for value in dict.fromkeys(values))


def _names(hosts: Sequence[Host]) -> str:
    return ", ".join(host.name for host in hosts)


def _reasons(hosts: Sequence[Host]) -> str:
    return " and ".join(dict.fromkeys(host.why for host in hosts))
