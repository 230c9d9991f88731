import hashlib
import json
import time

import pytest
from pydantic import BaseModel

from soaptune import __version__, tiny
from soaptune.common.files import write_json
from soaptune.common.fingerprint import fingerprint
from soaptune.deploy import Deployer, Gates, ServerOptions
from soaptune.deploy.service import ServiceOptions
from soaptune.errors import CheckFailed, ConfigError, DataError, GateError, JobTimeout
from soaptune.handles.endpoint import Endpoint, EndpointManifest
from soaptune.handles.location import Folder
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.report import EvalReport, Metric, ReportLineage
from soaptune.handles.weights import fingerprint_folder, note_merge
from soaptune.tasks import SOAP, SOAPNote, Task
from tests.unit.backends import ACCOUNT, Elsewhere


class Booking(BaseModel):
    people: int
    day: str


BOOKINGS = Task(
    name="bookings",
    system_prompt="Answer in JSON.",
    user_template="{request}",
    output=Booking,
    rubric={"people": "The number.", "day": "The day."},
)


MODEL = fingerprint(
    {
        name: hashlib.sha256(text).hexdigest()
        for name, text in {"adapter_config.json": b"{}", "config.json": b"{}", "model.safetensors": b""}.items()
    }
)
"""The fingerprint of every model that `make_model` makes."""


def make_model(folder, *, task=SOAP, method="lora", base="soaptune/tiny", merged_from=None):
    weights = folder / "model"
    weights.mkdir(parents=True)
    (weights / "adapter_config.json").write_text("{}")
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"")
    manifest = ModelManifest(
        method=method,
        base=ModelRef(name=base, revision="abc"),
        task=task.spec() if task else None,
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(weights),
        merged_from=merged_from,
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "tuned")


def make_report(low=0.96, *, model_fingerprint=MODEL):
    return EvalReport(
        n=100,
        metrics={"schema_valid": Metric(value=0.99, low=low, high=1, n=100)},
        lineage=ReportLineage(
            model_fingerprint=model_fingerprint,
            data_fingerprint="sha256:d",
            split="test",
            task="soap",
            task_fingerprint="sha256:t",
        ),
    )


def codes(findings):
    return [(finding.path, finding.code, finding.level) for finding in findings]


def test_the_job_says_all_that_the_server_needs(model):
    report = make_report()
    spec = Deployer(name="soap-notes", port=8080, max_new_tokens=300).compile(model, report, on=Elsewhere())
    assert (spec.name, spec.kind, spec.detach) == ("soap-notes", "endpoint", False)
    assert spec.entrypoint == ("python", "-m", "soaptune.runtime", "run")
    assert spec.inputs == {"model": Folder(path=str(model.path))}
    plan = json.loads(spec.files["step.json"])
    assert list(plan["task"]["output_schema"]["properties"]) == ["S", "O", "A", "P"]
    assert {name: plan[name] for name in plan if name not in ("task", "service", "server")} == {
        "name": "soap-notes",
        "host": "127.0.0.1",
        "port": 8080,
        "max_new_tokens": 300,
        "max_request_bytes": 1_000_000,
        "model_fingerprint": MODEL,
        "base": {"name": "soaptune/tiny", "revision": "abc"},
        "report_fingerprint": report.fingerprint,
        "metrics": {"schema_valid": 0.99},
        "data_fingerprint": "sha256:d",
        "spec_fingerprint": "sha256:s",
        "synthetic": True,
        "soaptune_version": __version__,
        "startup_seconds": 540.0,
    }
    assert ServiceOptions.model_validate(plan["service"]) == ServiceOptions()
    assert ServerOptions.model_validate(plan["server"]) == ServerOptions()
    assert "llguidance" in spec.files["requirements.txt"]


def test_compiling_twice_gives_the_same_bytes(model):
    step = Deployer(name="soap-notes")
    assert (
        step.compile(model, on=Elsewhere()).model_dump_json() == step.compile(model, on=Elsewhere()).model_dump_json()
    )


def test_a_base_model_in_a_folder_travels_as_an_input_and_its_token_by_name(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    model = make_model(tmp_path / "tuned", base=str(base))
    spec = Deployer(name="x", token="MY_TOKEN").compile(model, on=Elsewhere())
    assert spec.inputs["base"] == Folder(path=str(base))
    assert json.loads(spec.files["step.json"])["base"] == {"name": "../inputs/base", "revision": None}
    assert spec.secrets == {"HF_TOKEN": "MY_TOKEN"}
    assert "MY_TOKEN" not in "".join(spec.files.values()), "a token's name is the caller's"


def test_a_whole_model_needs_no_base(tmp_path):
    spec = Deployer(name="x", detach=True).compile(make_model(tmp_path / "m", method="full"), on=Elsewhere())
    assert json.loads(spec.files["step.json"])["base"] is None
    assert spec.detach


def test_a_job_that_makes_a_service_outlives_its_submitter_and_gives_up_before_it(model):
    spec = Deployer(name="x").compile(model, on=Elsewhere(capabilities=ACCOUNT))
    assert spec.detach
    assert json.loads(spec.files["step.json"])["startup_seconds"] == 3240
    assert spec.inputs["base"] == Folder(path=str(tiny.path())), (
        "the embedded model is an input where the package lacks it"
    )


def test_a_model_without_a_task_cannot_be_served(tmp_path):
    model = make_model(tmp_path / "m", task=None)
    assert codes(Deployer(name="x").preflight(model, on=Elsewhere())) == [("model", "no-task", "error")]
    with pytest.raises(DataError):
        Deployer(name="x").compile(model, on=Elsewhere())


def test_what_fails_the_gates_is_not_submitted_and_every_gate_is_named(model):
    backend = Elsewhere()
    step = Deployer(name="x", require=Gates(schema_valid=0.97, fact_f1=0.8))
    with pytest.raises(GateError, match=r"(?s)schema_valid must be at least 0\.97.*0\.96 to 1.*fact_f1"):
        step.run(model, make_report(), on=backend)
    assert backend.submitted == []


def test_gates_need_a_report(model):
    with pytest.raises(GateError, match="no report"):
        Deployer(name="x", require=Gates()).submit(model, on=Elsewhere())


def test_the_report_must_be_of_this_model(model):
    with pytest.raises(GateError, match="sha256:other"):
        Deployer(name="x").submit(model, make_report(model_fingerprint="sha256:other"), on=Elsewhere())


def test_an_adapters_report_is_good_for_the_model_that_was_merged_from_it_here(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    merged = make_model(tmp_path / "m", method="full", merged_from="sha256:adapter")
    report = make_report(model_fingerprint="sha256:adapter")
    step = Deployer(name="x", require=Gates(schema_valid=0.9))
    # A manifest may name any adapter that has a good report.
    assert codes(step.preflight(merged, report, on=Elsewhere())) == [("report", "other-model", "error")]
    note_merge(merged.fingerprint, "sha256:adapter")
    assert step.preflight(merged, report, on=Elsewhere()) == []


def test_weights_that_were_changed_are_not_deployed(model):
    (model.weights / "model.safetensors").write_bytes(b"other")
    with pytest.raises(CheckFailed, match="changed-weights"):
        Deployer(name="x").submit(model, on=Elsewhere())


def test_another_task_than_the_learned_one_is_refused(model):
    backend = Elsewhere()
    assert codes(Deployer(name="x", task=BOOKINGS).preflight(model, on=backend)) == [("task", "other-task", "error")]
    assert Deployer(name="x", task=SOAP).preflight(model, on=backend) == []
    with pytest.raises(CheckFailed, match="other-task"):
        Deployer(name="x", task=BOOKINGS).submit(model, on=backend)


def test_an_address_beyond_loopback_is_refused_without_a_key():
    assert Deployer(name="x").check() == []
    assert Deployer(name="x", host="::1").check() == []
    assert Deployer(name="x", host="localhost").check() == []
    assert codes(Deployer(name="x", host="0.0.0.0").check()) == [("host", "public-without-key", "error")]


@pytest.mark.parametrize(
    "options", [{"name": "a b"}, {"name": "x", "port": 70_000}, {"name": "x", "max_new_tokens": 0}, {"nme": "x"}]
)
def test_wrong_options_are_refused_at_once(options):
    with pytest.raises(ConfigError):
        Deployer(**options)


def test_takes_over_is_answered_with_its_new_name():
    with pytest.raises(ConfigError, match="did you mean 'replace_existing'"):
        ServiceOptions(takes_over=True)


def test_a_step_goes_through_json():
    step = Deployer(name="x", task=BOOKINGS, require=Gates(schema_valid=0.5))
    again = Deployer.model_validate_json(step.model_dump_json())
    assert again.task == BOOKINGS
    assert again.require == step.require
    assert step.replace(port=1).task is BOOKINGS


def manifest(task):
    return EndpointManifest(
        url="http://127.0.0.1:1", name="x", task=task.spec(), model_fingerprint="sha256:m", synthetic=True, pid=1
    )


class FakeJob:
    """A job that is up at once, or never."""

    id = "x-1"

    def __init__(self, endpoint=None):
        self.endpoint = endpoint
        self.cancelled = False

    def wait(self, timeout=None):
        if self.endpoint is None:
            time.sleep(0.01)
            raise JobTimeout("too late")

    def result(self):
        return self.endpoint

    def cancel(self):
        self.cancelled = True


def test_run_binds_the_class_of_the_task(tmp_path):
    model = make_model(tmp_path / "m", task=BOOKINGS)
    backend = Elsewhere(job_made=FakeJob(Endpoint(manifest(BOOKINGS))))
    endpoint = Deployer(name="x", task=BOOKINGS).run(model, on=backend)
    assert endpoint._bound() is BOOKINGS
    plain = Deployer(name="x").run(model, on=backend)
    assert plain._bound().output is dict


def test_run_knows_the_tasks_of_the_library(model):
    backend = Elsewhere(job_made=FakeJob(Endpoint(manifest(SOAP))))
    assert Deployer(name="x").run(model, on=backend)._bound().output is SOAPNote


def test_what_does_not_start_in_time_is_stopped(model):
    job = FakeJob()
    with pytest.raises(JobTimeout, match="startup_timeout"):
        Deployer(name="x", startup_timeout=0.01).run(model, on=Elsewhere(job_made=job))
    assert job.cancelled


def test_keys_travel_as_secrets_by_their_name_and_not_to_a_service(model, monkeypatch):
    step = Deployer(name="x", server=ServerOptions(api_key="MY_KEYS"))
    assert step.compile(model, on=Elsewhere()).secrets == {"SOAPTUNE_API_KEY": "MY_KEYS"}
    assert step.compile(model, on=Elsewhere(ACCOUNT)).secrets == {}
    monkeypatch.delenv("MY_KEYS", raising=False)
    assert codes(step.preflight(model, on=Elsewhere())) == [("server", "api-keys", "error")]
    monkeypatch.setenv("MY_KEYS", "a-key-that-is-long-enough")
    assert step.preflight(model, on=Elsewhere()) == []
