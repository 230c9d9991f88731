"""The evaluation job on real (if random) models: what it writes, and that its numbers are those of its answers."""

import contextlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from soaptune.common.files import write_json
from soaptune.engines import Completion, Transformers
from soaptune.errors import CheckFailed, DataError, EngineError
from soaptune.evaluate import Evaluator
from soaptune.evaluate.evaluator import EvalPayload
from soaptune.handles import open_handle
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.weights import fingerprint_folder
from soaptune.jobs.place import Place
from soaptune.runtime.__main__ import main
from soaptune.runtime.evaluate import job
from soaptune.tasks.fact import facts_type
from soaptune.tasks.spec import TaskSpec
from tests.unit.backends import Elsewhere

TASK = TaskSpec(
    name="ticket",
    system_prompt="Answer in JSON.",
    user_template="{text}",
    output_schema={
        "type": "object",
        "properties": {"who": {"type": "string"}, "what": {"type": "string"}},
        "required": ["who", "what"],
        "additionalProperties": False,
    },
    output_fields=("who", "what"),
    input_fields=("text",),
)
NAMES = ["Ann", "Bob", "Cem", "Dot", "Eva", "Fay"]
SECRET = "zanzibar"


def dataset(path, *, facts=True, long=False, task=TASK):
    rows = {
        "id": [f"r{i}" for i in range(6)],
        "text": [
            f"{name} pays {i} euros in {SECRET}" + (" word" * 400 if long and i == 2 else "")
            for i, name in enumerate(NAMES)
        ],
        "who": NAMES,
        "what": [f"pays {i} euros" for i in range(6)],
    }
    table = pa.table(rows)
    if facts:
        said = [
            [{"field": "who", "kind": "name", "value": name, "start": 0, "end": 3, "source": "text"}] for name in NAMES
        ]
        table = table.append_column("facts", pa.array(said, type=facts_type()))
    return Dataset.write(path, {"test": table}, task=task, how={"step": "test"}, synthetic=True)


@pytest.fixture(scope="module")
def base(random_model, random_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    random_model.save_pretrained(folder)
    random_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(base, tmp_path_factory):
    """An adapter with random weights, as training would leave it."""
    import peft
    import torch

    from soaptune.runtime.engines.loading import load_model

    folder = tmp_path_factory.mktemp("tuned")
    network, tokenizer = load_model(base, device="cpu")
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(network, config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    manifest = ModelManifest(
        method="lora",
        base=ModelRef(name=str(base)),
        task=TASK,
        data_fingerprint="sha256:x",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:x",
        yaml_fingerprint="sha256:x",
        fingerprint=fingerprint_folder(folder / "model"),
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Model.open(folder)


ON = Elsewhere()


def step(**options):
    return Evaluator(max_new_tokens=12, resamples=1000, **options)


@contextlib.contextmanager
def stage(folder, model, data, **options):
    """A job's folder as a backend lays it out; inside, the working directory is its ``app/``."""
    spec = step(**options).compile(model, data, on=ON)
    for name in ("app", "inputs"):
        (folder / name).mkdir(parents=True)
    for name, text in spec.files.items():
        (folder / "app" / name).write_text(text)
    for name, place in spec.places.items():
        (folder / "inputs" / name).symlink_to(place.path)
    before = Path.cwd()
    os.chdir(folder / "app")
    try:
        yield EvalPayload.model_validate_json(spec.files["step.json"])
    finally:
        os.chdir(before)


def evaluate(model, data, output, *, payload=None, **options):
    """Runs the job in this process; it writes to `output`."""
    with stage(output.with_name(output.name + "-job"), model, data, **options) as planned:
        return job.evaluate(planned.replace(**payload or {}), Place.read(), output)


def test_the_job_leaves_a_report_its_answers_and_its_progress(model, tmp_path):
    data = dataset(tmp_path / "data")
    report = evaluate(model, data, tmp_path / "output")

    assert open_handle(tmp_path / "output") == report
    always = {"schema_valid", "fact_recall", "fact_f1", "rouge_l", "perplexity"}
    assert always | {f"base/{name}" for name in always} <= set(report.metrics)
    assert all(metric.n == 6 for metric in report.metrics.values())
    assert report.metrics["fact_recall"].value == 0  # random weights write no JSON, and that is counted as wrong
    assert sum(report.errors["model"].values()) == sum(report.errors["base"].values()) == 6
    assert {row.metric for row in report.comparison} >= always
    assert report.lineage.model_fingerprint == model.fingerprint
    assert report.lineage.data_fingerprint == data.fingerprint
    assert report.lineage.plan_fingerprint == step().plan(model, data, given=ON.capabilities).fingerprint
    manifest = json.loads((tmp_path / "output" / "manifest.json").read_text())
    assert manifest["plan_fingerprint"] == report.lineage.plan_fingerprint
    elsewhere = report.lineage.replace(plan_fingerprint="sha256:other", created="later")
    assert report.replace(lineage=elsewhere) == report, "what a report says does not depend on the job"
    assert report.synthetic
    absent = "Not measured, since no fact of the examples belongs to the field: fact_recall/what, fact_f1/what."
    assert report.notes.count(absent) == 1, "said once, although it holds for both models"
    assert absent.split(": ")[1] in " ".join(str(report).split())
    assert absent in report._repr_html_()

    table = pq.read_table(open_handle(tmp_path / "output").predictions_path)
    assert table.num_rows == 12
    assert set(table.column("model").to_pylist()) == {"model", "base"}
    assert table.column("reference/who").to_pylist()[:6] == NAMES
    lines = [json.loads(line) for line in (tmp_path / "output" / "progress.jsonl").read_text().splitlines()]
    # The six examples are counted once in each part, as people count them.
    assert {(line["total"], line["unit"]) for line in lines} == {(6, "examples")}
    parts = [f"{who}, {what}" for who in ("base model", "model") for what in ("perplexity", "answers")]
    assert [(line["phase"], line["done"]) for line in lines if line["done"] in (0, 6)] == [
        (part, done) for part in parts for done in (0, 6)
    ]


def test_the_same_evaluation_gives_the_same_report(model, tmp_path):
    data = dataset(tmp_path / "data")
    first = evaluate(model, data, tmp_path / "a")
    assert (
        evaluate(model, data, tmp_path / "b", engine=Transformers(batch_size=2)).metrics.keys() == first.metrics.keys()
    )
    assert evaluate(model, data, tmp_path / "c") == first


def test_data_without_facts_is_scored_without_fact_metrics_and_says_so(model, tmp_path):
    report = evaluate(model, dataset(tmp_path / "data", facts=False), tmp_path / "output", base=False)
    assert {"schema_valid", "rouge_l", "perplexity"} <= set(report.metrics)
    assert not any("fact" in name or "base" in name for name in report.metrics)
    assert any("no facts" in note for note in report.notes)
    assert report.comparison == ()


def test_the_lexicon_of_the_task_is_looked_for_in_the_answers(model, tmp_path, monkeypatch):
    def drugged(_engine, requests, **_how):
        return [Completion('{"who": "Ann", "what": "pays 0 euros for allopurinol"}') for _ in requests]

    monkeypatch.setattr("soaptune.runtime.engines.transformers.TransformersEngine.generate", drugged)
    rates = {}
    for lexicon in (None, "soaptune.soap.terms:terms", "of.mine:words"):
        data = dataset(tmp_path / f"{lexicon}", facts=False, task=TASK.replace(hooks={"lexicon": lexicon}))
        report = evaluate(model, data, tmp_path / "out" / f"{lexicon}", base=False, allow_code=("of",))
        rates[lexicon] = report.metrics["invented_rate"].value, " ".join(report.notes)
    assert [round(value, 3) for value, _ in rates.values()] == [round(5 / 6, 3), round(11 / 12, 3), round(5 / 6, 3)]
    assert [("terms of the task's lexicon" in note) for _, note in rates.values()] == [False, True, False]
    assert "lexicon was left out" in rates["of.mine:words"][1]
    assert "'of.mine'" in rates["of.mine:words"][1]


def test_a_job_runs_the_lexicon_of_its_plan_and_none_that_a_manifest_names(model, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "planted.py").write_text(f"import pathlib; pathlib.Path({str(trace)!r}).write_text('ran')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    data = dataset(tmp_path / "data", facts=False, task=TASK.replace(hooks={"lexicon": "planted:terms"}))
    report = evaluate(model, data, tmp_path / "out", base=False, max_samples=2, allow_code=())
    assert any("was not allowed to run" in note for note in report.notes)
    assert not trace.exists()


def test_a_report_is_of_exactly_the_files_that_were_planned_for(model, tmp_path):
    """What changes between the plan and the job is refused by the job, which looks at every file itself."""
    copy = model.download(tmp_path / "copy")
    with stage(tmp_path / "job", copy, dataset(tmp_path / "data"), base=False) as planned:
        (copy.weights / "adapter_model.safetensors").write_bytes(b"other")
        with pytest.raises(DataError, match="are not those of the model"):
            job.evaluate(planned, Place.read(), tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_a_prompt_that_is_too_long_is_a_wrong_answer_and_is_named(model, tmp_path):
    data = dataset(tmp_path / "data", long=True)
    report = evaluate(model, data, tmp_path / "output", base=False)
    assert report.errors["model"]["not-asked"] == 1
    assert report.metrics["schema_valid"].n == 6
    assert report.metrics["perplexity"].n == 5
    assert any("1 prompts are too long" in note for note in report.notes)


def test_a_sample_says_that_it_is_one(model, tmp_path):
    report = evaluate(model, dataset(tmp_path / "data"), tmp_path / "output", base=False, max_samples=2)
    assert report.n == 2
    assert any("2 of the split's 6" in note for note in report.notes)


def test_no_text_of_the_data_leaves_the_table_of_answers(model, tmp_path, capfd):
    data = dataset(tmp_path / "data")
    with stage(tmp_path, model, data):
        assert main(["run"]) == 0
    said = capfd.readouterr()
    files = [f.read_text() for f in (tmp_path / "output").iterdir() if f.suffix != ".parquet"]
    assert not any(SECRET in text for text in [said.out, said.err, *files])
    assert "schema_valid" in said.out


def test_a_base_that_cannot_be_had_fails_before_anything_is_scored(model, tmp_path, capfd):
    data = dataset(tmp_path / "data")
    lost = {"base": ModelRef(name=str(tmp_path / "nowhere"))}
    with pytest.raises(EngineError, match="nowhere"):
        evaluate(model, data, tmp_path / "output", payload=lost)
    assert not (tmp_path / "output" / "manifest.json").exists()


def test_the_step_runs_on_this_machine(model, tmp_path):
    import soaptune as st

    data = dataset(tmp_path / "data")
    backend = st.LocalBackend(tmp_path / "runs")
    report = st.Evaluator(max_new_tokens=5, resamples=1000).run(model, data, on=backend)
    assert report.n == 6
    assert "base/schema_valid" in report.metrics
    with pytest.raises(CheckFailed, match="no-such-split"):
        st.Evaluator(split="unseen").run(model, data, on=backend)
