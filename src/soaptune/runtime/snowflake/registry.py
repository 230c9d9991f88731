"""The Model Registry and its services, as the deploying job uses them: what is there already is not made again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soaptune
from soaptune.common.files import write_json
from soaptune.common.versions import installed_versions
from soaptune.deploy.payload import ServePayload
from soaptune.engines.spec import VLLM, WITHOUT_CODE
from soaptune.errors import BackendError
from soaptune.snowflake.names import Name, fold, parse, quote
from soaptune.snowflake.session import NOT_FOUND, Connection, error_number

__all__ = ["CUDA", "chat_signature", "find_version", "log_version", "serve_version"]

CUDA = "12.4"
"""The CUDA release of a version that is to run on GPUs; without one the registry lets it run on CPUs only."""

_PACKED = ("torch", "transformers", "tokenizers", "safetensors", "llguidance", "pydantic", "typing_extensions")
_PACKED_TOO = ("PyYAML", "jsonschema", "rich", "filelock", "numpy")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_GONE = {"FAILED", "INTERNAL_ERROR", "DELETING", "DELETED", "DONE"}


def chat_signature(*, temperature: float, max_completion_tokens: int) -> Any:
    """The signature of OpenAI's chat API with its parameters, and defaults that suit a task.

    Args:
        temperature: The default one.
        max_completion_tokens: Likewise.
    """
    from snowflake.ml.model import model_signature, openai_signatures  # pyright: ignore[reportMissingTypeStubs]

    (given,) = openai_signatures.OPENAI_CHAT_WITH_PARAMS_SIGNATURE_WITH_CONTENT_FORMAT_STRING.values()
    defaults: dict[str, Any] = {"temperature": temperature, "max_completion_tokens": max_completion_tokens}
    params: list[Any] = []
    for param in given.params:
        known: Any = param
        if param.name in defaults:
            known = model_signature.ParamSpec(
                name=param.name, dtype=known.dtype, default_value=defaults[param.name], shape=known.shape
            )
        params.append(known)
    return model_signature.ModelSignature(inputs=given.inputs, outputs=given.outputs, params=params)


def find_version(session: Any, plan: ServePayload, home: tuple[str, str]) -> Any:
    """The plan's version in the registry; None when it is not there.

    Args:
        session: A Snowpark session.
        plan: What is deployed.
        home: Exact names of database and schema.
    """
    registry = _registry(session, home)
    try:
        model = registry.get_model(quote(fold(plan.model_name)))
    except ValueError:  # the registry's word for a model that is not there
        return None
    names: Sequence[Any] = model.show_versions()["name"].tolist()
    return model.version(plan.version_name) if plan.version_name in names else None


def log_version(connection: Connection, plan: ServePayload, weights: Path, home: tuple[str, str]) -> None:
    """Puts a merged model into the registry, unless it is there.

    Args:
        connection: The way to the account.
        plan: What is deployed.
        weights: The folder of the merged model.
        home: Exact names of database and schema.

    Raises:
        BackendError: It could not be logged.
        ConfigError: vLLM would render other prompts than training.
        EngineError: The model cannot answer.
    """
    with tempfile.TemporaryDirectory(prefix="soaptune-version-") as folder:
        packed = (
            _for_vllm(plan, weights) if isinstance(plan.service.engine, VLLM) else _for_us(plan, weights, Path(folder))
        )

        def log(session: Any) -> None:
            # Asked each time: an answer that was lost on the way may have been a success.
            if find_version(session, plan, home) is None:
                _registry(session, home).log_model(**packed)

        connection.call(f"logging the model {plan.model_name}", log)


def _common(plan: ServePayload) -> dict[str, Any]:
    return {
        "model_name": quote(fold(plan.model_name)),
        "version_name": plan.version_name,
        # The SDK writes it between two pairs of dollar signs.
        "comment": plan.comment.replace("$", "﹩"),
        "metrics": {**plan.metrics, "synthetic": plan.synthetic},
        "target_platforms": ["SNOWPARK_CONTAINER_SERVICES"],
    }


def _for_us(plan: ServePayload, weights: Path, folder: Path) -> dict[str, Any]:
    from snowflake.ml.model import custom_model  # pyright: ignore[reportMissingTypeStubs]

    from soaptune.runtime.snowflake.model import ServedModel

    payload = folder / "plan.json"
    write_json(
        payload,
        {"name": plan.name, "max_new_tokens": plan.max_new_tokens, "task": plan.task.model_dump(mode="json")},
    )
    versions = installed_versions(*_PACKED, *_PACKED_TOO)
    return {
        **_common(plan),
        # Making it loads it: what cannot answer is not logged.
        "model": ServedModel(custom_model.ModelContext(model=str(weights), plan=str(payload))),
        "signatures": {"__call__": chat_signature(temperature=0.0, max_completion_tokens=plan.max_new_tokens)},
        "code_paths": [_own_code(folder)],
        # "+cpu" and the like name a build of this machine, which no index has.
        "pip_requirements": [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()],
        "options": {"cuda_version": CUDA} if plan.service.gpus else {},
    }


def _own_code(folder: Path) -> str:
    """A copy of this package without the embedded model and the emulator."""
    import shutil

    source = Path(soaptune.__file__).parent
    target = folder / "soaptune"
    big = {source / "tiny" / "model", source / "testing"}

    def ignore(place: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "__pycache__" or Path(place) / name in big}

    shutil.copytree(source, target, ignore=ignore)
    return str(target)


def _for_vllm(plan: ServePayload, weights: Path) -> dict[str, Any]:
    from soaptune.runtime.engines.chat_template import serving_template
    from soaptune.runtime.engines.pretrained import text_pipeline

    pipeline = text_pipeline(str(weights))
    pipeline.tokenizer.chat_template = serving_template(pipeline.tokenizer)
    from snowflake.ml.model import openai_signatures  # pyright: ignore[reportMissingTypeStubs]

    return {
        **_common(plan),
        "model": pipeline,
        "signatures": openai_signatures.OPENAI_CHAT_WITH_PARAMS_SIGNATURE_WITH_CONTENT_FORMAT_STRING,
        "options": {"cuda_version": CUDA},
    }


def serve_version(connection: Connection, plan: ServePayload, home: tuple[str, str]) -> tuple[Name, str]:
    """Makes the service of a version, unless it is there, and waits until it answers.

    Args:
        connection: The way to the account.
        plan: What is deployed.
        home: Exact names of database and schema.

    Returns:
        The service's name, and its address from outside; empty when it has none.

    Raises:
        BackendError: A service of that name serves another model, or it does not come up.
    """
    name = Name(*home, plan.object_name)
    end, pause = time.monotonic() + plan.startup_seconds, _SHORTEST_PAUSE
    made: bool = connection.call(f"making the service {name}", lambda session: _make(connection, session, plan, name))
    while True:
        found = connection.call(f"looking at the service {name}", lambda session: _service(session, plan, name))
        if found is None:
            raise BackendError(f"the service {name} is gone: somebody has dropped it while it was starting")
        status, address = str(found["status"]), str(found["inference_endpoint"] or "")
        if status in _GONE:
            raise BackendError(f"the service {name} has not come up: its status is {status}; its logs say why")
        # A service without instances suspends itself while it waits for questions, and is none the worse for it.
        if status in ("RUNNING", "SUSPENDED") and (address or not plan.service.ingress):
            return name, address
        if time.monotonic() > end:
            if not made:  # somebody else's, who may be waiting for it
                raise BackendError(
                    f"the service {name} is {status} after {plan.startup_seconds:g} s; it goes on starting"
                )
            connection.rows(f"dropping the service {name}", f"DROP SERVICE IF EXISTS {name.sql}")
            raise BackendError(
                f"the service {name} was {status} after {plan.startup_seconds:g} s and was dropped; a longer "
                "startup_timeout gives its image and its model more time"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _make(connection: Connection, session: Any, plan: ServePayload, name: Name) -> bool:
    """Makes the service; False when it is there and serves this version."""
    found = _service(session, plan, name)
    if found is not None and str(found["status"]) not in _GONE:
        return False
    if found is not None:  # an earlier try whose image or model failed: it would never answer
        connection.rows(f"dropping the service {name}", f"DROP SERVICE IF EXISTS {name.sql}")
    elif _exists(connection, name):
        if not plan.service.replace_existing:
            raise BackendError(
                f"there is a service {name} already, and it serves another model: endpoint.stop() ends it, "
                "ServiceOptions(replace_existing=True) puts this model in its place, another name leaves it alone"
            )
        connection.rows(f"dropping the service {name}", f"DROP SERVICE IF EXISTS {name.sql}")
    service = plan.service
    version = find_version(session, plan, (name.database, name.schema))
    options: dict[str, Any] = {}
    if isinstance(service.engine, VLLM):
        options["inference_engine_options"] = {
            "engine": "vllm",
            "engine_args_override": [*WITHOUT_CODE, *service.engine.args],
        }
    else:
        options["num_workers"] = 1  # each worker would load the model
    version.create_service(
        service_name=name.sql,
        service_compute_pool=quote(fold(service.compute_pool or "")),
        image_build_compute_pool=quote(fold(service.build_pool)) if service.build_pool else None,
        image_repo=service.image_repo,
        ingress_enabled=service.ingress,
        min_instances=service.min_instances,
        max_instances=service.max_instances,
        cpu_requests=service.cpus,
        memory_requests=service.memory,
        gpu_requests=str(service.gpus) if service.gpus else None,
        build_external_access_integrations=[quote(fold(each)) for each in service.build_integrations or ()] or None,
        block=True,
        **options,
    )
    return True


def _service(session: Any, plan: ServePayload, name: Name) -> dict[str, Any] | None:
    version = find_version(session, plan, (name.database, name.schema))
    if version is None:
        raise BackendError(f"the version {plan.version_name} of the model {plan.model_name} is not in the registry")
    services: list[dict[str, Any]] = version.list_services().to_dict("records")
    for service in services:
        if parse(str(service["name"]), database=name.database, schema=name.schema) == name:
            return service
    return None


def _exists(connection: Connection, name: Name) -> bool:
    try:
        connection.rows(f"looking at the service {name}", f"DESCRIBE SERVICE {name.sql}")
    except BackendError as error:
        if error_number(error) in NOT_FOUND:
            return False
        raise
    return True


def _registry(session: Any, home: tuple[str, str]) -> Any:
    from snowflake.ml.registry import Registry  # pyright: ignore[reportMissingTypeStubs]

    return Registry(session=session, database_name=quote(home[0]), schema_name=quote(home[1]))
