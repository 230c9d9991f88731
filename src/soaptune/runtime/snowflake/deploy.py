"""The job that puts a model behind an inference service (``python -m soaptune.runtime.snowflake.deploy step.json``).

It runs in the account, where the weights lie: merges an adapter, logs the model to the registry, makes the service,
waits until it is up, and ends. ``../output/manifest.json`` says where the service is. A job that is tried again finds
what the one before it has made.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from soaptune.common.files import MANIFEST, read_json, write_json
from soaptune.deploy.plan import MODEL_INPUT
from soaptune.deploy.service import ServicePlan
from soaptune.errors import ConfigError, DataError, SoaptuneError
from soaptune.handles.model import Model
from soaptune.runtime.engines.loading import load_tokenizer
from soaptune.runtime.merge import merge
from soaptune.runtime.snowflake.registry import find_version, log_version, serve_version
from soaptune.snowflake.handles.service import ServiceManifest
from soaptune.snowflake.session import Connection

__all__ = ["deploy", "main"]


def deploy(plan: ServicePlan, output: Path, *, connection: Connection | None = None) -> ServiceManifest:
    """Deploys as planned.

    Args:
        plan: What to serve, and how.
        output: The folder that gets the manifest.
        connection: The way to the account; the job's own when None.

    Returns:
        The manifest, as it was written.

    Raises:
        BackendError: The model could not be logged, or its service did not come up.
        DataError: The model is not the one that the plan is for.
        EngineError: The model cannot be loaded or merged.
    """
    model = Model.open(MODEL_INPUT)
    if model.fingerprint != plan.model_fingerprint:
        raise DataError("the model is not the one that this deployment was planned for")
    connection = connection or Connection()
    home = _home(connection, plan)
    tokenizer = load_tokenizer(model.weights)
    if connection.call("looking into the registry", lambda session: find_version(session, plan, home)) is None:
        with tempfile.TemporaryDirectory(prefix="soaptune-merged-") as folder:
            whole = _merged(model, plan, Path(folder) / "merged")
            _say(f"logging {plan.model_name}, version {plan.version_name}, to the registry")
            log_version(connection, plan, whole.weights, home)
    else:
        _say(f"{plan.model_name}, version {plan.version_name}, is in the registry already")
    _say(f"making the service {plan.object_name}; its image is built first, which takes a while")
    name, address = serve_version(connection, plan, home)
    manifest = ServiceManifest(
        url=_url(address),
        name=plan.name,
        task=plan.task,
        model_fingerprint=plan.model_fingerprint,
        report_fingerprint=plan.report_fingerprint,
        synthetic=plan.synthetic,
        service=(name.database, name.schema, name.name),
        registry_model=plan.model_name,
        registry_version=plan.version_name,
        engine=plan.service.engine,
        max_new_tokens=plan.max_new_tokens,
        special_tokens=tuple(tokenizer.all_special_tokens),
        token=plan.service.token,
    )
    write_json(output / MANIFEST, manifest.model_dump(mode="json"))
    _say(f"the service {name} is up" + (f" at {manifest.url}" if address else ""))
    return manifest


def _home(connection: Connection, plan: ServicePlan) -> tuple[str, str]:
    """Where the version and the service go; exact names."""
    if plan.database and plan.schema_name:
        return plan.database, plan.schema_name
    ((database, schema),) = connection.rows(
        "asking for the session's schema", "SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()"
    )
    database, schema = plan.database or database, plan.schema_name or schema
    if not (database and schema):
        raise ConfigError(
            "the job's session has no database and schema: name them, SnowflakeBackend(database=, schema=)"
        )
    return str(database), str(schema)


def _merged(model: Model, plan: ServicePlan, target: Path) -> Model:
    if model.adapter is None:
        return model
    _say("merging the adapter into its base model")
    merge(model, target, base=plan.base)
    return Model.open(target)


def _url(address: str) -> str:
    if not address or "://" in address:
        return address
    # Snowflake names the host alone. Only this machine's own is spoken to without TLS.
    host = address.partition("/")[0].rpartition(":")[0] or address
    return f"{'http' if host in ('127.0.0.1', 'localhost') else 'https'}://{address}"


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs the job; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m soaptune.runtime.snowflake.deploy step.json", file=sys.stderr)
        return 2
    try:
        try:
            plan = ServicePlan.model_validate(read_json(Path(given[0])))
        except ConfigError as error:
            raise ConfigError(f"{given[0]}: {error}") from error
        deploy(plan, Path("..") / "output")
    except SoaptuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
