import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import BaseModel

from soaptune.common.files import write_json
from soaptune.errors import AnswerError, BackendError, ConfigError, DataError, EngineError, RequestError
from soaptune.handles import open_handle
from soaptune.handles.endpoint import Endpoint, EndpointManifest
from soaptune.tasks import SOAP, SOAPNote, Task

NOTE = {"S": "a", "O": "b", "A": "c", "P": "d"}


class Booking(BaseModel):
    people: int


BOOKINGS = Task(
    name="bookings", system_prompt="s", user_template="Request: {request}", output=Booking, rubric={"people": "n"}
)


class Server(ThreadingHTTPServer):
    """Answers every request with what the test set, and keeps what it was asked."""

    def __init__(self):
        self.status, self.reply, self.asked = 200, {}, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                server.asked.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
                self.do_GET()

            def do_GET(self):
                body = server.reply if isinstance(server.reply, bytes) else json.dumps(server.reply).encode()
                self.send_response(server.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def answers(self, text, reason="stop"):
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
        self.status, self.reply = 200, {"choices": [choice], "usage": {"completion_tokens": 7}}

    def refuses(self, status, message, code):
        self.status, self.reply = status, {"error": {"message": message, "code": code}}

    def manifest(self, task=SOAP):
        return EndpointManifest(
            url=f"http://127.0.0.1:{self.server_address[1]}",
            name="notes",
            task=task.spec(),
            model_fingerprint="sha256:m",
            synthetic=True,
            pid=1,
        )


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # must not be used for this machine
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_it_sends_the_prompt_of_training_and_gives_the_typed_output(server):
    server.answers(json.dumps(NOTE))
    note = Endpoint(server.manifest(), task=SOAP).generate(dialogue="Doctor: {x}")
    assert note == SOAPNote(**NOTE)
    assert server.asked == [
        ("/v1/chat/completions", {"model": "notes", "messages": SOAP.messages({"dialogue": "Doctor: {x}"})})
    ]


def test_a_task_of_the_library_has_its_class_without_being_named(server):
    server.answers(json.dumps(NOTE))
    assert Endpoint(server.manifest()).generate(dialogue="x").P == "d"


def test_another_task_gives_mappings_until_its_class_is_bound(server):
    server.answers('{"people": 2}')
    plain = Endpoint(server.manifest(BOOKINGS))
    assert plain.generate(request="two") == {"people": 2}
    assert plain.bind(BOOKINGS).generate(request="two") == Booking(people=2)
    assert server.asked[0][1]["messages"][1]["content"] == "Request: two"
    with pytest.raises(ConfigError, match="'soap' is not the one"):
        plain.bind(SOAP)


def test_wrong_inputs_are_named_before_anything_is_sent(server):
    endpoint = Endpoint(server.manifest())
    with pytest.raises(ConfigError, match=r"'dialog' \(did you mean 'dialogue'.*'dialogue' is missing"):
        endpoint.generate(dialog="secret words")
    with pytest.raises(DataError):
        endpoint.generate(dialogue=None)
    with pytest.raises(ConfigError, match="the input is empty"):
        endpoint.generate(dialogue=" \n")
    assert server.asked == []


def test_a_cut_answer_is_an_error(server):
    server.answers(json.dumps(NOTE), reason="length")
    with pytest.raises(EngineError, match="cut after 7 tokens"):
        Endpoint(server.manifest()).generate(dialogue="x")


def test_an_answer_that_is_none_says_why(server):
    server.answers('{"S": "a"}')
    with pytest.raises(AnswerError):
        Endpoint(server.manifest()).generate(dialogue="x")


def test_a_refusal_carries_its_status_and_code(server):
    server.refuses(400, "too long by 7 tokens", "context_length_exceeded")
    with pytest.raises(RequestError, match="too long by 7 tokens") as caught:
        Endpoint(server.manifest()).generate(dialogue="x")
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")


def test_a_failing_server_is_an_engine_error(server):
    server.refuses(500, "The server failed.", "internal_error")
    with pytest.raises(EngineError, match="The server failed"):
        Endpoint(server.manifest()).generate(dialogue="x")


@pytest.mark.parametrize("reply", [b"<html>", {"choices": []}, {"choices": [{"message": {"content": None}}]}, {}])
def test_a_reply_that_is_no_completion_is_an_engine_error(server, reply):
    server.reply = reply
    with pytest.raises(EngineError):
        Endpoint(server.manifest()).generate(dialogue="x")


def test_a_server_that_is_gone_is_a_backend_error(server):
    manifest = server.manifest().replace(url="http://127.0.0.1:9")
    with pytest.raises(BackendError, match="does not answer"):
        Endpoint(manifest).health()


def test_health_is_what_the_server_says(server):
    server.reply = {"status": "ok"}
    assert Endpoint(server.manifest()).health() == {"status": "ok"}


def test_it_opens_from_the_folder_of_its_job(server, tmp_path):
    write_json(tmp_path / "output" / "manifest.json", server.manifest().model_dump(mode="json"))
    for endpoint in (Endpoint.open(tmp_path), open_handle(tmp_path / "output")):
        assert (endpoint.url, endpoint.model_name, endpoint.task) == (server.manifest().url, "notes", SOAP.spec())
    assert repr(endpoint) == f"Endpoint('notes' at {endpoint.url}, task 'soap')"


@pytest.mark.parametrize("content", [{"kind": "model"}, {"kind": "endpoint"}, []])
def test_what_is_no_endpoint_cannot_be_opened(tmp_path, content):
    write_json(tmp_path / "manifest.json", content)
    with pytest.raises(DataError, match=r"manifest\.json"):
        Endpoint.open(tmp_path)


def test_stop_calls_what_was_bound(server):
    stopped = []
    endpoint = Endpoint(server.manifest())
    with pytest.raises(BackendError, match=r"backend\.job"):
        endpoint.stop()
    endpoint.bind_stop(lambda: stopped.append(1))
    with endpoint.bind(SOAP):
        assert stopped == []
    assert stopped == [1]
