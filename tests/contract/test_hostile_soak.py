"""The endpoint in a crowd, and every request that its own description allows or forbids (``pytest --soak``)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serve_hostile import embedded_model, measure, resident
from soaptune.deploy import Deployer, ServerOptions
from soaptune.local.backend import LocalBackend

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

KEY = "key-of-the-soak-tests"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method,allow_header_conformance,ignored_auth"
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """The embedded model behind an endpoint with a key."""
    folder = tmp_path_factory.mktemp("soak")
    server = ServerOptions(api_key="SOAPTUNE_API_KEY", request_timeout=5, idle_timeout=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOAPTUNE_API_KEY", KEY)
        step = Deployer(name="notes", max_new_tokens=96, server=server)
        with step.run(embedded_model(folder / "tuned"), on=LocalBackend(folder / "runs")) as made:
            yield made


def test_a_crowd_of_a_thousand_does_not_keep_the_good_ones_waiting(endpoint):
    found = asyncio.run(measure(endpoint, KEY, clients=1_000, seconds=60, good=200))
    print(found)
    assert found["server_errors"] == 0
    assert found["good_answered"] == 1
    assert found["p95_ratio"] <= 2
    assert endpoint.health()["status"] == "ok"


def test_memory_is_flat_from_one_crowd_to_the_next(endpoint):
    used = []
    for _ in range(4):
        asyncio.run(measure(endpoint, KEY, clients=500, seconds=10, good=25))
        used.append(resident(endpoint.manifest.pid))
    # Up and down by what the allocator keeps, and not on and on: the last is no higher than those before it.
    assert used[-1] < max(used[:-1]) + 30, used


def test_every_answer_is_one_that_the_description_names(endpoint):
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "run", f"{endpoint.url}/openapi.json", "-H", f"Authorization: Bearer {KEY}"]
    options = ["--checks", CHECKS, "--max-examples", "60", "--max-time", "60", "--request-timeout", "60"]
    done = subprocess.run(
        [*command, *options, "--seed", "1", "--no-color"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert "No issues found" in done.stdout or "passed" in done.stdout
    assert endpoint.health()["status"] == "ok"
