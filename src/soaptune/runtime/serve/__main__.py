"""The serving job: loads the model, listens, and says where it listens once it can answer.

Runs in a job's ``app/`` folder as ``python -m soaptune.runtime.serve step.json`` until it is told to end;
``../output/manifest.json`` is there as soon as the endpoint answers.
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

from soaptune.common.files import MANIFEST, read_json, write_json
from soaptune.deploy.plan import MODEL_INPUT, ServePlan
from soaptune.engines import Completion, GenerationRequest
from soaptune.errors import BackendError, ConfigError, DataError, EngineError, SoaptuneError
from soaptune.handles.endpoint import EndpointManifest
from soaptune.handles.model import Model
from soaptune.runtime.engines.loading import load_model
from soaptune.runtime.engines.transformers import TransformersEngine
from soaptune.runtime.serve.answering import Answerer
from soaptune.runtime.serve.app import build_app
from soaptune.runtime.serve.batching import Batcher
from soaptune.runtime.serve.limits import Guard
from soaptune.tasks import rendering

__all__ = ["main", "serve"]

_BACKLOG = 2_048
_DRAIN_SECONDS = 10
_WARM_UP_TOKENS = 8


def serve(plan: ServePlan, output: Path) -> None:
    """Serves until the process is told to end.

    Args:
        plan: What to serve, and where.
        output: The folder that gets the manifest.

    Raises:
        BackendError: The address cannot be listened at.
        DataError: The model is not the one that the plan is for.
        EngineError: The model cannot be loaded or cannot answer.
    """
    model = Model.open(MODEL_INPUT)
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
        pid=os.getpid(),
    )
    # uvicorn ends well on these signals and then sends them to the process again, which must not die of them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _outlive)
    asyncio.run(_run(app, listener, manifest, output))
    batcher.close()


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


def _load(plan: ServePlan, model: Model) -> TransformersEngine:
    if plan.base is None:
        return TransformersEngine(*load_model(model.weights))
    loaded = load_model(
        model.weights, base=plan.base, revision=plan.base_revision, cache_dir=plan.cache_dir, merge=True
    )
    return TransformersEngine(*loaded)


def _warm_up(plan: ServePlan, answerer: Answerer) -> None:
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


def main(arguments: list[str] | None = None) -> int:
    """Runs the job; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m soaptune.runtime.serve step.json", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("soaptune.serve").setLevel(logging.INFO)
    try:
        try:
            plan = ServePlan.model_validate(read_json(Path(given[0])))
        except ConfigError as error:
            raise ConfigError(f"{given[0]}: {error}") from error
        serve(plan, Path("..") / "output")
    except SoaptuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
