"""The serving job: loads the model, listens, and writes where it listens once it can answer.

It runs until it is stopped; ``../output/manifest.json`` is there as soon as the endpoint answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import uvicorn

from soaptune.common.files import MANIFEST, write_json
from soaptune.deploy.payload import ServePayload
from soaptune.engines import Completion, GenerationRequest
from soaptune.errors import BackendError, DataError, EngineError
from soaptune.handles.endpoint import EndpointManifest
from soaptune.handles.folder_model import FolderModel, open_model
from soaptune.jobs.place import Place
from soaptune.runtime.engines.loading import load_model
from soaptune.runtime.engines.transformers import TransformersEngine
from soaptune.runtime.inputs import MODEL
from soaptune.runtime.serve.answering import Answerer
from soaptune.runtime.serve.app import build_app
from soaptune.runtime.serve.batching import Batcher
from soaptune.runtime.serve.limits import Guard
from soaptune.tasks import rendering

__all__ = ["serve"]

_BACKLOG = 2_048
_DRAIN_SECONDS = 10
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
        DataError: The model is not the one that the plan is for.
        EngineError: The model cannot be loaded or cannot answer.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("soaptune.serve").setLevel(logging.INFO)
    model = open_model(MODEL)
    if model.fingerprint != plan.model_fingerprint:
        raise DataError("the model is not the one that this endpoint was planned for")
    # Before the model is loaded, which can take minutes.
    listener = _listen(plan.host, plan.port)
    answerer = Answerer(_load(plan, model), plan.task)
    _warm_up(plan, answerer)
    batcher: Batcher[GenerationRequest, Completion] = Batcher(answerer)
    app = Guard(build_app(plan, batcher, schema=answerer.schema), max_bytes=plan.max_request_bytes)
    manifest = EndpointManifest(
        url=_url(plan.host, listener),
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
    asyncio.run(_run(app, listener, manifest, output))
    batcher.close()
    return f"{plan.name} was stopped"


def _outlive(_number: int, _frame: object) -> None:
    """Does nothing."""


async def _run(app: Guard, listener: socket.socket, manifest: EndpointManifest, output: Path) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # a path can hold text
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
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
        return TransformersEngine(*load_model(model.weights))
    return TransformersEngine(*load_model(model.weights, base=plan.base, merge=True))


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


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it would let two programs listen at one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise BackendError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    return listener


def _url(host: str, listener: socket.socket) -> str:
    # Nobody can connect to "every address"; this machine reaches itself at the first.
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = int(listener.getsockname()[1])
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
