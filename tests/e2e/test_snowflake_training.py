"""Training inside an emulated job, with the real ArcticTraining, on rows that the job reads from tables."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import soaptune as st
from soaptune.handles.dataset import Dataset
from soaptune.handles.ledger import RowLedger
from soaptune.snowflake.backend import SnowflakeBackend
from tests.e2e.helpers import small

if importlib.util.find_spec("fakesnow") is None:
    pytest.skip("needs the extra 'testing'", allow_module_level=True)

STEPS = 4
ACCESS = (
    "CREATE NETWORK RULE HUB_RULE MODE = EGRESS TYPE = HOST_PORT VALUE_LIST = ('huggingface.co:443', '*.hf.co:443')",
    "CREATE EXTERNAL ACCESS INTEGRATION SOAPTUNE_ACCESS ENABLED = TRUE "
    "ALLOWED_NETWORK_RULES = (SNOWFLAKE.EXTERNAL_ACCESS.PYPI_RULE, TEST_DB.PUBLIC.HUB_RULE)",
)


@pytest.fixture(scope="module")
def there() -> Iterator[SnowflakeBackend]:
    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake() as account:
        backend = SnowflakeBackend(
            compute_pool="GPU_POOL",
            database="TEST_DB",
            schema="PUBLIC",
            connection_parameters=account.connection_parameters,
            external_access_integrations=["SOAPTUNE_ACCESS"],
        )
        for statement in ACCESS:
            backend.session().sql(statement).collect()
        yield backend
        backend.close()


def losses(lines: str) -> list[float]:
    return [row["loss"] for row in map(json.loads, lines.splitlines()) if "loss" in row]


def test_training_on_tables_is_training_on_the_same_rows_here(there: SnowflakeBackend, tmp_path: Path) -> None:
    data: Any = st.DataGenerator(task=st.tasks.SOAP, num_samples=48, seed=3).run(on=there)
    trainer = st.Trainer(spec=small("tiny-lora").replace(max_steps=STEPS))
    job = trainer.submit(data, on=there)
    job.wait(600)
    model = job.result()
    assert model.lineage["data"] == data.fingerprint
    assert model.base.name == "soaptune/tiny"
    folder = model.download(tmp_path / "model")
    assert any(folder.weights.glob("*.safetensors"))

    left = tmp_path / "left"
    job.output.get(left)  # type: ignore[attr-defined]
    trained = {row.id for row in RowLedger.read(left / "ledger.parquet")}
    assert trained == set(data.table("train").column("id").to_pylist())
    read = "\n".join(job.logs())
    assert "reading the split train from Snowflake" in read
    assert not [text for text in data.table("train").column("dialogue").to_pylist() if text[:60] in read]

    here = st.LocalBackend(tmp_path / "runs")
    copied: Dataset = data.copy_to(here)
    local = trainer.submit(copied, on=here)
    local.wait(600)
    log = (here.root / "jobs" / local.id / "output" / "metrics.jsonl").read_text(encoding="utf-8")
    found = losses((left / "metrics.jsonl").read_text(encoding="utf-8"))
    assert len(found) == STEPS
    assert found == pytest.approx(losses(log), rel=1e-3)
