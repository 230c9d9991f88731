"""The statements of inference services: making, listing, describing, waking and dropping them, and calling them in SQL.

`inference.Services` holds them; ML Jobs are services too on the server, but another module's: a handler here leaves a
name that it does not know to the next.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

import yaml

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.inference import Service, Services
from soaptune.testing.snowflake.literals import TEXT
from soaptune.testing.snowflake.names import NAME, PART, unquoted
from soaptune.testing.snowflake.results import Result, SqlError, rows, status
from soaptune.testing.snowflake.service_container import ContainerError
from soaptune.testing.snowflake.service_functions import rewrite
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.models import Version

__all__ = ["Services"]

ENGINES = ("vllm",)
_SQL = "snowflake/ml/model/_client/sql/service.py"
_KNOWN = {
    "": {"models", "image_build", "service", "model_loggings"},
    "service": {
        "name",
        "compute_pool",
        "ingress_enabled",
        "min_instances",
        "max_instances",
        "cpu",
        "memory",
        "gpu",
        "num_workers",
        "max_batch_rows",
        "autocapture",
        "inference_engine_spec",
    },
    "image_build": {"compute_pool", "image_repo", "force_rebuild", "external_access_integrations"},
}
"""The specification as model/_client/service/model_deployment_spec_schema.py has it, but for what is refused here: the
import of a model from the hub, adapters and the retrieval of features."""


def _refused(message: str) -> SqlError:
    return SqlError(395018, f"Invalid model deployment specification: {message}", "42601")


def _part(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise _refused(f"'{where or 'the specification'}' must be a mapping.")
    found = cast("dict[str, Any]", content)
    if unknown := set(found) - _KNOWN[where]:
        raise _refused(f"the emulator knows no {sorted(unknown)} in '{where or 'the specification'}'.")
    return found


def _check(account: Account, spec: dict[str, Any], version: Version) -> None:
    """Refuses what cannot run, as early as a server would."""
    low, high = int(spec.get("min_instances", 0)), int(spec.get("max_instances", 1))
    if not 0 <= low <= high or high < 1:
        raise _refused(f"min_instances {low} and max_instances {high} exclude each other.")
    if "SNOWPARK_CONTAINER_SERVICES" not in version.platforms:
        raise _refused(f"version {version.name} may run only in {', '.join(version.platforms)}.")
    pool = account.pools.admit(unquoted(str(spec.get("compute_pool", ""))), max(1, low))
    gpus = str(spec.get("gpu") or "0")
    if not gpus.isdecimal():
        raise _refused(f"gpu '{gpus}' is not a whole number.")
    if int(gpus) > pool.gpus:
        raise _refused(f"{gpus} GPUs were asked for; a node of {pool.name} ({pool.instance_family}) has {pool.gpus}.")
    engine: dict[str, Any] = spec.get("inference_engine_spec") or {}
    if engine:
        name = engine.get("inference_engine_name")
        args: list[Any] = engine.get("inference_engine_args") or []
        if name not in ENGINES:
            raise _refused(f"the inference engine '{name}' is none of {', '.join(ENGINES)}.")
        if int(gpus) < 1:
            # Only behind a parameter of its session does a server fill this in; a client must not rely on it.
            raise _refused(f"the inference engine '{name}' needs a GPU: set gpu_requests.")
        if wrong := [argument for argument in args if not str(argument).startswith("--")]:
            raise _refused(f"arguments of the inference engine that do not begin with '--': {wrong}.")


def _specification(account: Account, call: Call) -> dict[str, Any]:
    literal = str(call[1])
    text = literals.text(literal)
    if text.startswith("@"):
        text = account.stages.path(text, call.session).read_text("utf-8")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _refused(f"it is not YAML: {error}") from error
    return _part(found, "")


@handles(rf"^CALL\s+SYSTEM\$DEPLOY_MODEL\(\s*({TEXT})\s*\)$", issued_by=f"{_SQL}:165")
def deploy(account: Account, call: Call) -> Result:
    """Makes a service for a model's version: builds its image, starts its container and waits until it answers."""
    content = _specification(account, call)
    spec = _part(content.get("service"), "service")
    models: list[dict[str, Any]] = content.get("models") or []
    if len(models) != 1:
        raise _refused(f"{len(models)} models; the emulator serves one.")
    model = account.models[call.resolve(str(models[0]["name"]))]
    version = model.version(str(models[0]["version"]))
    if content.get("model_loggings"):
        raise _refused("the emulator does not import models from the hub; log the model first.")
    name = call.resolve(str(spec.get("name")))
    services = account.services
    made = Service(name, "model-inference", spec, call.session.role, model.name, version, services.log_file())
    _check(account, spec, version)
    services.add(made)
    try:
        if content.get("image_build") is not None:
            services.build(made, _part(content["image_build"], "image_build"), call.query_id)
        services.wait_for_nodes(made)
        services.start(made)
    except ContainerError as error:
        services.fail(made, error)
        raise SqlError(395020, f"Model deployment to service {name.dotted} failed: {error}", "42601") from error
    message = f"Model deployed successfully to service {name.dotted}."
    return Result(columns=["SYSTEM$DEPLOY_MODEL"], rows=[[message]])


def _known(account: Account, call: Call, group: int = 1) -> Service | None:
    return account.services.get(call.name(group))


_SHOWN = (
    "name status database_name schema_name owner compute_pool dns_name current_instances target_instances "
    "min_instances max_instances auto_resume created_on comment spec message"
).split()


def _row(service: Service) -> dict[str, Any]:
    spec = {
        "spec": {
            "containers": [{"name": service.kind, "env": _environment(service)}],
            "volumes": [],
        }
    }
    return {
        "name": service.name.name,
        "status": service.status,
        "database_name": service.name.database,
        "schema_name": service.name.schema,
        "owner": service.owner,
        "compute_pool": unquoted(str(service.spec.get("compute_pool", ""))),
        "dns_name": "127.0.0.1",
        "current_instances": service.instances,
        "target_instances": max(1, service.min_instances),
        "min_instances": service.min_instances,
        "max_instances": service.max_instances,
        "auto_resume": True,
        "created_on": service.created,
        "comment": service.comment,
        "spec": yaml.safe_dump(spec),
        "message": service.message,
    }


def _environment(service: Service) -> dict[str, str]:
    found = {"SPCS_MODEL_INFERENCE_SERVER__AUTOCAPTURE_ENABLED": str(bool(service.spec.get("autocapture"))).lower()}
    if service.engine:
        found["SPCS_MODEL_INFERENCE_ENGINE"] = service.engine
        found["SPCS_MODEL_INFERENCE_ENGINE_ARGS"] = json.dumps(service.engine_args)
    return found


@handles(
    rf"^SHOW\s+SERVICES(?:\s+LIKE\s+({TEXT}))?(?:\s+IN\s+(SCHEMA|DATABASE|ACCOUNT|COMPUTE\s+POOL)(?:\s+({NAME}))?)?"
    rf"(?:\s+STARTS\s+WITH\s+({TEXT}))?$",
    issued_by=f"{_SQL}:411",
)
def show_services(account: Account, call: Call) -> Result:
    """The inference services of a place."""
    pattern = literals.pattern(call[1])
    start = literals.text(call[4] or "''")
    place = " ".join(str(call[2] or "SCHEMA").upper().split())
    found: list[dict[str, Any]] = []
    for service in account.services.all():
        row = _row(service)
        if place == "COMPUTE POOL":
            here = row["compute_pool"] == unquoted(str(call[3]))
        else:
            depth = {"ACCOUNT": 0, "DATABASE": 1}.get(place, 2)
            filled = f"{call[3]}{'.X' * (3 - depth)}" if call[3] else "X"
            here = service.name[:depth] == call.resolve(filled)[:depth]
        if here and literals.like(pattern, service.name.name) and service.name.name.startswith(start):
            found.append(row)
    return literals.listing(_SHOWN[:-2], found)


@handles(rf"^DESC(?:RIBE)?\s+SERVICE\s+({NAME})$", issued_by=f"{_SQL}:428")
def describe_service(account: Account, call: Call) -> Result | None:
    """One inference service."""
    service = _known(account, call)
    return None if service is None else literals.listing(_SHOWN, [_row(service)])


@handles(rf"^SHOW\s+SERVICE\s+CONTAINERS\s+IN\s+SERVICE\s+({NAME})$", issued_by=f"{_SQL}:358")
def show_containers(account: Account, call: Call) -> Result | None:
    """The containers of an inference service, one for each instance."""
    service = _known(account, call)
    if service is None:
        return None
    columns = (
        "database_name schema_name service_name service_status instance_id instance_status container_name status "
        "message restart_count"
    ).split()
    state = _container_state(service)
    made = [
        [*service.name, service.status, number, state, service.kind, state, service.message, service.restarts]
        for number in range(max(1, service.instances))
    ]
    return rows(columns, made, {"instance_id": "fixed", "restart_count": "fixed"})


@handles(rf"^SHOW\s+ENDPOINTS\s+IN\s+SERVICE\s+({NAME})$", issued_by=f"{_SQL}:491")
def show_endpoints(account: Account, call: Call) -> Result | None:
    """The endpoint of an inference service: its port inside, and its address outside if it has an ingress."""
    service = _known(account, call)
    if service is None:
        return None
    columns = ["name", "port", "port_range", "protocol", "is_public", "ingress_url", "privatelink_ingress_url"]
    port = service.container.port if service.container else 0
    outside = service.ingress.address if service.ingress else None
    public = bool(service.spec.get("ingress_enabled"))
    if public and outside is None:
        outside = "Endpoints provisioning in progress..."
    found = [["inference", port, None, "HTTP", public, outside, None]] if service.kind == "model-inference" else []
    return rows(columns, found, {"port": "fixed"})


@handles(rf"^(?:CALL|SELECT)\s+SYSTEM\$GET_SERVICE_LOGS\(\s*({TEXT}|\?)", issued_by=f"{_SQL}:336")
def service_logs(account: Account, call: Call) -> Result | None:
    """The log of an inference service or of a build."""
    name = str(call.binds[0]) if call[1] == "?" else literals.text(str(call[1]))
    service = account.services.get(call.resolve(name))
    if service is None:
        return None
    log = service.log.read_text("utf-8", "replace") if service.log.is_file() else ""
    return rows(["SYSTEM$GET_SERVICE_LOGS"], [[log]])


@handles(rf"^(?:SELECT|CALL)\s+SYSTEM\$GET_SERVICE_STATUS\(\s*({TEXT}|\?)\s*(?:,[^)]*)?\)", issued_by="users")
def service_status(account: Account, call: Call) -> Result | None:
    """The containers of an inference service as JSON."""
    name = str(call.binds[0]) if call[1] == "?" else literals.text(str(call[1]))
    service = account.services.get(call.resolve(name))
    if service is None:
        return None
    state = _container_state(service)
    found = [
        {
            "status": state,
            "message": service.message,
            "containerName": service.kind,
            "instanceId": str(number),
            "serviceName": service.name.name,
            "restartCount": service.restarts,
        }
        for number in range(max(1, service.instances))
    ]
    return rows(["SYSTEM$GET_SERVICE_STATUS"], [[json.dumps(found)]])


def _container_state(service: Service) -> str:
    return {"RUNNING": "READY", "DONE": "TERMINATED"}.get(service.status, service.status)


@handles(rf"^ALTER\s+SERVICE\s+(?:IF\s+EXISTS\s+)?({NAME})\s+(.+)$", issued_by="users")
def alter_service(account: Account, call: Call) -> Result | None:
    """Suspends or wakes an inference service, or sets how many instances it has; anything else is refused."""
    service = _known(account, call)
    if service is None:
        return None
    change = " ".join(str(call[2]).upper().split())
    if change == "SUSPEND":
        account.services.suspend(service)
    elif change == "RESUME":
        try:
            account.services.container(service)
        except ContainerError as error:
            raise SqlError(395020, f"Service {service.name.dotted} cannot be resumed: {error}", "42601") from error
    elif re.fullmatch(r"SET( (MIN|MAX)_INSTANCES ?= ?\d+)+", change):
        changed = {key.lower(): int(value) for key, value in re.findall(r"(\w+_INSTANCES) ?= ?(\d+)", change)}
        spec = {**service.spec, **changed}
        assert service.version is not None
        _check(account, spec, service.version)
        service.spec = spec
    else:
        raise literals.unsupported("ALTER SERVICE", call.sql)
    return status()


@handles(rf"^DROP\s+SERVICE\s+(?:IF\s+EXISTS\s+)?({NAME})(?:\s+FORCE)?$", issued_by=f"{_SQL}:475")
def drop_service(account: Account, call: Call) -> Result | None:
    """Removes an inference service; its process has ended when this answers."""
    service = _known(account, call)
    if service is None:
        return None
    account.services.drop(service)
    return status(f"{service.name.name} successfully dropped.")


@handles(rf"^(?!\s*CALL\b).*!\s*{PART}\s*\(", issued_by=f"{_SQL}:288, model/_client/sql/model_version.py:452")
def call_functions(account: Account, call: Call) -> None:
    """Calls of a service's or a model's functions become calls of a function that fakesnow knows."""
    call.sql = rewrite(account, call)
