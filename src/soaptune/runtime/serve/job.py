"""The serving job: loads the model, listens, and writes where it listens once it can answer.

It runs until it is stopped; ``../output/manifest.json`` is there as soon as the endpoint answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from soaptune.common.files import MANIFEST, write_json
from soaptune.deploy.payload import ServePayload
from soaptune.engines import GenerationRequest
from soaptune.errors import DataError, EngineError
from soaptune.handles.endpoint import EndpointManifest
from soaptune.handles.folder_model import FolderModel, open_model
from soaptune.jobs.place import Place
from soaptune.runtime.engines.loading import load_model
from soaptune.runtime.engines.transformers import TransformersEngine
from soaptune.runtime.inputs import MODEL
from soaptune.runtime.serve.answering import Answerer
from soaptune.runtime.serve.app import build_app
from soaptune.runtime.serve.asking import Asker
from soaptune.runtime.serve.limits import Guard
from soaptune.runtime.serve.listening import access_to, check_tls, listen, url_of, uvicorn_config
from soaptune.tasks import rendering

__all__ = ["serve"]

_SCHEMA_SECONDS = 5.0
_SWITCH_SECONDS = 0.001
_WARM_UP_TOKENS = 8


def serve(plan: ServePayload, place: Place, output: Path) -> str:
    """Serves until the process is asked to end.

    Args:
        plan: What to serve, and where.
        place: Where the job runs.
        output: The folder that gets the manifest.

    Returns:
        What happened, for the log.

    Raises:
        BackendError: The address cannot be listened at.
        ConfigError: There is no API key where one is needed; a file of keys or for HTTPS cannot be read.
        DataError: The model is not the one that the plan is for.
        EngineError: The model cannot be loaded or cannot answer.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("soaptune.serve").setLevel(logging.INFO)
    model = open_model(MODEL)
    if model.fingerprint != plan.model_fingerprint:
        raise DataError("the model is not the one that this endpoint was planned for")
    model.verify()
    # Before the model is loaded, which can take minutes.
    listener = listen(plan.host, plan.port)
    access = access_to(plan, listener)
    check_tls(plan.server)
    answerer = Answerer(_load(plan, model), plan.task)
    _warm_up(plan, answerer)
    asker = Asker(answerer, waiting=plan.server.max_waiting)
    app = Guard(
        build_app(plan, asker, schema=answerer.schema),
        access,
        max_bytes=plan.max_request_bytes,
        seconds=plan.server.request_timeout,
    )
    manifest = EndpointManifest(
        url=url_of(plan, listener),
        name=plan.name,
        task=plan.task,
        model_fingerprint=plan.model_fingerprint,
        report_fingerprint=plan.report_fingerprint,
        synthetic=plan.synthetic,
        plan_fingerprint=place.plan,
        pid=os.getpid(),
    )
    # uvicorn ends well on these signals and then sends them to the process again, which must not die of them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _outlive)
    # Threads that compute and this one take turns more often, so that neither waits long for the other.
    sys.setswitchinterval(_SWITCH_SECONDS)
    asyncio.run(_run(uvicorn_config(app, plan.server), listener, manifest, output))
    asker.close()
    return f"{plan.name} was stopped"


def _outlive(_number: int, _frame: object) -> None:
    """Does nothing."""


async def _run(config: uvicorn.Config, listener: socket.socket, manifest: EndpointManifest, output: Path) -> None:
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        write_json(output / MANIFEST, manifest.model_dump(mode="json"))
        print(f"{manifest.name} listens at {manifest.url}", flush=True)
    await serving


def _load(plan: ServePayload, model: FolderModel) -> TransformersEngine:
    if plan.base is None:
        return TransformersEngine(*load_model(model.weights), schema_seconds=_SCHEMA_SECONDS)
    return TransformersEngine(*load_model(model.weights, base=plan.base, merge=True), schema_seconds=_SCHEMA_SECONDS)


def _warm_up(plan: ServePayload, answerer: Answerer) -> None:
    """Answers once, so that what cannot work fails here and the first caller need not wait for what is made once."""
    messages = rendering.messages(plan.task, dict.fromkeys(plan.task.input_fields, "."))
    question = GenerationRequest(
        [{"role": turn["role"], "content": turn["content"]} for turn in messages],
        max_tokens=min(plan.max_new_tokens, answerer.shortest + _WARM_UP_TOKENS),
        schema=answerer.schema,
    )
    (result,) = answerer([question])
    if isinstance(result, Exception):
        raise EngineError(f"the model cannot be served: {result}") from result
