"""A local endpoint under clients that mean it no good: ``python -m benchmarks.serve_hostile --json``.

An endpoint with API keys serves the embedded model. First only good clients ask, then the same good clients in a crowd:
values at the edge, schemas that explode, bodies that are too large, no HTTP at all, no key, clients that hang up, that
connect and do nothing, and that send a byte at a time. Prints one JSON object:

- ``clients``, ``seconds``, ``good``: clients in the crowd, over which time they come, and how many of them are good.
- ``p50_quiet_s``, ``p95_quiet_s``: seconds until a good client has its answer, when only good ones ask.
- ``p50_crowd_s``, ``p95_crowd_s``: the same in the crowd; ``p95_ratio`` is the crowd's p95 over that of the quiet run.
- ``good_answered``: the share of good clients in the crowd that got an answer that fits the task's schema.
- ``statuses``: how often the crowd was answered with which status; ``none`` counts connections that ended without one.
- ``server_errors``: answers above 499 that are no 503.
- ``rss_quiet_mib``, ``rss_crowd_mib``: memory of the server after the quiet run and after the crowd.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from soaptune import tiny
from soaptune.common.files import write_json
from soaptune.deploy import Deployer, ServerOptions
from soaptune.handles.endpoint import Endpoint
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.weights import fingerprint_folder
from soaptune.local.backend import LocalBackend
from soaptune.tasks import SOAP

DIALOGUE = "Doctor: What brings you in today?\nPatient: I have had a cough for 3 days.\nDoctor: It is a common cold."
PATIENCE = 60.0
"""Seconds that a hostile client waits for the server to end its connection."""


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def doubled(levels: int) -> dict[str, Any]:
    """References that double at each level."""
    definitions = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**definitions, f"d{levels}": {"type": "null"}}, "$ref": "#/$defs/d0"}


EDGES: list[dict[str, Any]] = [
    {"temperature": 1e-38},
    {"temperature": 5e-324},
    {"temperature": 1e308},
    {"temperature": float("nan")},
    {"top_p": 1e-38},
    {"max_tokens": 10**18, "temperature": 1},
    {"max_tokens": 0},
    {"seed": 10**30, "temperature": 2},
    {"messages": []},
    {"messages": [{"role": "user", "content": "a" * 500_000}]},
    {"n": 10**18},
    schema_format({"$ref": "#"}),
    schema_format(doubled(40)),
    schema_format({"type": "string", "pattern": "(x+x+)+y"}),
    schema_format({"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"}),
    schema_format({"type": "object", "minProperties": 10**6}),
    schema_format({"type": "array", "minItems": 10**18}),
    schema_format({"enum": [f"x{n}" for n in range(4_000)]}),
    schema_format({"properties": 5}),
]
GARBAGE = [b"\x00\xff\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET " + b"/" * 100_000, b"\r\n" * 1_000]


@dataclass
class Crowd:
    """An endpoint, and what happens to those who ask it."""

    url: str
    key: str
    name: str
    schema_valid: Callable[[str], object]
    question: list[dict[str, str]]
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    good: int = 0
    answered: int = 0

    def body(self, **more: Any) -> bytes:
        return json.dumps({"model": self.name, "messages": self.question, **more}).encode()

    def head(self, length: int, key: str | None = None) -> bytes:
        lines = ["POST /v1/chat/completions HTTP/1.1", "host: localhost", "content-type: application/json"]
        lines += [f"content-length: {length}", f"authorization: Bearer {self.key if key is None else key}", "", ""]
        return "\r\n".join(lines).encode()

    async def run(self, comers: list[Callable[[Crowd], Awaitable[None]]], seconds: float) -> None:
        """Lets clients come one after the other, evenly over a time, and waits for all of them."""
        async with asyncio.TaskGroup() as group:
            for comer in comers:
                group.create_task(comer(self))
                await asyncio.sleep(seconds / len(comers))

    async def ask(self, content: bytes, key: str | None = None) -> httpx.Response | None:
        headers = {"authorization": f"Bearer {self.key if key is None else key}", "content-type": "application/json"}
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, verify=False) as client:
            with contextlib.suppress(httpx.HTTPError):
                return await client.post(f"{self.url}/v1/chat/completions", content=content, headers=headers)
        return None

    @contextlib.asynccontextmanager
    async def connection(self) -> Any:
        place = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def good_client(crowd: Crowd) -> None:
    crowd.good += 1
    begin = time.monotonic()
    response = await crowd.ask(crowd.body())
    crowd.latencies.append(time.monotonic() - begin)
    crowd.statuses["none" if response is None else str(response.status_code)] += 1
    if response is not None and response.status_code == 200:
        crowd.schema_valid(response.json()["choices"][0]["message"]["content"])
        crowd.answered += 1


async def at_the_edge(crowd: Crowd) -> None:
    response = await crowd.ask(crowd.body(**random.choice(EDGES)))
    crowd.statuses["none" if response is None else str(response.status_code)] += 1


async def too_large(crowd: Crowd) -> None:
    response = await crowd.ask(b" " * 3_000_000)
    crowd.statuses["none" if response is None else str(response.status_code)] += 1


async def without_key(crowd: Crowd) -> None:
    response = await crowd.ask(crowd.body(), key=secrets.token_hex(16))
    crowd.statuses["none" if response is None else str(response.status_code)] += 1


async def raw(crowd: Crowd, sent: bytes, *, drip: bytes = b"") -> None:
    """Sends some bytes, then a byte now and then, and waits until the server has had enough."""
    status = "none"
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        async with crowd.connection() as (reader, writer), asyncio.timeout(PATIENCE):
            writer.write(sent)
            while True:
                with contextlib.suppress(asyncio.TimeoutError):
                    part = await asyncio.wait_for(reader.read(65_536), 0.5)
                    if not part:
                        break
                    status = part[9:12].decode() if part.startswith(b"HTTP/1.1 ") else status
                writer.write(drip)
    crowd.statuses[status] += 1


async def hangs_up(crowd: Crowd) -> None:
    body = crowd.body(temperature=1)
    with contextlib.suppress(OSError):
        async with crowd.connection() as (_, writer):
            writer.write(crowd.head(len(body)) + body)
            await asyncio.sleep(random.random() / 5)


async def idles(crowd: Crowd) -> None:
    await raw(crowd, b"")


async def slow_head(crowd: Crowd) -> None:
    await raw(crowd, b"GET /health HTTP/1.1\r\nhost: ", drip=b"x")


async def slow_body(crowd: Crowd) -> None:
    await raw(crowd, crowd.head(1_000), drip=b" ")


async def speaks_no_http(crowd: Crowd) -> None:
    await raw(crowd, random.choice(GARBAGE))


HOSTILE = (at_the_edge, at_the_edge, too_large, without_key, hangs_up, idles, slow_head, slow_body, speaks_no_http)


def resident(pid: int) -> float:
    """A process's memory in MiB; 0 where there is no /proc."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def percentile(values: list[float], percent: int) -> float:
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 3)


async def measure(endpoint: Endpoint[Any], key: str, *, clients: int, seconds: float, good: int) -> dict[str, Any]:
    """Asks an endpoint in quiet and in a crowd.

    Args:
        endpoint: The endpoint.
        key: Its API key.
        clients: How many clients come.
        seconds: In which time.
        good: How many of them are good.
    """
    fields = dict.fromkeys(endpoint.task.input_fields, DIALOGUE)
    task = endpoint._bound()
    question = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in task.messages(fields)]

    def crowd() -> Crowd:
        return Crowd(endpoint.url, key, endpoint.model_name, task.parse, question)

    await crowd().run([good_client] * 10, 1)  # what is made once is made now
    quiet, loud = crowd(), crowd()
    await quiet.run([good_client] * good, seconds)
    rss = resident(endpoint.manifest.pid)
    comers: list[Callable[[Crowd], Awaitable[None]]] = [good_client] * good
    comers += [HOSTILE[number % len(HOSTILE)] for number in range(clients - good)]
    random.Random(1).shuffle(comers)
    await loud.run(comers, seconds)
    p95 = percentile(quiet.latencies, 95), percentile(loud.latencies, 95)
    return {
        "clients": clients,
        "seconds": seconds,
        "good": good,
        "p50_quiet_s": percentile(quiet.latencies, 50),
        "p95_quiet_s": p95[0],
        "p50_crowd_s": percentile(loud.latencies, 50),
        "p95_crowd_s": p95[1],
        "p95_ratio": round(p95[1] / p95[0], 2),
        "good_answered": round(loud.answered / loud.good, 4),
        "statuses": dict(sorted(loud.statuses.items())),
        "server_errors": sum(
            n for status, n in loud.statuses.items() if status > "499" and status not in ("503", "none")
        ),
        "rss_quiet_mib": round(rss, 1),
        "rss_crowd_mib": round(resident(endpoint.manifest.pid), 1),
    }


def embedded_model(folder: Path) -> Model:
    """The embedded base model as it would be after a training of all its weights for SOAP notes."""
    shutil.copytree(tiny.path(), folder / "model")
    manifest = ModelManifest(
        method="full",
        base=tiny.NAME,
        task=SOAP.spec(),
        data_fingerprint="",
        synthetic=True,
        spec={},
        spec_fingerprint="",
        yaml_fingerprint="",
        fingerprint=fingerprint_folder(folder / "model"),
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve_hostile", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line")
    parser.add_argument("--clients", type=int, default=1_000, help="clients in the crowd")
    parser.add_argument("--good", type=int, default=200, help="how many of them are good")
    parser.add_argument("--seconds", type=float, default=60, help="in which time they come")
    options = parser.parse_args()
    key = secrets.token_urlsafe(32)
    os.environ["SOAPTUNE_API_KEY"] = key
    server = ServerOptions(api_key="SOAPTUNE_API_KEY", request_timeout=5, idle_timeout=5)
    with tempfile.TemporaryDirectory() as folder:
        model = embedded_model(Path(folder) / "tuned")
        step = Deployer(name="notes", max_new_tokens=96, server=server)
        with step.run(model, on=LocalBackend(Path(folder) / "runs")) as endpoint:
            found = asyncio.run(
                measure(endpoint, key, clients=options.clients, seconds=options.seconds, good=options.good)
            )
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
