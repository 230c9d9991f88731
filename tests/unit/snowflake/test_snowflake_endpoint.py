"""The client of a service over HTTP: a real server on loopback that says what the test wants it to say."""

import json
import re
import threading
from contextlib import contextmanager
from datetime import date

import pytest
from pydantic import create_model

from soaptune.errors import BackendError, ConfigError, EngineError, RequestError
from soaptune.snowflake.handles.endpoint import SnowflakeEndpoint
from soaptune.snowflake.handles.service import ServiceManifest
from soaptune.snowflake.session import Connection
from soaptune.tasks import SOAP, SOAPNote, Task
from soaptune.tasks.constrained import grammar_schema
from tests.unit.deploy.test_endpoint import NOTE, Server


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("MY_PAT", "s3cret")
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def endpoint(url, **changes):
    values = {
        "url": url,
        "name": "soap-notes",
        "task": SOAP.spec(),
        "model_fingerprint": "sha256:m",
        "synthetic": True,
        "service": ("DB", "my schema", "SOAP_NOTES"),
        "registry_model": "SOAP_NOTES",
        "registry_version": "V1",
        "engine": "transformers",
        "max_new_tokens": 77,
        "token": "MY_PAT",
    }
    return SnowflakeEndpoint(ServiceManifest(**{**values, **changes}), Connection(), api_key="MY_PAT")


@pytest.fixture
def notes(server):
    return endpoint(f"http://127.0.0.1:{server.server_address[1]}")


def says(server, text, reason="stop", name=None):
    message = {"role": "assistant", "content": text, "name": name}
    reply = {"choices": [{"message": message, "finish_reason": reason}], "usage": {"completion_tokens": 7}}
    server.status, server.reply = 200, {"data": [[0, reply]]}


def test_the_answer_is_an_instance_of_the_tasks_class(server, notes):
    says(server, json.dumps(NOTE))
    assert notes.generate(dialogue="Doctor: hello") == SOAPNote(**NOTE)
    ((path, body),) = server.asked
    assert path == "/--call--"
    assert body["params"] == {"temperature": 0.0, "max_completion_tokens": 77}
    (record,) = body["dataframe_records"]
    assert [turn["role"] for turn in record["messages"]] == ["system", "user"]
    assert set(record["messages"][0]) == {"role", "content", "name", "title"}


def test_the_manifest_of_a_service_of_the_first_release_names_its_engine_as_today():
    assert endpoint("http://127.0.0.1:1", engine="soaptune").manifest.engine == "transformers"
    assert endpoint("http://127.0.0.1:1", engine="vllm").manifest.engine == "vllm"


def test_vllm_is_asked_for_the_schema_and_cannot_be_given_control_tokens(server):
    says(server, json.dumps(NOTE))
    url = f"http://127.0.0.1:{server.server_address[1]}"
    endpoint(url, engine="vllm", special_tokens=("<|im_end|>",)).generate(dialogue="a <|im_end|> b")
    body = server.asked[0][1]
    assert body["params"]["response_format"]["json_schema"]["schema"] == grammar_schema(SOAP.spec().output_schema)
    assert "<|im_end|>" not in json.dumps(body["dataframe_records"])


def test_vllm_is_asked_for_dates_that_exist(server):
    visit = create_model("Visit", day=(date, ...))
    task = Task(name="t", system_prompt="", user_template="{text}", output=visit, rubric={"day": "x"})
    says(server, '{"day": "2024-02-29"}')
    url = f"http://127.0.0.1:{server.server_address[1]}"
    answer = endpoint(url, engine="vllm", task=task.spec()).bind(task).generate(text="when?")
    assert answer.day == date(2024, 2, 29)
    asked = server.asked[0][1]["params"]["response_format"]["json_schema"]["schema"]["properties"]["day"]
    assert re.search(asked["pattern"], "2024-02-29")
    assert not re.search(asked["pattern"], "2023-02-29")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, BackendError, "token in MY_PAT is wrong"),
        (401, BackendError, "token"),
        (504, EngineError, "longer than 60 s"),
        (400, RequestError, "no such column"),
        (500, EngineError, "status 500"),
    ],
)
def test_what_the_ingress_says_is_told_in_words_and_without_the_token(server, notes, status, kind, words):
    server.status, server.reply = status, {"error": "no such column"}
    with pytest.raises(kind, match=words) as refused:
        notes.generate(dialogue="x")
    assert "s3cret" not in str(refused.value) + repr(notes)


def test_a_request_that_the_engine_refuses_says_why(server, notes):
    says(server, "", "refused:context_length_exceeded", "The prompt has 9000 tokens.")
    with pytest.raises(RequestError, match="9000 tokens") as refused:
        notes.generate(dialogue="x")
    assert refused.value.code == "context_length_exceeded"


def test_an_answer_that_was_cut_is_not_given(server, notes):
    says(server, json.dumps(NOTE), "length")
    with pytest.raises(EngineError, match="cut"):
        notes.generate(dialogue="x")


@pytest.mark.parametrize("reply", [b"no json", {"data": []}, {"data": [[0, {}]]}])
def test_a_reply_that_is_no_completion_is_an_error(server, notes, reply):
    server.status, server.reply = 200, reply
    with pytest.raises(EngineError, match="not a chat completion"):
        notes.generate(dialogue="x")


@contextmanager
def raises_without_sending(server, kind, words):
    with pytest.raises(kind, match=words):
        yield
    assert server.asked == []


def test_a_token_goes_over_tls_or_to_this_machine_only(server):
    with raises_without_sending(server, BackendError, "no address that a token may be sent to"):
        endpoint("http://abc.snowflakecomputing.app").generate(dialogue="x")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example",
        "https://snowflakecomputing.app.evil.example",
        "https://evil.example/.snowflakecomputing.app",
    ],
)
def test_a_token_goes_to_no_host_that_a_manifest_makes_up(server, url):
    with raises_without_sending(server, BackendError, "no address that a token may be sent to"):
        endpoint(url).generate(dialogue="x")


def test_a_manifest_does_not_choose_which_secret_is_sent(server, notes, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "precious")
    received = SnowflakeEndpoint(notes.manifest.replace(token="AWS_SECRET_ACCESS_KEY"), Connection())
    asked = []
    monkeypatch.setattr(received, "_through_sql", lambda turns: asked.append(turns) or {})
    with raises_without_sending(server, EngineError, "not a chat completion"):
        received.generate(dialogue="x")
    assert len(asked) == 1
    received.bind_key("MY_PAT")
    says(server, json.dumps(NOTE))
    assert received.bind(SOAP).generate(dialogue="x") == SOAPNote(**NOTE)


def test_a_token_that_is_not_set_is_asked_for_by_name(server, notes, monkeypatch):
    monkeypatch.delenv("MY_PAT")
    with raises_without_sending(server, ConfigError, "MY_PAT"):
        notes.generate(dialogue="x")


def test_a_token_that_would_break_out_of_its_header_is_not_sent(server, notes, monkeypatch):
    monkeypatch.setenv("MY_PAT", 's3cret"\r\nX: y')
    with raises_without_sending(server, ConfigError, "MY_PAT") as _:
        notes.generate(dialogue="x")


def test_binding_a_task_keeps_the_service(notes):
    bound = notes.bind(SOAP)
    assert isinstance(bound, SnowflakeEndpoint)
    assert bound.manifest == notes.manifest
