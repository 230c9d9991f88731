"""Every public method of the backend under a strict log of the SQL: names quoted, values bound, secrets nowhere."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from soaptune.common.files import write_json
from soaptune.errors import SoaptuneError
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Query
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.weights import fingerprint_folder
from soaptune.jobs.needs import CortexNeed, Needs
from soaptune.jobs.output import NamedTables
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.tables.spec import described
from soaptune.tasks.spec import TaskSpec
from soaptune.testing.snowflake import emulated_snowflake

pytestmark = pytest.mark.contract

SECRET = "pa55-w0rd-t0ken"
NASTY = "x'); DROP TABLE T; --"
TASK = TaskSpec(
    name="tickets",
    system_prompt="Say what it is about.",
    user_template="{ticket}",
    output_schema={"type": "object", "properties": {"title": {"type": "string"}}},
    output_fields=("title",),
    input_fields=("ticket",),
)
PUBLIC = {name for name, _ in inspect.getmembers(SnowflakeBackend, inspect.isfunction) if not name.startswith("_")}


class Watched(SnowflakeBackend):
    """A backend that remembers which of its methods were asked for."""

    def __getattribute__(self, name: str) -> Any:
        if name in PUBLIC:
            object.__getattribute__(self, "__dict__").setdefault("asked", set()).add(name)
        return super().__getattribute__(name)


@pytest.fixture
def account() -> Iterator[Any]:
    with emulated_snowflake(password=SECRET) as made:
        yield made


def outside_quotes(sql: str) -> str:
    """What of a statement is code: neither a quoted name, a literal, a comment nor a dollar-quoted text."""
    return re.sub(r"\"(?:[^\"]|\"\")*\"|'(?:[^'\\]|''|\\.)*'|\$\$.*?\$\$|--[^\n]*|/\*.*?\*/", " ", sql, flags=re.DOTALL)


def small_model(folder: Path) -> Model:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    manifest = ModelManifest(
        method="full",
        base="soaptune/tiny",
        task=TASK,
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(folder / "model"),
        training={},
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


@pytest.mark.parametrize(
    ("schema", "stage", "table"),
    [
        ('"my""schema; DROP"', '"stage; DROP ""x"""', '"table; DROP ""x"""'),
        ('"схема"', '"段階"', '"größe"'),
        ('"select"', '"table"', '"order"'),
    ],
    ids=["injection", "unicode", "reserved words"],
)
def test_every_public_method_quotes_names_binds_values_and_keeps_secrets(
    account: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, schema: str, stage: str, table: str
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = Watched(
        compute_pool="GPU_POOL",
        database=account.database,
        schema=schema,
        stage=stage,
        warehouse=account.warehouse,
        connection_parameters={**account.connection_parameters, "schema": None},
    )
    backend.session().sql(f"CREATE SCHEMA {schema}").collect()
    spec = JobSpec(
        name="try",
        entrypoint=("python", "-c", f"print({NASTY!r})"),
        env={"WORD": NASTY},
    )
    said = [repr(backend), backend.setup_sql(role=schema)]

    said += [str(finding) for finding in backend.preflight(spec)]
    job = backend.submit(spec, key=NASTY)
    job.wait(60)
    assert list(job.logs()) == [NASTY]
    found = backend.find(NASTY)
    assert found is not None
    assert found.id == job.id
    assert backend.job(job.id).status == "done"
    assert [one.id for one in backend.jobs()] == [job.id]
    rows = pa.table({"id": [NASTY, "b"], "ticket": [NASTY, "two"], "title": ["a", NASTY]})
    local = Dataset.write(tmp_path / "data", {"train": rows}, task=TASK, how={"note": NASTY})
    saved = backend.save(local, name=table)
    assert backend.dataset(table).fingerprint == local.fingerprint
    assert saved.table("train").column("title").to_pylist() == ["a", NASTY]
    again = backend.load_dataset(f"SELECT * FROM {described(saved.source.splits['train'])}", task=TASK, name=table)
    assert again.counts == {"train": 2}
    train = saved.source.splits["train"]
    plan = Plan(
        name="count",
        kind="data",
        files={},
        inputs={"source": Query(text=described(train))},
        output=NamedTables(name=table, splits=("train",)),
        needs=Needs(cortex=(CortexNeed(model=NASTY, source="source", fields=("ticket",), fixed_text=NASTY),)),
    )
    assert backend.estimate(plan).rows == 2
    assert NASTY not in backend.lower(plan).files["place.json"]
    assert backend.receive(local).fingerprint == local.fingerprint
    there = backend.receive(small_model(tmp_path / "model"))
    assert backend.model(there.location) == there
    assert backend.name_of(NASTY).name == NASTY
    with pytest.raises(SoaptuneError) as caught:
        backend.job(NASTY)
    said += [str(caught.value), repr(job), repr(saved), repr(there)]
    said += [str(copy) for copy in backend.copies_of(saved)]
    assert backend.cleanup()
    backend.close()

    assert backend.__dict__["asked"] == PUBLIC
    code = [outside_quotes(one.sql) for one in account.statements]
    assert not [text for text in code if re.search(r"\bdrop\s+table\s+t\b|;\s*\S", text, re.IGNORECASE)]
    assert all(text.isascii() for text in code)
    assert not [one for one in account.statements if SECRET in repr((one.sql, one.binds))]
    assert SECRET not in "\n".join([*said, caplog.text])
    assert NASTY not in caplog.text
