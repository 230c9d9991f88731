"""The real server under clients that mean it no good; the long form is `test_hostile_soak` (``pytest --soak``)."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from soaptune.deploy import Deployer, ServerOptions, hash_api_key
from soaptune.errors import BackendError, ConfigError, RequestError
from soaptune.handles.endpoint import Endpoint
from soaptune.local.backend import LocalBackend
from tests.contract.test_server import SECRET, TASK, chat, make_model, refusal

JSON = {"content-type": "application/json"}
KEY, OTHER_KEY, FILE_KEY = "key-of-the-tests-1", "key-of-the-tests-2", "key-of-the-tests-3"


@pytest.fixture(scope="module")
def model(random_model, random_tokenizer, tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("random"), random_model, random_tokenizer)


@pytest.fixture(scope="module")
def backend(tmp_path_factory) -> LocalBackend:
    return LocalBackend(tmp_path_factory.mktemp("runs"), threads=1)


@pytest.fixture(scope="module")
def endpoint(model, backend):
    options = ServerOptions(request_timeout=1, idle_timeout=1, max_connections=60, max_waiting=30)
    step = Deployer(name="notes", task=TASK, max_new_tokens=90, max_request_bytes=200_000, server=options)
    with step.run(model, on=backend) as made:
        yield made


@pytest.fixture
def client(endpoint):
    with httpx.Client(base_url=endpoint.url, timeout=60, trust_env=False) as made:
        yield made


def ask(client, **more) -> httpx.Response:
    # Not with json=, which refuses what is no number.
    return client.post("/v1/chat/completions", content=json.dumps(chat(**more)), headers=JSON)


def connect(endpoint) -> socket.socket:
    return socket.create_connection((urlsplit(endpoint.url).hostname, urlsplit(endpoint.url).port), timeout=20)


def wire(**more) -> bytes:
    body = json.dumps(chat(**more)).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" + (
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )


def received(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def log(backend, name: str) -> list[str]:
    return [line for job in backend.jobs() if job.id.startswith(name) for line in job.logs()]


# One bad request hurts nobody


def nested(depth: int, key: str) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [schema]} if key == "anyOf" else {"type": "object", "properties": {key: schema}}
    return schema


DOUBLED = {
    "$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)} | {"d40": {"type": "null"}},
    "$ref": "#/$defs/d0",
}
SCHEMAS = {
    "loop": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "itself": {"$ref": "#"},
    "in itself": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "doubled": DOUBLED,
    "deep": nested(300, "anyOf"),
    "deep objects": nested(200, SECRET),
    "wide": {"enum": [f"{SECRET}{number}" for number in range(5_000)]},
    "quadratic": {"type": "string", "pattern": "(x+x+)+y"},
    "counted": {"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"},
    "without an end": {"type": "array", "items": {"type": "null"}, "minItems": 10**18},
    "long": {"type": "string", "minLength": 10**18},
    "negative": {"type": "string", "minLength": -5},
    "many": {"type": "object", "minProperties": 10**6},
    "no list": {"type": "object", "required": SECRET},
    "no mapping": {"type": "object", "properties": [1]},
    "no definitions": {"$defs": 5},
    "no number": {"type": "number", "minimum": float("nan")},
    "no pattern": {"type": "string", "pattern": "("},
    "both patterns": {"type": "object", "patternProperties": {f"({SECRET})+": {}, f"^{SECRET}": {"type": "null"}}},
    "half a character": {"enum": ["\ud800"]},
    "no pointer": {"$ref": f"#/{SECRET}"},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_hostile_schema_is_refused_or_followed(client, name):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMAS[name]}}
    begin = time.monotonic()
    response = ask(client, response_format=wanted)
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        assert refusal(response)[1] in ("unsupported_schema", "context_length_exceeded", "max_tokens_too_small")
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"temperature": 1e-38}, 200),
        ({"temperature": 5e-324}, 200),
        ({"temperature": -0.0}, 200),
        ({"temperature": 1e308}, 400),
        ({"temperature": -1}, 400),
        ({"temperature": float("nan")}, 400),
        ({"temperature": float("inf")}, 400),
        ({"temperature": 10**400}, 400),
        ({"top_p": 1e-38}, 400),
        ({"top_p": float("nan")}, 400),
        ({"seed": 10**30, "temperature": 1}, 200),
        ({"seed": -(2**63), "temperature": 1}, 200),
        ({"seed": 0.5}, 400),
        ({"max_tokens": 10**18}, 200),
        ({"max_tokens": 10**400}, 200),
        ({"max_tokens": 1e18}, 400),
        ({"n": 10**18}, 400),
        ({"messages": [{"role": "user", "content": ""}] * 3_000}, 400),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "\x00\u202e\ufffe"}]}, 200),
        ({"user": "\ud800"}, 200),
    ],
)
def test_extreme_values_are_refused_or_answered(client, more, status):
    response = ask(client, **more)
    assert response.status_code == status
    if status == 200:
        TASK.parse(response.json()["choices"][0]["message"]["content"])
    else:
        refusal(response)


def test_a_bad_request_does_not_spoil_the_answers_of_its_company(client):
    alone = ask(client).json()["choices"]
    bad = [{"temperature": 1e-38}, {"temperature": 1e308}, {"response_format": {"type": SECRET}}]
    asked = [{}, bad[0], {}, bad[1], {}, bad[2], {}] * 3
    with ThreadPoolExecutor(len(asked)) as pool:
        replies = list(pool.map(lambda more: ask(client, **more), asked))
    for more, reply in zip(asked, replies, strict=True):
        if more in bad[1:]:
            assert refusal(reply)[0] == 400
        else:
            assert reply.json()["choices"] == alone  # so cold that it is the likeliest answer, too


# Clients that leave, idle and dawdle


def test_who_hangs_up_is_not_answered(client, endpoint, backend):
    before = sum("answered" in line for line in log(backend, "notes"))
    for _ in range(5):
        leaving = [connect(endpoint) for _ in range(25)]
        for connection in leaving:
            connection.sendall(wire(temperature=1))
        for connection in leaving:
            connection.close()
    # Sent two at once: the second is read while the first is answered, and so is the end.
    with connect(endpoint) as connection:
        connection.sendall(wire() + wire())
    begin = time.monotonic()
    while ask(client).status_code == 503:  # until the server has noticed that they left
        assert time.monotonic() - begin < 10
    assert sum("answered" in line for line in log(backend, "notes")) - before < 25


def test_too_many_that_wait_learn_when_to_come_again(client):
    with ThreadPoolExecutor(55) as pool:
        replies = list(pool.map(lambda _: ask(client, temperature=1), range(110)))
    turned_away = [reply for reply in replies if reply.status_code != 200]
    for reply in turned_away:
        assert refusal(reply)[:2] == (503, "overloaded")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert len(turned_away) < len(replies)


def test_idle_connections_are_closed_and_make_room(client, endpoint):
    idle = [connect(endpoint) for _ in range(150)]  # two and a half times as many as may be
    try:
        assert ask(client).status_code == 200
        begin = time.monotonic()
        assert all(received(connection) == b"" for connection in idle)
        assert time.monotonic() - begin < 5
    finally:
        for connection in idle:
            connection.close()


def test_a_connection_that_asks_nothing_more_is_closed(endpoint):
    with connect(endpoint) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 200")  # and then the end


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET /health HTTP/1.1\r\nhost: local", b""),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{", b"HTTP/1.1 408"),
        (b"POST /x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n50\r\nx", b"HTTP/1.1 408"),
    ],
)
def test_a_request_that_does_not_arrive_is_not_waited_for(endpoint, sent, answer):
    with connect(endpoint) as connection:
        connection.sendall(sent)
        begin = time.monotonic()
        connection.settimeout(0.1)
        found = b""
        while time.monotonic() - begin < 10:  # a byte now and then does not prolong it
            try:
                part = connection.recv(65_536)
                if not part:
                    break
                found += part
            except TimeoutError:
                try:
                    connection.sendall(b"x" if answer == b"" else b" ")
                except ConnectionError:
                    break
            except ConnectionError:
                break
    assert time.monotonic() - begin < 5
    assert found.startswith(answer)


def test_what_is_no_http_is_answered_like_all_else(endpoint):
    with connect(endpoint) as connection:
        connection.sendall(b"\x00\x01 garbage\r\n\r\n")
        head, _, body = received(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["code"] == "invalid_http"


# Who may ask


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:5", "127.1.2.3"])
def test_this_machines_names_are_known(client, host):
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", [f"{SECRET}.example", "localhost.example", "10.0.0.1", "0.0.0.0", "", "127.0.0.1.nip.io"]
)
def test_another_name_is_refused(client, host):
    response = client.get("/v1/models", headers={"host": host})
    assert refusal(response)[:2] == (421, "unknown_host")


def certificate(folder) -> tuple[str, str]:
    """A certificate of this machine that signs itself, and its key, as files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture(scope="module")
def guarded(model, backend, tmp_path_factory):
    """An endpoint with API keys and HTTPS that listens at every address."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "keys").write_text(f"# for the tests\n\n{hash_api_key(FILE_KEY)}  # Ann\n")
    cert, key = certificate(folder)
    options = ServerOptions(
        api_key="KEYS_OF_THE_TESTS",
        api_keys_file=str(folder / "keys"),
        requests_per_minute=60,
        tls_certificate=cert,
        tls_key=key,
        request_timeout=1,
    )
    step = Deployer(name="guarded", task=TASK, host="0.0.0.0", max_new_tokens=90, server=options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEYS_OF_THE_TESTS", f"{KEY}, {OTHER_KEY}")
        patch.setenv("SSL_CERT_FILE", cert)
        with step.run(model, on=backend) as made:
            yield made


def with_key(endpoint, key: str | None) -> httpx.Client:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.Client(
        base_url=endpoint.url, headers=headers, timeout=60, trust_env=False, verify=httpx.create_ssl_context()
    )


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", f"Bearer {SECRET}", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer é"]
)
def test_without_a_key_nothing_is_answered_but_that_it_works(guarded, authorization):
    with with_key(guarded, None) as client:
        headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
        for response in (
            client.post("/v1/chat/completions", json=chat(user=SECRET), headers=headers),
            client.get("/v1/models", headers=headers),
            client.get("/openapi.json", headers=headers),
            client.get(f"/{SECRET}", headers=headers),
        ):
            assert refusal(response)[:2] == (401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/health", headers=headers).json() == {"status": "ok"}


@pytest.mark.parametrize("key", [KEY, OTHER_KEY, FILE_KEY])
def test_each_key_is_good(guarded, model, key):
    with with_key(guarded, key) as client:
        assert client.get("/health").json()["model_fingerprint"] == model.fingerprint
        TASK.parse(ask(client, model="guarded").json()["choices"][0]["message"]["content"])


def test_the_openai_client_sends_its_key(guarded):
    with openai.OpenAI(
        base_url=guarded.url + "/v1", api_key=KEY, max_retries=0, http_client=with_key(guarded, None)
    ) as client:
        assert [one.id for one in client.models.list()] == ["guarded"]


def test_the_handle_of_the_deployer_knows_its_key_and_one_from_a_folder_is_given_it(guarded, backend, monkeypatch):
    assert guarded.health()["model"] == "guarded"
    assert guarded.bind(TASK).health()["model"] == "guarded"
    (job,) = (job for job in backend.jobs() if job.id.startswith("guarded"))
    opened = Endpoint.open(job.output.path)
    assert opened.health() == {"status": "ok"}
    with pytest.raises(RequestError, match="SOAPTUNE_API_KEY") as caught:
        opened.generate(dialogue="hello")
    assert caught.value.status == 401
    monkeypatch.setenv("SOAPTUNE_API_KEY", OTHER_KEY)
    assert opened.health()["model"] == "guarded"
    assert Endpoint.open(job.output.path, api_key="KEYS_OF_THE_TESTS").health()["model"] == "guarded"
    with pytest.raises(ConfigError, match="UNSET_VARIABLE"):
        Endpoint.open(job.output.path, api_key="UNSET_VARIABLE").health()


def test_a_certificate_that_nobody_vouches_for_is_not_taken(guarded, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(BackendError, match="does not answer"):
        guarded.health()


def test_a_handshake_that_does_not_come_is_not_waited_for(guarded):
    with connect(guarded) as connection:
        begin = time.monotonic()
        received(connection)
        assert time.monotonic() - begin < 5


def test_a_key_that_asks_too_much_has_to_wait_and_the_others_have_not(guarded):
    with with_key(guarded, OTHER_KEY) as client:
        replies = [client.get("/v1/models") for _ in range(70)]
        refused = [reply for reply in replies if reply.status_code != 200]
        assert 5 <= len(refused) < 70
        assert refusal(refused[0])[:2] == (429, "rate_limit_exceeded")
        assert 1 <= int(refused[0].headers["retry-after"]) <= 60
        assert client.get("/health").status_code == 200
    with with_key(guarded, FILE_KEY) as client:
        assert client.get("/v1/models").status_code == 200


def test_no_key_is_written_anywhere(guarded, backend):
    assert guarded.health()["status"] == "ok"
    (job,) = (job for job in backend.jobs() if job.id.startswith("guarded"))
    for path in job.output.path.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert KEY.encode() not in content
            assert OTHER_KEY.encode() not in content
    assert KEY not in repr(guarded)


def test_nothing_of_any_request_stands_in_the_log(endpoint, guarded, backend):
    # The last test of this file, after all those that have sent the secret word.
    text = "\n".join(log(backend, "notes") + log(backend, "guarded"))
    assert "answered" in text
    assert SECRET not in text
    assert "Traceback" not in text
