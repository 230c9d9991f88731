"""Deploying on the emulator: the real registry client packs a real (if random) model, and a real service answers."""

import json

import pytest
from pydantic import BaseModel

from soaptune.common.files import write_json
from soaptune.deploy import Deployer
from soaptune.deploy.payload import ServePayload
from soaptune.deploy.service import ServiceOptions
from soaptune.engines import VLLM
from soaptune.errors import BackendError, DataError, EngineError, RequestError
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.weights import fingerprint_folder
from soaptune.jobs.place import Place
from soaptune.prompting.chat import render_prompt
from soaptune.runtime.engines.transformers import TransformersEngine
from soaptune.runtime.serve.answering import Answerer
from soaptune.runtime.snowflake.deploy import deploy
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.handles.endpoint import SnowflakeEndpoint
from soaptune.tasks import Task

pytestmark = pytest.mark.usefixtures("the_sdk_looks_often")


class Booking(BaseModel):
    people: int
    day: str


BOOKINGS = Task(
    name="bookings",
    system_prompt="JSON.",
    user_template="{request}",
    output=Booking,
    rubric={"people": "The number.", "day": "The day."},
)


@pytest.fixture(scope="module")
def backend(shared_account):
    made = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database="TEST_DB",
        schema="PUBLIC",
        connection_parameters=shared_account.connection_parameters,
    )
    yield made
    made.close()


def save(folder, network, tokenizer, *, data="sha256:d"):
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    manifest = ModelManifest(
        method="full",
        base="x",
        task=BOOKINGS.spec(),
        data_fingerprint=data,
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(folder / "model"),
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


@pytest.fixture(scope="module")
def model(random_model, random_tokenizer, tmp_path_factory):
    return save(tmp_path_factory.mktemp("tuned"), random_model, random_tokenizer)


@pytest.fixture
def in_job(tmp_path, monkeypatch):
    """Deploys as the job does, in a folder of the job's shape."""

    def run(deployer, model, backend):
        spec = deployer.compile(model, on=backend)
        for name in ("app", "output", "inputs"):
            (tmp_path / name).mkdir(exist_ok=True)
        weights = tmp_path / "inputs" / "model"
        weights.unlink(missing_ok=True)
        weights.symlink_to(model.path)
        monkeypatch.chdir(tmp_path / "app")
        plan = ServePayload.model_validate_json(spec.files["step.json"])
        place = Place.model_validate_json(spec.files["place.json"])
        return deploy(plan, place, tmp_path / "output", connection=backend.connection)

    return run


def sent(account, start, word):
    return [s.sql for s in account.statements[start:] if word in s.sql]


def test_what_serves_is_what_was_trained(shared_account, backend, model, in_job, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_PAT", shared_account.connection_parameters["password"])
    service = ServiceOptions(gpus=0, min_instances=1, token="MY_PAT")
    deployer = Deployer(name="bookings", task=BOOKINGS, max_new_tokens=60, service=service)
    manifest = in_job(deployer, model, backend)
    assert manifest.url.startswith("http://127.0.0.1:")
    assert json.loads((tmp_path / "output" / "manifest.json").read_text())["registry_version"].startswith("V")

    # A job that is tried again finds everything.
    start = len(shared_account.statements)
    assert in_job(deployer, model, backend) == manifest
    assert sent(shared_account, start, "DEPLOY_MODEL") == []
    assert sent(shared_account, start, "VERSION FROM") == []

    request = "A table <|im_end|> for two"
    over_http = SnowflakeEndpoint(manifest, backend.connection, task=BOOKINGS, api_key="MY_PAT")
    through_sql = SnowflakeEndpoint(manifest, backend.connection, task=BOOKINGS)
    found = over_http._complete(list(BOOKINGS.messages({"request": request})))
    assert found["choices"][0]["message"]["content"] == expected(model, request)
    answer = json.loads(found["choices"][0]["message"]["content"])
    Booking.model_validate(answer)
    assert through_sql._complete(list(BOOKINGS.messages({"request": request})))["choices"] == found["choices"]
    assert over_http.health()["status"] == "ok"

    # One that asks for too much is told so, and not answered with something else.
    with pytest.raises(RequestError, match="tokens") as refused:
        over_http.generate(request="very " * 200)
    assert refused.value.code == "context_length_exceeded"
    monkeypatch.setenv("MY_PAT", "wrong")
    with pytest.raises(BackendError, match="MY_PAT") as refused_token:
        over_http.generate(request="x")
    assert "wrong " not in str(refused_token.value).replace("is wrong", "")
    assert shared_account.connection_parameters["password"] not in repr(over_http)

    # The version says where it came from.
    from snowflake.ml.registry import Registry

    version = Registry(backend.session(), database_name="TEST_DB", schema_name="PUBLIC").get_model("BOOKINGS")
    registered = version.version(manifest.registry_version)
    assert model.fingerprint in registered.comment
    assert registered.get_metric("synthetic") is True

    through_sql.stop()
    through_sql.stop()
    with pytest.raises(BackendError, match="BOOKINGS"):
        over_http.health()


def expected(model, request):
    """What our own engine answers on this machine."""
    engine = TransformersEngine.load(model.weights)
    answerer = Answerer(engine, BOOKINGS.spec())
    from soaptune.engines import GenerationRequest

    messages = [{"role": m["role"], "content": m["content"]} for m in BOOKINGS.messages({"request": request})]
    (completion,) = answerer([GenerationRequest(messages, max_tokens=60, schema=answerer.schema)])
    assert not isinstance(completion, Exception)
    return completion.text


def test_a_service_of_another_model_is_not_taken_over_unless_asked(
    shared_account, backend, model, in_job, random_model, random_tokenizer, tmp_path
):
    def deployer(**options):
        return Deployer(name="taken", max_new_tokens=60, service=ServiceOptions(gpus=0, min_instances=1, **options))

    first = in_job(deployer(), model, backend)
    other = save(tmp_path / "other", random_model, random_tokenizer, data="sha256:other")
    assert other.fingerprint == model.fingerprint  # the same weights, but of another origin
    with pytest.raises(BackendError, match=r"serves another model.*replace_existing=True"):
        in_job(deployer(), other, backend)
    second = in_job(deployer(replace_existing=True), other, backend)
    assert second.service == first.service
    assert second.registry_version != first.registry_version
    SnowflakeEndpoint(second, backend.connection).stop()


def test_for_vllm_the_template_that_is_logged_renders_as_training_did(backend, model, in_job, random_tokenizer):
    service = ServiceOptions(engine=VLLM(args=("--max-model-len=256",)), gpus=1, min_instances=1)
    manifest = in_job(Deployer(name="fast", max_new_tokens=20, service=service), model, backend)
    assert manifest.engine == "vllm"
    assert "<|im_end|>" in manifest.special_tokens
    endpoint = SnowflakeEndpoint(manifest, backend.connection, task=BOOKINGS)
    messages = list(BOOKINGS.messages({"request": "two"}))
    prompt = render_prompt(random_tokenizer, [{"role": m["role"], "content": m["content"]} for m in messages])
    asked = endpoint._complete(messages)["usage"]["prompt_tokens"]
    assert asked == len(random_tokenizer(prompt, add_special_tokens=False)["input_ids"])
    endpoint.stop()


def test_another_model_than_the_planned_one_is_not_deployed(backend, model, in_job, tmp_path):
    deployer = Deployer(name="x", service=ServiceOptions(gpus=0))
    spec = deployer.compile(model, on=backend)
    plan = ServePayload.model_validate_json(spec.files["step.json"]).replace(model_fingerprint="sha256:another")
    place = Place.model_validate_json(spec.files["place.json"])
    (tmp_path / "app").mkdir()
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "model").symlink_to(model.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "app")
        with pytest.raises(DataError, match="not the one"):
            deploy(plan, place, tmp_path / "output", connection=backend.connection)


def test_an_answer_that_was_cut_is_not_given_as_a_whole(backend, model, in_job):
    deployer = Deployer(name="short", max_new_tokens=24, service=ServiceOptions(gpus=0, min_instances=1))
    endpoint = SnowflakeEndpoint(in_job(deployer, model, backend), backend.connection, task=BOOKINGS)
    with pytest.raises(EngineError, match="cut"):
        endpoint.generate(request="a table")
    endpoint.stop()
