"""Evaluating and deploying a model that was trained here on the emulated account: real jobs, a service that answers.

The walkthrough does the same with a model that was trained there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import soaptune as st
from soaptune import tiny
from soaptune.common.files import write_json
from soaptune.deploy import ServiceOptions
from soaptune.errors import BackendError, GateError
from soaptune.evaluate import Evaluator
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.weights import fingerprint_folder
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.handles.report import read_report_table

pytestmark = pytest.mark.skipif(importlib.util.find_spec("fakesnow") is None, reason="needs the extra 'testing'")

DIALOGUE = "Doctor: What brings you in? Patient: I have had a cough for 3 days. Doctor: Any fever? Patient: No."


@pytest.fixture
def account() -> Iterator[Any]:
    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake() as made:
        yield made


@pytest.fixture
def adapter(tmp_path: Path) -> st.Model:
    """An adapter for the embedded model that changes nothing yet, so that its answers are always the same."""
    import peft

    from soaptune.runtime.engines.loading import load_model

    network, tokenizer = load_model(tiny.path(), device="cpu")
    weights = tmp_path / "tuned" / "model"
    config = peft.LoraConfig(r=2, target_modules="all-linear")
    peft.get_peft_model(network, config).save_pretrained(weights)
    tokenizer.save_pretrained(weights)
    manifest = ModelManifest(
        method="lora",
        base="soaptune/tiny",
        task=st.tasks.SOAP.spec(),
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(weights),
    )
    write_json(tmp_path / "tuned" / "manifest.json", manifest.model_dump(mode="json"))
    return st.Model.open(tmp_path / "tuned")


@pytest.mark.soak
def test_a_model_is_evaluated_and_deployed_in_the_account_and_answers(
    account: Any, adapter: st.Model, tmp_path: Path
) -> None:
    backend = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database="TEST_DB",
        schema="PUBLIC",
        connection_parameters=account.connection_parameters,
    )
    sizes = {"train": 8, "validation": 4, "test": 6}
    here = st.DataGenerator(task=st.tasks.SOAP, num_samples=18, split=sizes, verbosity={"brief": 1}, seed=3).run(
        on=st.LocalBackend(tmp_path / "runs")
    )
    model, data = adapter.copy_to(backend), here.copy_to(backend)

    job = Evaluator(max_samples=2, max_new_tokens=60).submit(model, data, on=backend)
    job.wait(400)
    report = job.result()
    assert (report.n, report.synthetic) == (2, True)
    assert report.lineage.model_fingerprint == adapter.fingerprint
    assert report.predictions_path is None
    rows = read_report_table(backend.schema_ref, "EVALUATE")
    assert {row["METRIC"]: row["VALUE"] for row in rows} == {k: m.value for k, m in report.metrics.items()}
    assert backend.job(job.id).result() == report  # and the table is as it was
    assert len(read_report_table(backend.schema_ref, "EVALUATE")) == len(rows)

    service = ServiceOptions(gpus=0, min_instances=1)
    with pytest.raises(GateError, match="schema_valid"):
        st.Deployer(name="notes", require=st.Gates(schema_valid=0.99), service=service).run(model, report, on=backend)
    deployer = st.Deployer(name="notes", task=st.tasks.SOAP, service=service)
    endpoint = deployer.run(model, report, on=backend)
    note = endpoint.generate(dialogue=DIALOGUE)
    assert isinstance(note, st.tasks.SOAPNote)
    start = len(account.statements)
    again = deployer.run(model, report, on=backend)  # what is there is found
    assert again.url == endpoint.url
    assert not any("DEPLOY_MODEL" in statement.sql for statement in account.statements[start:])
    endpoint.stop()
    with pytest.raises(BackendError, match="NOTES"):
        endpoint.health()
    backend.close()
