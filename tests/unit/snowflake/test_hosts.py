from __future__ import annotations

import json

import pytest

from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.preflight.hosts import HUB_RULE, PYPI, Host, covers, hosts, hub_models
from soaptune.train import TrainSpec


def _training(model: str = "Qwen/Qwen3-1.7B", requirements: str = "arctic-training==0.8.0\n") -> JobSpec:
    config = TrainSpec(model=model).to_yaml()
    return JobSpec(
        name="train",
        kind="model",
        files={"config.yaml": config, "requirements.txt": requirements},
        entrypoint=("arctic_training", "config.yaml"),
    )


def _step(kind: str, **step: object) -> JobSpec:
    files = {"step.json": json.dumps(step)}
    return JobSpec.model_validate({"name": "s", "kind": kind, "files": files, "entrypoint": ("python", "-m", "x")})


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
    assert hub_models(_training(model)) == ()


def test_the_base_of_an_evaluation_and_of_an_endpoint_is_on_the_hub():
    for kind in ("report", "endpoint"):
        assert hub_models(_step(kind, base="Qwen/Qwen3-1.7B", model="../inputs/model")) == ("Qwen/Qwen3-1.7B",)


def test_a_judge_on_the_hub_counts():
    job = _step("report", base="soaptune/tiny", evaluator={"judge": {"model": "Qwen/Qwen3-8B"}})
    assert hub_models(job) == ("Qwen/Qwen3-8B",)


def test_a_generators_model_is_not_on_the_hub():
    assert hub_models(_step("data", model="llama3.3-70b")) == ()


def test_files_that_are_no_json_or_yaml_are_left_to_the_job():
    job = JobSpec(name="s", kind="report", files={"step.json": "{"}, entrypoint=("python",))
    broken = JobSpec(
        name="t", files={"config.yaml": "a: [", "step.json": "[]"}, entrypoint=("arctic_training", "config.yaml")
    )
    assert hosts(job) == hosts(broken) == ()


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
