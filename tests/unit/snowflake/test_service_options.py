"""Serving on Snowflake as config: what is refused, what it compiles to, and names that stay the same."""

import json

import pytest

from soaptune.deploy import Deployer
from soaptune.deploy.payload import ServePayload
from soaptune.deploy.service import ServiceOptions
from soaptune.engines import VLLM, Cortex
from soaptune.errors import ConfigError, GateError
from soaptune.handles.location import Folder
from soaptune.jobs.place import Place
from soaptune.snowflake.backend import SnowflakeBackend
from tests.unit.deploy.test_deployer import make_model, make_report


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "tuned")


@pytest.fixture
def backend():
    return SnowflakeBackend(
        compute_pool="gpu_pool", database="demo", schema='"my schema"', external_access_integrations=["pypi"]
    )


def plan_of(deployer, model, report, backend) -> ServePayload:
    spec = deployer.compile(model, report, on=backend)
    return ServePayload.model_validate(json.loads(spec.files["step.json"]))


def codes(found):
    return {(finding.path, finding.code, finding.level) for finding in found}


def test_on_snowflake_the_job_makes_a_service_in_the_account(model, backend):
    report = make_report()
    spec = Deployer(name="soap-notes").compile(model, report, on=backend)
    assert spec.kind == "endpoint"
    assert spec.entrypoint == ("python", "-m", "soaptune.runtime", "run")
    assert spec.detach  # it ends by itself, and must not end with its submitter
    assert "llguidance" in spec.files["requirements.txt"]
    place = Place.model_validate(json.loads(spec.files["place.json"]))
    assert (place.kind, place.backend) == ("endpoint", "snowflake")
    assert place.account is not None
    assert (place.account.database, place.account.db_schema) == ("DEMO", "my schema")
    assert (place.account.compute_pool, place.account.integrations) == ("GPU_POOL", ("PYPI",))
    plan = ServePayload.model_validate(json.loads(spec.files["step.json"]))
    # What the account decides is no part of the payload: the job fills it in.
    assert (plan.service.compute_pool, plan.service.build_integrations) == (None, None)
    assert (plan.object_name, plan.model_name) == ("SOAP_NOTES", "SOAP_NOTES")
    assert plan.metrics == {"schema_valid": 0.99}
    # A tenth less than its submitter waits: only the job can take the service back.
    assert plan.startup_seconds == 3_240


def test_the_embedded_base_model_travels_as_an_input(model, backend):
    spec = Deployer(name="x").compile(model, on=backend)
    base = spec.inputs["base"]
    assert isinstance(base, Folder)
    assert base.path.endswith("tiny/model")
    assert json.loads(spec.files["step.json"])["base"] == {"name": "../inputs/base", "revision": None}


def test_nothing_of_it_connects_to_the_account(model, backend):
    one, other = (Deployer(name="x").compile(model, make_report(), on=backend) for _ in range(2))
    assert one.model_dump_json() == other.model_dump_json()


def test_the_versions_name_is_of_what_is_packed_and_not_of_how_it_is_served(model, backend):
    plan = plan_of(Deployer(name="x"), model, make_report(), backend)
    bigger = plan_of(Deployer(name="x", service=ServiceOptions(max_instances=3)), model, make_report(), backend)
    other_report = plan_of(Deployer(name="x"), model, make_report(low=0.5), backend)
    other_engine = plan_of(Deployer(name="x", service=ServiceOptions(engine="vllm")), model, make_report(), backend)
    assert plan.version_name == bigger.version_name
    assert len({plan.version_name, other_report.version_name, other_engine.version_name}) == 3
    assert plan.version_name.isalnum()


def test_the_comment_says_where_the_model_came_from_and_that_its_text_was_made_up(model, backend):
    plan = plan_of(Deployer(name="x"), model, make_report(), backend)
    for fingerprint in (model.fingerprint, "sha256:d", "sha256:s", str(plan.report_fingerprint)):
        assert fingerprint in plan.comment
    assert "SYNTHETIC" in plan.comment


def test_the_gates_hold_before_anything_is_sent(model, backend):
    with pytest.raises(GateError, match="sha256:other"):
        Deployer(name="x").submit(model, make_report(model_fingerprint="sha256:other"), on=backend)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"engine": "transformers"}, set()),
        ({"engine": VLLM(args=("--max-model-len=8192",))}, set()),
        ({"engine": "vllm", "gpus": 0}, {("service.gpus", "vllm-without-gpu", "error")}),
        ({"engine": VLLM(args=("x=1",))}, {("service.engine.args[0]", "engine-arg", "error")}),
        ({"engine": VLLM(args=("--port=1",))}, {("service.engine.args[0]", "engine-arg-ignored", "warning")}),
        ({"engine": VLLM(concurrency=4)}, {("service.engine.concurrency", "engine-option-unused", "warning")}),
        (
            {"engine": {"kind": "transformers", "batch_size": 8}},
            {("service.engine.batch_size", "engine-option-unused", "warning")},
        ),
        ({"engine": Cortex(model="llama3.1-70b")}, {("service.engine", "engine-cannot-serve", "error")}),
        ({"min_instances": 2}, {("service.min_instances", "instances", "error")}),
        ({"token": "PAT", "ingress": False}, {("service.token", "token-unused", "warning")}),
    ],
)
def test_the_check_finds_what_cannot_work(options, expected):
    assert codes(Deployer(name="x", service=ServiceOptions(**options)).check()) == expected


def test_what_is_wrong_with_an_engine_is_found_after_a_way_through_json_too():
    step = Deployer(name="x", service=ServiceOptions(engine=VLLM(args=("--seed=7",))))
    again = Deployer.model_validate_json(step.model_dump_json())
    assert again.service.engine == step.service.engine
    assert again.check() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"engine": "soaptune"}, r"engine=st\.engines\.Transformers\(\)"),
        ({"engine": "vllm", "engine_args": ("--seed=7",)}, r"engine=st\.engines\.VLLM\(args="),
    ],
)
def test_an_option_of_the_first_release_is_answered_with_what_it_is_now(old, new):
    with pytest.raises(ConfigError, match=new):
        ServiceOptions(**old)
    with pytest.raises(ConfigError, match=new):
        Deployer.model_validate_json(json.dumps({"name": "x", "service": old}))


def test_a_token_is_named_and_never_given():
    with pytest.raises(ConfigError) as refused:
        ServiceOptions(token="eyJ.secret-value")
    assert "secret-value" not in str(refused.value)
