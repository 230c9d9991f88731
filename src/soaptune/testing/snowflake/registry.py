"""The statements of the model registry: making, listing, changing and dropping models and their versions."""

from __future__ import annotations

import contextlib
import json
import re
from importlib import metadata
from typing import TYPE_CHECKING, Any

import yaml

from soaptune.testing.snowflake import lineage, literals
from soaptune.testing.snowflake.literals import TEXT
from soaptune.testing.snowflake.models import SYSTEM_ALIASES, Models
from soaptune.testing.snowflake.names import NAME, PART, Name, unquoted
from soaptune.testing.snowflake.results import Result, SqlError, exists, missing, rows, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.models import Model

__all__ = ["CAPABILITIES", "Models"]

CAPABILITIES: dict[str, Any] = {
    "ENABLE_INLINE_DEPLOYMENT_SPEC_FROM_CLIENT_VERSION": "1.8.0",
    "ENABLE_MODEL_METHOD_SIGNATURE_PARAMETERS": True,
    "SET_MODULE_FUNCTIONS_VOLATILITY_FROM_MANIFEST": True,
}
"""What the account says it can, in SDK's words (snowflake/ml/_internal/platform_capabilities.py:18); what is not named
is off, such as the adapters of a LoRA model and live versions."""

PYPI = Name("SNOWFLAKE", "SNOWPARK", "PYPI_SHARED_REPOSITORY")
_SQL = "snowflake/ml/model/_client/sql"
_MODEL_COLUMNS = (
    "created_on name model_type database_name schema_name comment owner default_version_name versions aliases"
).split()
_VERSION_COLUMNS = (
    "created_on name aliases comment database_name schema_name model_name is_default_version functions metadata "
    "user_data model_attributes size environment runnable_in inference_services model_spec"
).split()


@handles(
    r"^SELECT\s+SYSTEM\$ML_PLATFORM_CAPABILITIES\(\)", issued_by="snowflake/ml/_internal/platform_capabilities.py:155"
)
def capabilities(_: Account, __: Call) -> Result:
    """What the account can."""
    return rows(["FEATURES"], [[json.dumps(CAPABILITIES)]])


@handles(
    rf"^DESC(?:RIBE)?\s+ARTIFACT\s+REPOSITORY\s+({NAME})$",
    issued_by="snowflake/ml/registry/_manager/model_parameter_reconciler.py:208",
)
def describe_repository(_: Account, call: Call) -> Result:
    """The shared repository of Python packages is the only one."""
    name = call.name()
    if name != PYPI:
        raise missing("Artifact repository", name.dotted)
    return literals.listing(
        ["created_on", "name", "type"], [{"created_on": literals.now(), "name": name.name, "type": "PIP"}]
    )


@handles(
    r"^SELECT\s+PACKAGE_NAME,\s+VERSION\s+FROM\s+information_schema\.packages\s+WHERE\s+\((.*?)\)\s+AND",
    issued_by="snowflake/ml/_internal/env_utils.py:493",
)
def packages(_: Account, call: Call) -> Result:
    """Which packages a warehouse has: those that are installed here."""
    found: list[list[str]] = []
    for name in literals.texts(str(call[1])):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append([name, metadata.version(name)])
    return rows(["PACKAGE_NAME", "VERSION"], found)


@handles(
    rf"^SHOW\s+MODELS(?:\s+LIKE\s+({TEXT}))?(?:\s+IN\s+(SCHEMA|DATABASE|ACCOUNT)(?:\s+({NAME}))?)?$",
    issued_by=f"{_SQL}/model.py:41",
)
def show_models(account: Account, call: Call) -> Result:
    """The models of a schema."""
    pattern = literals.pattern(call[1])
    depth = {"ACCOUNT": 0, "DATABASE": 1}.get((call[2] or "SCHEMA").upper(), 2)
    here = call.resolve(f"{call[3]}.{'X' * (depth == 2) or 'X.X'}") if call[3] else call.resolve("X")
    found = [
        {
            "created_on": model.created,
            "name": model.name.name,
            "model_type": "USER_MODEL",
            "database_name": model.name.database,
            "schema_name": model.name.schema,
            "comment": model.comment,
            "owner": model.owner,
            "default_version_name": model.default,
            "versions": list(model.versions),
            "aliases": {alias: v.name for v in model.versions.values() for alias in model.aliases(v)},
        }
        for model in account.models
        if model.name[:depth] == here[:depth] and literals.like(pattern, model.name.name)
    ]
    return literals.listing(_MODEL_COLUMNS, found)


@handles(rf"^SHOW\s+VERSIONS(?:\s+LIKE\s+({TEXT}))?\s+IN\s+MODEL\s+({NAME})$", issued_by=f"{_SQL}/model.py:71")
def show_versions(account: Account, call: Call) -> Result:
    """The versions of a model."""
    pattern = literals.pattern(call[1])
    model = account.models[call.name(2)]
    found: list[dict[str, Any]] = []
    for version in model.versions.values():
        if not literals.like(pattern, version.name):
            continue
        spec = yaml.safe_load(version.spec)
        services = account.services.of(version)
        found.append(
            {
                "created_on": version.created,
                "name": version.name,
                "aliases": model.aliases(version),
                "comment": version.comment,
                "database_name": model.name.database,
                "schema_name": model.name.schema,
                "model_name": model.name.name,
                "is_default_version": version.name == model.default,
                "functions": [method["name"] for method in version.methods],
                "metadata": version.metadata,
                "user_data": version.manifest.get("user_data", {}),
                "model_attributes": {"framework": spec.get("model_type"), "task": spec.get("task", "UNKNOWN")},
                "size": sum(file.stat().st_size for file in version.folder.rglob("*") if file.is_file()),
                "environment": version.manifest.get("runtimes", {}),
                "runnable_in": version.platforms,
                "inference_services": [service.name.dotted for service in services],
                "model_spec": version.spec,
            }
        )
    return literals.listing(_VERSION_COLUMNS, found)


@handles(rf"^SHOW\s+FUNCTIONS\s+IN\s+MODEL\s+({NAME})\s+VERSION\s+({PART})$", issued_by=f"{_SQL}/model_version.py:368")
def show_functions(account: Account, call: Call) -> Result:
    """The methods of a version, as SQL functions."""
    version = account.models[call.name()].version(str(call[2]))
    found = [
        {
            "created_on": version.created,
            "name": method["name"],
            "arguments": method.get("inputs", []),
            "return_type": _return_type(method),
        }
        for method in version.methods
    ]
    return literals.listing(["created_on", "name", "arguments", "return_type"], found)


def _return_type(method: dict[str, Any]) -> str:
    outputs: list[dict[str, Any]] = method.get("outputs") or []
    if method.get("type") == "TABLE_FUNCTION":
        return f"TABLE ({', '.join(output['type'] for output in outputs)})"
    return str(outputs[0]["type"]) if len(outputs) == 1 else "OBJECT"


@handles(
    rf"^(?:CREATE\s+(?P<new>MODEL)\s+(?P<made>{NAME})\s+WITH\s+|ALTER\s+MODEL\s+(?P<name>{NAME})\s+ADD\s+)"
    rf"VERSION\s+(?P<version>{PART})\s+FROM\s+"
    rf"(?:MODEL\s+(?P<model>{NAME})(?:\s+VERSION\s+(?P<from>{PART}))?|(?P<stage>'?@\S+))$",
    issued_by=f"{_SQL}/model_version.py:87",
)
def add_version(account: Account, call: Call) -> Result:
    """Makes a version from a stage or from another version, in a new model or in one that exists."""
    new = call["new"] is not None
    name = call.name("made" if new else "name")
    if call["stage"]:
        source = account.stages.path(str(call["stage"]), call.session)
    else:
        other = account.models[call.name("model")]
        source = other.version(call["from"] or "DEFAULT").folder
    account.models.add(name, unquoted(str(call["version"])), source, owner=call.session.role, new=new)
    return status(f"Model {name.name} successfully {'created' if new else 'altered'}.")


@handles(r"^CREATE\s+(?:OR\s+REPLACE\s+)?MODEL\b", issued_by=f"{_SQL}/model_version.py:129")
def create_model(_: Account, call: Call) -> Result:
    """Any other CREATE MODEL is refused: live versions are behind a capability that this account does not have."""
    raise literals.unsupported("CREATE MODEL", call.sql)


@handles(rf"^COMMENT\s+ON\s+MODEL\s+({NAME})\s+IS\s+({TEXT})$", issued_by=f"{_SQL}/model.py:100")
def comment(account: Account, call: Call) -> Result:
    """Sets a model's comment."""
    account.models[call.name()].comment = literals.text(str(call[2]))
    return status()


@handles(rf"^DROP\s+MODEL\s+(IF\s+EXISTS\s+)?({NAME})$", issued_by=f"{_SQL}/model.py:116")
def drop_model(account: Account, call: Call) -> Result:
    """Removes a model."""
    name = call.name(2)
    if call[1] and all(model.name != name for model in account.models):
        return status(f"Drop statement executed successfully ({name.name} already dropped).")
    account.models.drop(name)
    return status(f"{name.name} successfully dropped.")


def _set_default(model: Model, match: re.Match[str]) -> None:
    model.default = model.version(match["value"].strip("'")).name


def _set_comment(model: Model, match: re.Match[str]) -> None:
    model.comment = literals.text(match["value"])


def _set_alias(model: Model, match: re.Match[str]) -> None:
    alias = unquoted(match["value"].strip("'"))
    if alias in SYSTEM_ALIASES or alias in model.versions:
        raise exists("Alias", alias)
    version = model.version(match["version"])
    for other in model.versions.values():
        if alias in other.aliases and other is not version:
            raise exists("Alias", alias)
    if alias not in version.aliases:
        version.aliases.append(alias)


def _unset_alias(model: Model, match: re.Match[str]) -> None:
    wanted = unquoted(match["version"])
    version = model.version(match["version"])
    version.aliases[:] = [alias for alias in version.aliases if wanted not in {alias, version.name}]


def _modify_version(model: Model, match: re.Match[str]) -> None:
    version = model.version(match["version"])
    value = literals.text(match["value"])
    if match["what"].upper() == "COMMENT":
        version.comment = value
        return
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise SqlError(100069, "Error parsing JSON: the metadata of a model version must be a JSON object.", "22P02")
    version.metadata = value


_CHANGES = {
    rf"SET\s+DEFAULT_VERSION\s*=\s*(?P<value>{PART}|'{PART}')": _set_default,
    rf"SET\s+COMMENT\s*=\s*(?P<value>{TEXT})": _set_comment,
    rf"VERSION\s+(?P<version>{PART})\s+SET\s+ALIAS\s*=\s*(?P<value>{PART}|'{PART}')": _set_alias,
    rf"VERSION\s+(?P<version>{PART})\s+UNSET\s+ALIAS": _unset_alias,
    rf"MODIFY\s+VERSION\s+(?P<version>{PART})\s+SET\s+(?P<what>COMMENT|METADATA)\s*=\s*(?P<value>{TEXT})": (
        _modify_version
    ),
}
"""The forms of ALTER MODEL that change a model in place: snowflake/ml/model/_client/sql/model_version.py:237 (default),
256 and 274 (alias), 390 (comment), 618 (metadata); the model's comment is set by users."""


@handles(rf"^ALTER\s+MODEL\s+(?:IF\s+EXISTS\s+)?({NAME})\s+(.+)$", issued_by=f"{_SQL}/model_version.py:237")
def alter_model(account: Account, call: Call) -> Result:
    """Changes a model or one of its versions; a form that is not known is refused."""
    models, change = account.models, str(call[2])
    with models.lock:
        model = models[call.name()]
        for pattern, function in _CHANGES.items():
            if match := re.fullmatch(pattern, change, re.IGNORECASE | re.DOTALL):
                function(model, match)
                return status()
        if match := re.fullmatch(rf"DROP\s+VERSION\s+({PART})", change, re.IGNORECASE):
            models.drop_version(model.name, model.version(match[1]))
        elif match := re.fullmatch(rf"RENAME\s+TO\s+({NAME})", change, re.IGNORECASE):
            models.rename(model.name, call.resolve(match[1]))
        elif match := re.fullmatch(rf"SET\s+TAG\s+({NAME})\s*=\s*({TEXT})", change, re.IGNORECASE | re.DOTALL):
            model.tags[call.resolve(match[1])] = literals.text(match[2])
        elif match := re.fullmatch(rf"UNSET\s+TAG\s+({NAME})", change, re.IGNORECASE):
            model.tags.pop(call.resolve(match[1]), None)
        else:
            raise literals.unsupported("ALTER MODEL", call.sql)
    return status()


@handles(
    rf"^SELECT\s+SYSTEM\$GET_TAG\(({TEXT}),\s*({TEXT}),\s*'MODULE'\)\s+AS\s+TAG_VALUE$", issued_by=f"{_SQL}/tag.py:82"
)
def get_tag(account: Account, call: Call) -> Result:
    """The value of a model's tag, NULL if it has none."""
    tag, name = (call.resolve(literals.text(str(call[group]))) for group in (1, 2))
    return rows(["TAG_VALUE"], [[account.models[name].tags.get(tag)]])


@handles(rf"\bTAG_REFERENCES\(({TEXT}),\s*'MODULE'\)\)$", issued_by=f"{_SQL}/tag.py:86")
def list_tags(account: Account, call: Call) -> Result:
    """All tags of a model."""
    tags = account.models[call.resolve(literals.text(str(call[1])))].tags
    return rows(["TAG_DATABASE", "TAG_SCHEMA", "TAG_NAME", "TAG_VALUE"], [[*tag, value] for tag, value in tags.items()])


@handles(rf"^SELECT\s+SYSTEM\$DGQL\(({TEXT})\)$", issued_by="snowflake/snowpark/lineage.py:239")
def trace(account: Account, call: Call) -> Result:
    """What came from what."""
    return rows(["SYSTEM$DGQL"], [[lineage.answer(account, literals.text(str(call[1])))]])
