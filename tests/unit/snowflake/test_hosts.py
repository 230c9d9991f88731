from __future__ import annotations

from typing import Any

import pytest

from soaptune.data import DataGenerator
from soaptune.deploy import Deployer
from soaptune.evaluate import Evaluator
from soaptune.handles.model_ref import ModelRef
from soaptune.jobs.needs import Needs
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.preflight.hosts import HUB_RULE, PYPI, Host, covers, hosts
from soaptune.tasks import SOAP
from soaptune.train import TrainSpec
from soaptune.train.trainer import Trainer
from tests.unit.deploy.test_deployer import make_model
from tests.unit.snowflake.test_steps_on_snowflake import tables

GIVEN = SnowflakeBackend(compute_pool="GPU_POOL", database="LLM_DEMO", schema="PUBLIC").capabilities


def _training(model: str = "Qwen/Qwen3-1.7B", requirements: str = "arctic-training==0.8.0\n") -> JobSpec:
    return JobSpec(
        name="train",
        kind="model",
        files={"requirements.txt": requirements},
        entrypoint=("arctic_training", "config.yaml"),
        needs=_needs_of_training(model),
    )


def _needs_of_training(model: str) -> Needs:
    return Trainer(spec=TrainSpec(model=model)).plan(tables(), given=GIVEN).needs


def _on_hub(needs: Needs) -> tuple[str, ...]:
    return tuple(model.name for model in needs.models if model.on_hub)


def test_training_a_hub_model_needs_pypi_and_the_hub():
    needed = {host.name: host.certain for host in hosts(_training())}
    assert needed["pypi.org"]
    assert needed["files.pythonhosted.org"]
    assert needed["huggingface.co"]
    assert not needed["cdn-lfs.hf.co"]


def test_packages_that_the_image_may_have_are_not_certain():
    job = JobSpec(name="d", kind="data", files={"requirements.txt": "pydantic>=2\n"}, entrypoint=("python",))
    assert [(host.name, host.certain) for host in hosts(job)] == [(name, False) for name in PYPI]


def test_a_job_without_packages_and_models_needs_nothing():
    job = JobSpec(name="d", files={"requirements.txt": "# nothing\n\n"}, entrypoint=("torchrun", "train.py"))
    assert hosts(job) == ()


def test_the_users_own_packages_count():
    job = JobSpec(name="d", entrypoint=("python",))
    assert [host.certain for host in hosts(job, requirements=["vllm==0.9"])] == [True, True]


@pytest.mark.parametrize("model", ["soaptune/tiny", "/models/qwen", "./qwen", "~/qwen"])
def test_the_embedded_model_and_folders_are_not_on_the_hub(model: str):
    assert _on_hub(_needs_of_training(model)) == ()
    assert {host.name for host in hosts(_training(model))} == set(PYPI)


def test_the_base_of_an_evaluation_and_of_an_endpoint_is_on_the_hub(tmp_path: Any):
    model = make_model(tmp_path / "tuned", base="Qwen/Qwen3-1.7B")
    for plan in (Evaluator().plan(model, tables(), given=GIVEN), Deployer(name="x").plan(model, given=GIVEN)):
        assert _on_hub(plan.needs) == ("Qwen/Qwen3-1.7B",)


def test_a_second_model_on_the_hub_counts():
    needs = _needs_of_training("Qwen/Qwen3-1.7B") + Needs(models=(ModelRef(name="Qwen/Qwen3-8B", revision="abc"),))
    needed = hosts(JobSpec(name="s", entrypoint=("python",), needs=needs))
    assert _on_hub(needs) == ("Qwen/Qwen3-1.7B", "Qwen/Qwen3-8B")
    assert needed[0].why == "to load Qwen/Qwen3-1.7B and Qwen/Qwen3-8B @ abc"


def test_a_host_that_a_step_names_is_needed():
    needed = hosts(JobSpec(name="s", entrypoint=("python",), needs=Needs(hosts=("api.example.com",))))
    assert [(host.name, host.certain) for host in needed] == [("api.example.com", True)]


def test_a_generators_model_is_not_on_the_hub():
    generator = DataGenerator(task=SOAP, mode="cortex", model="llama3.3-70b", source="ROWS")
    assert _on_hub(generator.plan(given=GIVEN).needs) == ()


def test_of_a_job_that_does_not_state_its_needs_files_are_not_read():
    job = JobSpec(name="s", kind="report", files={"step.json": "{"}, entrypoint=("python",))
    config = TrainSpec(model="Qwen/Qwen3-1.7B").to_yaml()
    other = JobSpec(name="t", files={"config.yaml": config}, entrypoint=("arctic_training", "config.yaml"))
    assert hosts(job) == hosts(other) == ()


@pytest.mark.parametrize(
    ("value", "host", "port", "allowed"),
    [
        ("pypi.org", "pypi.org", 443, True),
        ("pypi.org:443", "pypi.org", 443, True),
        ("PyPI.org", "pypi.org", 443, True),
        ("pypi.org:80", "pypi.org", 443, False),
        ("pypi.org:0", "pypi.org", 8443, True),
        ("pypi.org:8000-9000", "pypi.org", 8443, True),
        ("pypi.org:8000-9000", "pypi.org", 443, False),
        ("pypi.org:x", "pypi.org", 443, False),
        ("0.0.0.0:443", "anything.example", 443, True),
        ("0.0.0.0", "anything.example", 443, True),
        ("0.0.0.0:80", "anything.example", 443, False),
        ("*.huggingface.co", "cdn-lfs.huggingface.co", 443, True),
        ("*.huggingface.co", "huggingface.co", 443, False),
        ("*.hf.co", "cas-server.xethub.hf.co", 443, False),
        ("cdn-lfs*.hf.co", "cdn-lfs-us-1.hf.co", 443, True),
        ("pypixorg", "pypi.org", 443, False),
        ("xpypi.org", "pypi.org", 443, False),
    ],
)
def test_a_rule_lets_through_what_the_platform_would(value: str, host: str, port: int, allowed: bool):
    assert covers([value], Host(name=host, why="", port=port)) is allowed


def test_the_hubs_rule_covers_all_that_a_model_of_the_hub_needs():
    needed = hosts(_training(requirements=""))
    assert needed
    assert all(covers(HUB_RULE, host) for host in needed)
