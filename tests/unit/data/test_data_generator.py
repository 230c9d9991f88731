"""The data step: what it checks, what it compiles to, and what its job leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydantic
import pytest

from soaptune.data import DataGenerator
from soaptune.data.payload import GeneratePayload
from soaptune.errors import ConfigError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.runtime.__main__ import main
from soaptune.runtime.generate import generate
from soaptune.tasks import SOAP, Task
from tests.unit.backends import Elsewhere

HERE: Any = Elsewhere()
ORDERS = "tests.unit.data.orders"


class Order(pydantic.BaseModel):
    amount: str


def orders(generator: str | None = f"{ORDERS}:OrderGenerator") -> Task[Order]:
    return Task(
        name="orders",
        system_prompt="Answer with JSON.",
        user_template="{request}",
        output=Order,
        rubric={"amount": "The number."},
        generator=generator,
    )


def plan_of(step: DataGenerator) -> GeneratePayload:
    return GeneratePayload.model_validate_json(step.compile(on=HERE).files["step.json"])


def made(step: DataGenerator, folder: Path) -> Dataset:
    return generate(plan_of(step), folder)


def codes(step: DataGenerator) -> set[str]:
    return {finding.code for finding in step.check()}


def test_the_default_is_a_thousand_rows_and_has_nothing_to_mend():
    step = DataGenerator(task=SOAP)
    assert (step.num_samples, step.seed, step.check(), step.preflight(on=HERE)) == (1_000, 42, [], [])


def test_an_unknown_mode_says_which_modes_there_are():
    with pytest.raises(ConfigError, match="heuristic, cortex"):
        DataGenerator(task=SOAP, mode="magic")  # type: ignore[arg-type]


def test_a_typo_says_what_was_meant():
    with pytest.raises(ConfigError, match="num_samples"):
        DataGenerator(task=SOAP, num_sample=3)  # type: ignore[call-arg]


def test_a_task_without_a_generator_is_a_finding_with_a_way_out():
    (finding,) = DataGenerator(task=orders(None)).check()
    assert finding.code == "no-generator"
    assert "Dataset.load" in finding.hint


def test_a_generator_in_main_is_a_finding_that_names_code_paths():
    (finding,) = DataGenerator(task=orders("__main__:OrderGenerator")).check()
    assert finding.path.startswith("task.")
    assert "code_paths" in finding.hint


def test_all_findings_come_at_once():
    step = DataGenerator(task=orders(None), split="80/banana", verbosity={"short": 0})
    assert codes(step) == {"no-generator", "split", "verbosity-shares"}


def test_preflight_looks_into_the_generator():
    (finding,) = DataGenerator(task=orders(), verbosity={"long": 1}).preflight(on=HERE)
    assert (finding.path, finding.hint) == ("verbosity.long", "Its levels are short.")
    (finding,) = DataGenerator(task=orders("no.such.module:Gen")).preflight(on=HERE)
    assert finding.code == "generator"


def test_compiling_twice_gives_the_same_bytes():
    step = DataGenerator(task=SOAP, verbosity={"brief": 1})
    assert step.compile(on=HERE) == step.compile(on=HERE)
    assert step.compile(on=HERE).entrypoint == ("python", "-m", "soaptune.runtime", "run")


def test_a_step_comes_back_from_its_json():
    step = DataGenerator(task=SOAP, split={"train": 80, "test": 20}, num_samples=100)
    again = DataGenerator.model_validate_json(step.model_dump_json())
    assert again.compile(on=HERE) == step.compile(on=HERE)


def test_the_job_leaves_a_dataset_that_says_it_is_synthetic(tmp_path: Path):
    data = made(DataGenerator(task=SOAP, num_samples=100, verbosity={"brief": 1}), tmp_path / "out")
    assert data.counts == {"train": 80, "validation": 10, "test": 10}
    assert data.manifest.synthetic
    assert data.manifest.how["seed"] == 42
    assert data.table("train").column_names[:8] == ["id", "dialogue", "S", "O", "A", "P", "facts", "group"]
    assert all(data.facts("test").values())


def test_the_same_seed_gives_the_same_fingerprint_and_another_one_another(tmp_path: Path):
    step = DataGenerator(task=SOAP, num_samples=60, verbosity={"brief": 1})
    prints = [made(each, tmp_path / str(k)).fingerprint for k, each in enumerate((step, step, step.replace(seed=43)))]
    assert prints[0] == prints[1] != prints[2]


def test_every_row_has_one_fate_and_repetitions_are_named(tmp_path: Path):
    data = made(DataGenerator(task=orders(), num_samples=30), tmp_path / "out")
    counts = data.ledger.counts()
    assert (counts["kept"], counts["deduplicated"]) == (21, 9)
    assert sum(data.counts.values()) == 21
    every = made(DataGenerator(task=orders(), num_samples=30, deduplicate=False), tmp_path / "all")
    assert sum(every.counts.values()) == 30


def test_sizes_may_be_counts_and_the_rest_is_in_the_ledger(tmp_path: Path):
    step = DataGenerator(task=SOAP, num_samples=50, split={"train": 30, "test": 10}, verbosity={"brief": 1})
    data = made(step, tmp_path / "out")
    assert data.counts == {"train": 30, "test": 10}
    assert data.ledger.counts()["dropped"] == 10


def test_scenarios_do_not_cross_splits(tmp_path: Path):
    step = DataGenerator(task=SOAP, num_samples=400, pools="held_out", verbosity={"brief": 1})
    data = made(step, tmp_path / "out")
    groups = [set(data.table(split)["group"].to_pylist()) for split in data.splits]
    assert len(groups) == 3
    assert sum(len(each) for each in groups) == len(set().union(*groups))


def test_a_generator_that_does_not_fit_its_task_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="amount"):
        made(DataGenerator(task=orders(f"{ORDERS}:WrongColumns")), tmp_path / "out")


def test_the_job_runs_as_a_program(tmp_path: Path):
    step = DataGenerator(task=SOAP, num_samples=20, verbosity={"brief": 1})
    app = tmp_path / "app"
    app.mkdir()
    spec = step.compile(on=HERE)
    for name, text in spec.files.items():
        (app / name).write_text(text, encoding="utf-8")
    command = [sys.executable, *spec.entrypoint[1:]]
    done = subprocess.run(command, cwd=app, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    data = Dataset.open(tmp_path / "output")
    assert data.fingerprint == made(step, tmp_path / "here").fingerprint
    assert data.manifest.plan_fingerprint == step.plan(given=HERE.capabilities).fingerprint
    assert json.loads((tmp_path / "output" / "progress.jsonl").read_text().splitlines()[-1])["done"] == 20


def test_a_broken_payload_is_an_error_without_a_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    place = DataGenerator(task=SOAP).compile(on=HERE).files["place.json"]
    (tmp_path / "step.json").write_text('{"num_samples": 0}', encoding="utf-8")
    assert main(["run"]) == 1
    assert "place.json" in capsys.readouterr().err
    (tmp_path / "place.json").write_text(place, encoding="utf-8")
    assert main(["run"]) == 1
    assert "num_samples" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["step.json"]) == 2
