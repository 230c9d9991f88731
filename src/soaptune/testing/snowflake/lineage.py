"""Lineage: from which runs and datasets a model's version came, asked for in Snowflake's graph language."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.names import Name, qualified, unquoted, written
from soaptune.testing.snowflake.results import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soaptune.testing.snowflake.account import Account

_DOMAINS = {"MODULE": "MODEL", "DATASET": "DATASET", "EXPERIMENT": "EXPERIMENT"}
_QUERY = re.compile(
    r"^\{V\(domain: (?P<domain>\w+), (?P<key>name|id):\"(?P<object>(?:[^\"\\]|\\.)*)\""
    r"(?:, parent(?:Name|Id):\"(?P<parent>(?:[^\"\\]|\\.)*)\")?\) \{(?P<edges>.*)\}\}$",
    re.DOTALL,
)


class Node(NamedTuple):
    """A version of something: a model's version, an experiment's run, a dataset's version."""

    domain: str
    name: Name
    version: str

    @property
    def id(self) -> str:
        """What stands for it in the next question."""
        return hashlib.sha1(json.dumps(self).encode(), usedforsecurity=False).hexdigest()


def edges(account: Account) -> Iterator[tuple[Node, Node]]:
    """What came from what: the sources that the SDK has written into the models' manifests (model_manifest.py:184)."""
    for model in account.models:
        for version in list(model.versions.values()):
            sources: list[dict[str, str]] = version.manifest.get("lineage_sources") or []
            for source in sources:
                if source["type"] in _DOMAINS and source.get("version"):
                    entity = qualified(source["entity"], model.name.database, model.name.schema)
                    # A dataset's version is written as it stands, a run as an identifier.
                    raw = source["version"]
                    name = raw if source["type"] == "DATASET" else unquoted(raw)
                    yield Node(source["type"], entity, name), Node("MODULE", model.name, version.name)


def _exists(account: Account, node: Node) -> bool:
    if node.domain == "MODULE":
        return True
    if node.domain == "DATASET":
        return node.name in account.datasets and node.version in account.datasets[node.name].versions
    return node.name in account.experiments and node.version in account.experiments[node.name].runs


def _entity(account: Account, node: Node) -> dict[str, Any]:
    return {
        "domain": node.domain,
        "refinedDomain": node.domain,
        "userDomain": _DOMAINS[node.domain],
        "name": written(node.version),
        "db": written(node.name.database),
        "schema": written(node.name.schema),
        "properties": {"parentName": written(node.name.name)},
        "status": "ACTIVE" if _exists(account, node) else "DELETED",
        "createdOn": str(int(literals.now()) * 1000),
        "id": node.id,
    }


def answer(account: Account, query: str) -> str:
    """The answer to a question in the graph language.

    Raises:
        SqlError: If it is not one of the questions that Snowpark asks (snowflake/snowpark/lineage.py:223).
    """
    found = _QUERY.match(query)
    if not found:
        raise SqlError(1003, f"SQL compilation error:\nthe emulator knows no such question: {query}", "42000")
    domain, wanted = found["domain"], re.sub(r"\\(.)", r"\1", found["object"])
    parent = re.sub(r"\\(.)", r"\1", found["parent"] or "")

    def asked(node: Node) -> bool:
        if found["key"] == "id":
            return node.id == wanted
        if not parent:
            return node.domain == domain and node.name == qualified(wanted, None, None)
        same = node.version in {wanted, unquoted(wanted)}
        return node.domain == domain and same and node.name == qualified(parent, None, None)

    made: dict[str, list[dict[str, Any]]] = {}
    for direction, side in (("upstream", 1), ("downstream", 0)):
        if f"{direction}: E(" in found["edges"]:
            made[direction] = [
                {"S": _entity(account, edge[0]), "T": _entity(account, edge[1]), "properties": {}}
                for edge in edges(account)
                if asked(edge[side])
            ]
    return json.dumps({"data": {"V": made}})
