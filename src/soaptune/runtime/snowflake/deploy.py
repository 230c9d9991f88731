"""The job that puts a model behind an inference service.

It runs in the account, where the weights lie: merges an adapter, logs the model to the registry, makes the service,
waits until it is up, and ends. ``../output/manifest.json`` says where the service is. A job that is tried again finds
what the one before it has made.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from soaptune.common.files import MANIFEST, write_json
from soaptune.deploy.payload import ServePayload
from soaptune.engines.spec import VLLM
from soaptune.errors import ConfigError, DataError
from soaptune.handles.folder_model import FolderModel, open_model
from soaptune.jobs.place import Place
from soaptune.prompting import control_tokens
from soaptune.runtime.engines.loading import load_tokenizer
from soaptune.runtime.inputs import MODEL
from soaptune.runtime.merge import merge
from soaptune.runtime.snowflake.registry import find_version, log_version, serve_version
from soaptune.snowflake.handles.service import ServiceManifest
from soaptune.snowflake.names import quote
from soaptune.snowflake.session import Connection

__all__ = ["deploy"]


def deploy(plan: ServePayload, place: Place, output: Path, *, connection: Connection | None = None) -> ServiceManifest:
    """Deploys as planned.

    Args:
        plan: What to serve, and how.
        place: Where the job runs.
        output: The folder that gets the manifest.
        connection: The way to the account; the job's own when None.

    Returns:
        The manifest, as it was written.

    Raises:
        BackendError: The model could not be logged, or its service did not come up.
        DataError: The model is not the one that the plan is for.
        EngineError: The model cannot be loaded or merged.
    """
    account = place.account
    if account is None:
        raise ConfigError("a service is made by a job that runs in an account")
    model = open_model(MODEL)
    if model.fingerprint != plan.model_fingerprint:
        raise DataError("the model is not the one that this deployment was planned for")
    model.verify()
    connection = connection or Connection()
    home = (account.database, account.db_schema)
    service = plan.service
    integrations = tuple(quote(name) for name in account.integrations)
    plan = plan.replace(
        service=service.replace(
            compute_pool=service.compute_pool or quote(account.compute_pool),
            build_integrations=integrations if service.build_integrations is None else service.build_integrations,
        )
    )
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
        plan_fingerprint=place.plan,
        service=(name.database, name.schema, name.name),
        registry_model=plan.model_name,
        registry_version=plan.version_name,
        engine=_kind(plan),
        max_new_tokens=plan.max_new_tokens,
        special_tokens=control_tokens(tokenizer),
        token=plan.service.token,
    )
    write_json(output / MANIFEST, manifest.model_dump(mode="json"))
    _say(f"the service {name} is up" + (f" at {manifest.url}" if address else ""))
    return manifest


def _kind(plan: ServePayload) -> Literal["transformers", "vllm"]:
    return "vllm" if isinstance(plan.service.engine, VLLM) else "transformers"


def _merged(model: FolderModel, plan: ServePayload, target: Path) -> FolderModel:
    if model.adapter is None:
        return model
    _say("merging the adapter into its base model")
    merge(model, target, base=plan.base)
    return open_model(target)


def _url(address: str) -> str:
    if not address or "://" in address:
        return address
    # Snowflake names the host alone. Only this machine's own is asked without TLS.
    host = address.partition("/")[0].rpartition(":")[0] or address
    return f"{'http' if host in ('127.0.0.1', 'localhost') else 'https'}://{address}"


def _say(text: str) -> None:
    print(text, flush=True)
