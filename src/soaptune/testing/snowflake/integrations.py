"""What lets a job out and what it may know: network rules, external access integrations, secrets."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soaptune.testing.snowflake.inline import moment
from soaptune.testing.snowflake.literals import TEXT, like, text, texts
from soaptune.testing.snowflake.names import NAME, PART, Name, parts, qualified, unquoted, written
from soaptune.testing.snowflake.results import Result, SqlError, exists, missing, records, rows, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account


@dataclass
class NetworkRule:
    """Hosts that may be reached, as ``host`` or ``host:port``."""

    hosts: list[str]
    mode: str = "EGRESS"
    kind: str = "HOST_PORT"


@dataclass
class Integration:
    """An external access integration: the network rules it allows, and whether it is on."""

    rules: list[str]
    enabled: bool = True
    comment: str = ""
    created_on: float = field(default_factory=time.time)


_MANAGED = ("SNOWFLAKE", "EXTERNAL_ACCESS")
_MANAGED_RULES = {
    "PYPI_RULE": ("pypi.org", "pypi.python.org", "pythonhosted.org", "files.pythonhosted.org"),
}
"""The rules that are in every account; only the platform may look into them."""


class Integrations:
    """The network rules, external access integrations and secrets of an account.

    The emulator does not filter by host: a job with any integration has the network of this machine, a job without one
    has none. What the rules say is there for those who ask, such as a check before a job is sent.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.rules = {Name(*_MANAGED, name): NetworkRule(list(hosts)) for name, hosts in _MANAGED_RULES.items()}
        self.integrations: dict[str, Integration] = {}
        self.secrets: dict[Name, str] = {}
        self.lock = threading.Lock()

    def check(self, wanted: list[str]) -> None:
        """Whether a job may name these integrations.

        Raises:
            SqlError: If one does not exist or is off.
        """
        for name in map(unquoted, wanted):
            found = self.integrations.get(name)
            if found is None:
                raise missing("Integration", written(name))
            if not found.enabled:
                raise SqlError(395018, f"External access integration {written(name)} is disabled.")


_REPLACE = r"^CREATE\s+(?P<replace>OR\s+REPLACE\s+)?"
_KEEP = r"(?P<kept>IF\s+NOT\s+EXISTS\s+)?"
_LIKE = rf"(?:\s+LIKE\s+(?P<like>\?|{TEXT}))?"


def _pattern(call: Call) -> str | None:
    pattern = call["like"]
    return call.binds[0] if pattern == "?" else pattern and text(pattern)


def _option(name: str, text: str) -> str:
    found = re.search(rf"\b{name}\s*=\s*(\((?:[^()']|{TEXT})*\)|{TEXT}|\w+)", text, re.IGNORECASE)
    return found[1] if found else ""


@handles(rf"{_REPLACE}NETWORK\s+RULE\s+{_KEEP}(?P<name>{NAME})(?P<rest>.*)", issued_by="users")
def create_rule(account: Account, call: Call) -> Result:
    """A network rule."""
    name, rest, state = call.name("name"), call["rest"] or "", account.integrations
    with state.lock:
        if name in state.rules and not call["replace"]:
            if call["kept"]:
                return status(f"{written(name.name)} already exists, statement succeeded.")
            raise exists("Network rule", name.dotted)
        hosts = texts(_option("VALUE_LIST", rest))
        state.rules[name] = NetworkRule(
            hosts, _option("MODE", rest).upper() or "INGRESS", _option("TYPE", rest).upper()
        )
    return status(f"Network rule {written(name.name)} successfully created.")


@handles(rf"{_REPLACE}EXTERNAL\s+ACCESS\s+INTEGRATION\s+{_KEEP}(?P<name>{PART})(?P<rest>.*)", issued_by="users")
def create_integration(account: Account, call: Call) -> Result:
    """An external access integration; its network rules must exist."""
    name, rest, state = unquoted(call["name"] or ""), call["rest"] or "", account.integrations
    rules = [call.resolve(text) for text in re.findall(NAME, _option("ALLOWED_NETWORK_RULES", rest))]
    with state.lock:
        if name in state.integrations and not call["replace"]:
            if call["kept"]:
                return status(f"{written(name)} already exists, statement succeeded.")
            raise exists("Integration", written(name))
        for rule in rules:
            if rule not in state.rules:
                raise missing("Network rule", rule.dotted)
        comment = _option("COMMENT", rest)
        enabled = _option("ENABLED", rest).upper() != "FALSE"
        state.integrations[name] = Integration([rule.dotted for rule in rules], enabled, comment and text(comment))
    account.grants.own(call.session.role, "INTEGRATION", (name,))
    return status(f"Integration {written(name)} successfully created.")


@handles(rf"{_REPLACE}SECRET\s+{_KEEP}(?P<name>{NAME})(?P<rest>.*)", issued_by="users")
def create_secret(account: Account, call: Call) -> Result:
    """A secret of the kind GENERIC_STRING, which a job gets as an environment variable through its specification."""
    name, state = call.name("name"), account.integrations
    with state.lock:
        if name in state.secrets and not call["replace"]:
            if call["kept"]:
                return status(f"{written(name.name)} already exists, statement succeeded.")
            raise exists("Secret", name.dotted)
        value = _option("SECRET_STRING", call["rest"] or "")
        state.secrets[name] = call.binds[0] if not value else text(value)
    account.grants.own(call.session.role, "SECRET", tuple(name))
    return status(f"Secret {written(name.name)} successfully created.")


@handles(rf"^SHOW\s+SECRETS{_LIKE}(?:\s+IN\s+SCHEMA\s+(?P<within>{NAME}))?", issued_by="users")
def show_secrets(account: Account, call: Call) -> Result:
    """The secrets of a schema, without what they say."""
    pattern, within = _pattern(call), call["within"]
    place = parts(within) if within else (call.session.database, call.session.schema)
    found = [
        [name.name, name.database, name.schema, account.grants.owner("SECRET", tuple(name)), "GENERIC_STRING"]
        for name in account.integrations.secrets
        if name[:2] == place and (pattern is None or like(pattern, name.name))
    ]
    return rows(["name", "database_name", "schema_name", "owner", "secret_type"], found)


@handles(rf"^SHOW\s+NETWORK\s+RULES{_LIKE}", issued_by="users")
def show_rules(account: Account, call: Call) -> Result:
    """The network rules."""
    columns = ["name", "database_name", "schema_name", "owner", "type", "mode", "entries_in_valuelist"]
    pattern = _pattern(call)
    found = [
        [name.name, name.database, name.schema, account.role, rule.kind, rule.mode, len(rule.hosts)]
        for name, rule in account.integrations.rules.items()
        if pattern is None or like(pattern, name.name)
    ]
    return rows(columns, found)


@handles(rf"^DESC(?:RIBE)?\s+NETWORK\s+RULE\s+(?P<name>{NAME})", issued_by="users")
def describe_rule(account: Account, call: Call) -> Result:
    """One network rule, with its hosts."""
    name = call.name("name")
    rule = account.integrations.rules.get(name)
    if rule is None or name[:2] == _MANAGED:
        raise missing("Network rule", name.dotted)
    columns = ["name", "database_name", "schema_name", "type", "mode", "value_list"]
    return rows(columns, [[name.name, name.database, name.schema, rule.kind, rule.mode, ",".join(rule.hosts)]])


@handles(rf"^SHOW\s+(?:EXTERNAL\s+ACCESS\s+)?INTEGRATIONS{_LIKE}", issued_by="users")
def show_integrations(account: Account, call: Call) -> Result:
    """The external access integrations."""
    pattern = _pattern(call)
    made = [
        {
            "name": name,
            "type": "EXTERNAL_ACCESS",
            "category": "EXTERNAL_ACCESS",
            "enabled": found.enabled,
            "comment": found.comment or None,
            "created_on": moment(found.created_on),
        }
        for name, found in sorted(account.integrations.integrations.items())
        if pattern is None or like(pattern, name)
    ]
    return records(["name", "type", "category", "enabled", "comment", "created_on"], made)


@handles(rf"^DESC(?:RIBE)?\s+(?:EXTERNAL\s+ACCESS\s+)?INTEGRATION\s+(?P<name>{PART})", issued_by="users")
def describe_integration(account: Account, call: Call) -> Result:
    """One external access integration, a row for each property."""
    name = unquoted(call["name"] or "")
    found = account.integrations.integrations.get(name)
    if found is None:
        raise missing("Integration", written(name))
    rules = "[" + ", ".join(found.rules) + "]"
    properties = [
        ["ENABLED", "Boolean", "true" if found.enabled else "false", "false"],
        ["ALLOWED_NETWORK_RULES", "List", rules, "[]"],
        ["COMMENT", "String", found.comment, ""],
    ]
    return rows(["property", "property_type", "property_value", "property_default"], properties)


@handles(
    rf"^DROP\s+(?P<kind>NETWORK\s+RULE|(?:EXTERNAL\s+ACCESS\s+)?INTEGRATION|SECRET)\s+(?P<kept>IF\s+EXISTS\s+)?(?P<name>{NAME})",
    issued_by="users",
)
def drop(account: Account, call: Call) -> Result:
    """Drops one of the three."""
    kind, state = " ".join((call["kind"] or "").upper().split()), account.integrations
    with state.lock:
        if kind.endswith("INTEGRATION"):
            label, text = "Integration", written(unquoted(call["name"] or ""))
            gone = state.integrations.pop(unquoted(call["name"] or ""), None) is not None
        else:
            name = call.name("name")
            label, text = kind.capitalize(), name.dotted
            held = state.rules if kind == "NETWORK RULE" else state.secrets
            gone = held.pop(name, None) is not None
    if not gone and not call["kept"]:
        raise missing(label, text)
    return status(f"{text} successfully dropped.")


def secret(account: Account, text: str, database: str, schema: str) -> str:
    """What a secret says, for a job that names it in its specification.

    Raises:
        SqlError: If there is no such secret.
    """
    name = qualified(text, database, schema)
    with account.integrations.lock:
        if name not in account.integrations.secrets:
            raise missing("Secret", name.dotted)
        return account.integrations.secrets[name]
