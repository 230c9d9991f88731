"""The real server on a tiny random model: a process of its own, asked by httpx, by raw sockets and by `openai`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from pydantic import BaseModel

from soaptune.common.files import write_json
from soaptune.deploy import Deployer, Gates
from soaptune.errors import BackendError, EngineError, JobFailed, RequestError
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.report import EvalReport, Metric, ReportLineage
from soaptune.handles.weights import fingerprint_folder
from soaptune.local.backend import LocalBackend
from soaptune.tasks import Task, rendering

SECRET = "zanzibar"


class Note(BaseModel):
    S: str
    A: str


TASK = Task(
    name="short-notes",
    system_prompt="Answer in JSON.",
    user_template="Say: {dialogue}",
    output=Note,
    rubric={"S": "What is said.", "A": "What it is."},
)


def make_model(folder: Path, network, tokenizer) -> Model:
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    manifest = ModelManifest(
        method="full",
        base="random",
        task=TASK.spec(),
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(folder / "model"),
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


@pytest.fixture(scope="module")
def model(random_model, random_tokenizer, tmp_path_factory) -> Model:
    return make_model(tmp_path_factory.mktemp("random"), random_model, random_tokenizer)


@pytest.fixture(scope="module")
def backend(tmp_path_factory) -> LocalBackend:
    return LocalBackend(tmp_path_factory.mktemp("runs"), threads=1)


@pytest.fixture(scope="module")
def endpoint(model, backend):
    report = EvalReport(
        n=100,
        metrics={"schema_valid": Metric(value=0.99, low=0.96, high=1, n=100)},
        lineage=ReportLineage(
            model_fingerprint=model.fingerprint,
            data_fingerprint="sha256:d",
            split="test",
            task="short-notes",
            task_fingerprint="sha256:t",
        ),
    )
    deployer = Deployer(
        name="notes", task=TASK, require=Gates(schema_valid=0.95), max_new_tokens=90, max_request_bytes=20_000
    )
    with deployer.run(model, report, on=backend) as made:
        yield made


@pytest.fixture
def client(endpoint):
    with httpx.Client(base_url=endpoint.url, timeout=120, trust_env=False) as made:
        yield made


def chat(**more):
    return {"model": "notes", "messages": [{"role": "user", "content": "Say: hello"}], **more}


def refusal(response: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and parameter of an error, which must have OpenAI's shape and hold nothing of the request."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if response.status_code >= 500 else "invalid_request_error")
    assert SECRET not in response.text
    assert "Traceback" not in response.text
    return response.status_code, error["code"], error["param"]


# What works


def test_the_manifest_names_the_plan_of_the_job(endpoint, backend):
    (job,) = (one for one in backend.jobs() if one.spec.name == "notes")
    manifest = json.loads((job.output.path / "manifest.json").read_text())
    assert manifest["plan_fingerprint"] == json.loads(job.spec.files["place.json"])["plan"]
    assert endpoint.manifest.plan_fingerprint == manifest["plan_fingerprint"] != ""


def test_every_answer_fits_the_schema_and_usage_is_counted(client, random_tokenizer):
    body = client.post("/v1/chat/completions", json=chat()).json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "notes"
    (choice,) = body["choices"]
    assert choice["finish_reason"] in {"stop", "length"}
    answer = choice["message"]["content"]
    TASK.parse(answer)
    assert answer == json.dumps(json.loads(answer), ensure_ascii=False)  # in the layout of training
    system = {"role": "system", "content": TASK.system_prompt}
    text = random_tokenizer.apply_chat_template(
        [system, {"role": "user", "content": "Say: hello"}], tokenize=False, add_generation_prompt=True
    )
    usage = body["usage"]
    assert usage["prompt_tokens"] == len(random_tokenizer(text)["input_ids"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 90


def test_an_answer_that_runs_out_of_tokens_is_still_valid_and_says_so(client, endpoint):
    for limit in range(40, 56, 3):
        body = client.post("/v1/chat/completions", json=chat(max_tokens=limit)).json()
        TASK.parse(body["choices"][0]["message"]["content"])
        assert body["usage"]["completion_tokens"] <= limit
        if body["usage"]["completion_tokens"] == limit:
            assert body["choices"][0]["finish_reason"] == "length"


def test_the_client_gives_no_cut_answer(endpoint):
    # A model with random weights does not come to an end by itself.
    with pytest.raises(EngineError, match="cut after"):
        endpoint.generate(dialogue="hello")


def test_greedy_answers_are_the_same_alone_and_in_company(client):
    alone = client.post("/v1/chat/completions", json=chat()).json()["choices"]
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: client.post("/v1/chat/completions", json=chat()), range(20)))
    assert [reply.status_code for reply in replies] == [200] * 20
    for reply in replies:
        TASK.parse(reply.json()["choices"][0]["message"]["content"])
    assert all(reply.json()["choices"] == alone for reply in replies)


def test_different_questions_at_once_all_get_valid_notes(client):
    def ask(number):
        body = chat(messages=[{"role": "user", "content": "Say: " + "word " * number}])
        return client.post("/v1/chat/completions", json=body)

    with ThreadPoolExecutor(20) as pool:
        for reply in pool.map(ask, range(20)):
            assert reply.status_code == 200
            TASK.parse(reply.json()["choices"][0]["message"]["content"])


def test_health_is_answered_while_the_engine_works(client, endpoint):
    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(client.post, "/v1/chat/completions", json=chat(temperature=1)) for _ in range(4)]
        assert endpoint.health()["status"] == "ok"
        assert all(future.result().status_code == 200 for future in working)


def test_the_callers_own_schema_is_honoured(client):
    schema = {"type": "object", "properties": {"ok": {"enum": ["yes", "no"]}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {**schema, "additionalProperties": False}}}
    body = client.post("/v1/chat/completions", json=chat(response_format=wanted)).json()
    assert json.loads(body["choices"][0]["message"]["content"]) in ({"ok": "yes"}, {"ok": "no"})


def test_free_text_is_free(client):
    body = client.post("/v1/chat/completions", json=chat(response_format={"type": "text"}, max_tokens=8)).json()
    assert not body["choices"][0]["message"]["content"].startswith("{")


def test_a_seed_repeats_a_draw(client):
    asked = chat(temperature=1.5, seed=7)
    first, again = (client.post("/v1/chat/completions", json=asked).json()["choices"] for _ in range(2))
    assert first == again


def test_a_system_message_of_the_callers_replaces_the_tasks(client):
    own = chat(messages=[{"role": "system", "content": "x" * 100}, {"role": "user", "content": "Say: hello"}])
    longer = client.post("/v1/chat/completions", json=own).json()["usage"]["prompt_tokens"]
    assert longer > client.post("/v1/chat/completions", json=chat()).json()["usage"]["prompt_tokens"] + 50


def test_the_openai_client_works(endpoint):
    with openai.OpenAI(
        base_url=endpoint.url + "/v1", api_key="none", max_retries=0, http_client=httpx.Client(trust_env=False)
    ) as client:
        assert [model.id for model in client.models.list()] == ["notes"]
        messages = [dict(turn) for turn in rendering.messages(TASK.spec(), {"dialogue": "hello"})]
        reply = client.chat.completions.create(model="notes", messages=messages)
        TASK.parse(reply.choices[0].message.content or "")
        assert reply.usage.total_tokens > 0
        follow_up = [*messages, reply.choices[0].message, {"role": "user", "content": "x"}]
        with pytest.raises(openai.BadRequestError, match="takes 256 tokens"):
            client.chat.completions.create(model="notes", messages=[*follow_up, {"role": "user", "content": "x" * 300}])
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=messages)
        with pytest.raises(openai.BadRequestError, match="'stream' is not supported"):
            client.chat.completions.create(model="notes", messages=messages, stream=True)


def test_it_says_what_it_is(client, endpoint, model):
    assert client.get("/health").json() == {
        "status": "ok",
        "model": "notes",
        "model_fingerprint": model.fingerprint,
        "synthetic": True,
    }
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/health", "/v1/models", "/v1/chat/completions"}
    assert set(paths["/v1/chat/completions"]["post"]["responses"]) == {"200", "4XX", "503"}
    assert urlsplit(endpoint.url).hostname == "127.0.0.1"


# What is refused


def test_input_that_is_too_long_is_refused_with_its_tokens(client, endpoint):
    body = chat(messages=[{"role": "user", "content": SECRET * 60}])
    response = client.post("/v1/chat/completions", json=body)
    assert refusal(response) == (400, "context_length_exceeded", "messages")
    assert "the model takes 256 tokens" in response.json()["error"]["message"]
    with pytest.raises(RequestError) as caught:
        endpoint.generate(dialogue=SECRET * 60)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")


def test_another_model_is_not_found(client):
    response = client.post("/v1/chat/completions", json=chat(model=SECRET))
    assert refusal(response) == (404, "model_not_found", "model")
    assert "'notes'" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"stream": True}, ("unsupported_parameter", "stream")),
        ({"n": 2}, ("unsupported_parameter", "n")),
        ({"tools": [{"type": "function"}]}, ("unsupported_parameter", "tools")),
        ({SECRET: 1}, ("unknown_parameter", None)),
        ({"messages": []}, ("invalid_request", "messages")),
        ({"messages": [{"role": SECRET, "content": "x"}]}, ("invalid_request", "messages.0.role")),
        ({"messages": [{"role": "user", "content": "x", SECRET: 1}]}, ("invalid_request", "messages.0")),
        ({"messages": [{"role": "user", "content": 5}]}, ("invalid_request", "messages.0.content")),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, ("invalid_request", "messages.0.content")),
        ({"messages": [{"role": "assistant", "content": "x"}]}, ("invalid_messages", "messages")),
        ({"max_tokens": 5}, ("max_tokens_too_small", "max_tokens")),
        ({"max_tokens": -1}, ("invalid_request", "max_tokens")),
        ({"temperature": "hot"}, ("invalid_request", "temperature")),
        ({"response_format": {"type": SECRET}}, ("invalid_request", "response_format")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"if": {}}}}},
            ("unsupported_schema", "response_format"),
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}},
            ("unsupported_schema", "response_format"),
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1:9/x"}},
                }
            },
            ("unsupported_schema", "response_format"),
        ),
    ],
)
def test_wrong_fields_are_refused_with_their_place(client, more, expected):
    # Not with json=, which cannot send a lone surrogate.
    content = json.dumps(chat(**more))
    response = client.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    status, code, param = refusal(response)
    assert status == 400
    assert code == expected[0]
    assert "Value error" not in response.json()["error"]["message"]
    if expected[1] is None:
        assert param is None
    else:
        assert param is not None
        assert param.startswith(expected[1])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff\xfe", b"\x00" * 100, b"[" * 5_000, b'{"a":' * 3_000]
)
def test_what_is_no_request_is_a_400(client, body):
    response = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert refusal(response)[0] == 400


def test_another_content_type_is_refused_with_what_to_send(client):
    response = client.post("/v1/chat/completions", content=json.dumps(chat()), headers={"content-type": "text/plain"})
    assert refusal(response)[0] == 400
    assert "application/json" in response.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(client):
    content = json.dumps(chat(user=SECRET * 10_000))
    assert refusal(client.post("/v1/chat/completions", content=content)) == (413, "request_too_large", None)
    chunks = (b"x" * 1_000 for _ in range(100))  # sent in pieces, without a content-length
    assert refusal(client.post("/v1/chat/completions", content=chunks))[0] == 413


def test_other_paths_and_methods_are_refused(client):
    assert refusal(client.get(f"/{SECRET}")) == (404, "not_found", None)
    wrong = client.get("/v1/chat/completions")
    assert refusal(wrong) == (405, "method_not_allowed", None)
    assert wrong.headers["allow"] == "POST"
    assert refusal(client.delete("/health"))[0] == 405


def test_garbage_on_the_wire_is_no_server_error(endpoint):
    address = (urlsplit(endpoint.url).hostname, urlsplit(endpoint.url).port)
    path = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    for sent in (
        b"\x00\xff\x16\x03\x01 garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        path + b"content-length: -5\r\n\r\n{}",
        path + b"content-length: 5\r\n\r\n\xff\xff\xff\xff\xff",
        path + b"transfer-encoding: chunked\r\n\r\nZZ\r\n",
        path + b"content-length: 100\r\n\r\n{",  # and then it hangs up
        os.urandom(2_000),
    ):
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            try:
                answer = connection.recv(65_536)
            except ConnectionError:  # it was closed on us
                answer = b""
        assert not answer.startswith(b"HTTP/1.1 5"), answer[:200]
    assert endpoint.health()["status"] == "ok"


# What it leaves behind


def test_nothing_of_a_request_stands_in_the_log(client, backend):
    client.post("/v1/chat/completions", json=chat(messages=[{"role": "user", "content": SECRET}]))
    client.get(f"/{SECRET}?{SECRET}")
    for job in backend.jobs():
        text = "\n".join(job.logs())
        assert SECRET not in text
        assert "Traceback" not in text


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    end = time.monotonic() + 20
    while running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not running(pid)


def test_stop_ends_the_process_and_another_handle_finds_the_endpoint_before(model, backend):
    endpoint = Deployer(name="brief", max_new_tokens=90).run(model, on=backend)
    job = next(job for job in backend.jobs() if job.id.startswith("brief"))
    again = backend.job(job.id).result()
    assert again.health()["model"] == "brief"
    pid = endpoint.manifest.pid
    assert running(pid)
    again.stop()
    assert gone(pid)
    endpoint.stop()  # once more does nothing
    with pytest.raises(BackendError, match="does not answer"):
        endpoint.health()


def test_it_ends_well_when_it_is_told_to(model, backend):
    endpoint = Deployer(name="graceful").run(model, on=backend)
    job = next(job for job in backend.jobs() if job.id.startswith("graceful"))
    os.kill(endpoint.manifest.pid, signal.SIGTERM)
    assert gone(endpoint.manifest.pid)
    end = time.monotonic() + 20
    while job.status == "running" and time.monotonic() < end:
        time.sleep(0.05)
    assert job.status == "done"


PARENT = """
import sys, time
from soaptune.deploy import Deployer
from soaptune.handles.model import Model
from soaptune.local.backend import LocalBackend
model, runs = Model.open(sys.argv[1]), LocalBackend(sys.argv[2], threads=1)
print(Deployer(name="orphan").run(model, on=runs).manifest.pid, flush=True)
time.sleep(600)
"""


def test_it_dies_with_the_process_that_started_it(model, backend):
    command = [sys.executable, "-c", PARENT, str(model.path), str(backend.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert running(pid)
        parent.kill()  # without a chance to clear up
    assert gone(pid)


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(model, backend):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(JobFailed, match=f"port {port}: Address already in use"):
            Deployer(name="taken", port=port).run(model, on=backend)


def test_too_few_tokens_for_any_answer_are_said_at_the_start(model, backend):
    with pytest.raises(JobFailed, match="No answer that fits the schema has fewer than"):
        Deployer(name="tight", max_new_tokens=3).run(model, on=backend)
