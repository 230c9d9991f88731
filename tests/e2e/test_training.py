"""Training with the real ArcticTraining, on the embedded model: what it leaves behind, and what it leaves alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import soaptune as st
from soaptune.handles.ledger import RowLedger
from soaptune.jobs.place import Place
from tests.e2e.helpers import Run, Runs, python, small

METHODS = ("lora", "full")


def run_of(runs: Runs, method: str) -> Run:
    return runs.lora if method == "lora" else runs.full


def log_of(run: Run) -> str:
    return "\n".join(run.job.logs())


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls(runs: Runs, method: str) -> None:
    losses = run_of(runs, method).losses()
    assert len(losses) == 12
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_the_loss_on_validation_rows_is_what_transformers_computes(runs: Runs) -> None:
    """One row at a time, with the template's text in front of the answer masked by its length."""
    lines = (runs.lora.model.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    written = {line["done"]: line["eval_loss"] for line in map(json.loads, lines) if "eval_loss" in line}
    model, tokenizer = runs.lora.model.load()
    total, count = 0.0, 0
    for row in runs.lora.data["validation"]:
        prompt = st.tasks.SOAP.messages({"dialogue": row["dialogue"]})
        answer = st.tasks.SOAP.answer({field: row[field] for field in "SOAP"}) + "<|im_end|>"
        before = tokenizer.apply_chat_template(prompt, tokenize=True, add_generation_prompt=True)
        ids = before + tokenizer(answer, add_special_tokens=False)["input_ids"]
        labels = [-100] * len(before) + ids[len(before) :]
        trained = len(ids) - len(before)
        total += trained * model(input_ids=tensor([ids]), labels=tensor([labels])).loss.item()
        count += trained
    assert sorted(written) == [6, 12]
    assert written[12] == pytest.approx(total / count, rel=1e-4)
    # Validation rows are no training rows: a step behind an evaluation counts no more tokens than a batch may hold.
    steps = [event.data for event in runs.lora.job.events() if event.kind == "progress"]
    assert max(step["tokens"] for step in steps) <= small("tiny-lora").batch_tokens
    assert runs.lora.model.manifest.training["tokens"] == sum(step["tokens"] for step in steps)


def tensor(rows: list[list[int]]) -> Any:
    import torch

    return torch.tensor(rows)


def test_two_runs_at_the_same_time_do_not_disturb_each_other(runs: Runs) -> None:
    times = [
        [event.data["time"] for event in run.job.events() if event.kind == "state"] for run in (runs.lora, runs.full)
    ]
    assert max(start[0] for start in times) < min(end[-1] for end in times), "they did not run at the same time"
    for run in (runs.lora, runs.full):
        trained = {row.id for row in RowLedger.read(run.model.path / "ledger.parquet") if row.split == "train"}
        assert trained == set(run.data["train"]["id"])
        assert run.model.manifest.data_fingerprint == run.data.fingerprint
        place = Place.read(run.job.stage / "app")
        assert run.model.manifest.plan_fingerprint == place.plan
        assert place.plan.startswith("sha256:")
    ports = [set(re.findall(r"--master_port[= ](\d+)", log_of(run))) for run in (runs.lora, runs.full)]
    assert ports[0], "the log names the port"
    assert ports[0].isdisjoint(ports[1])


def test_training_all_weights_calls_no_compiler(runs: Runs) -> None:
    assert runs.full.job.status == "done"
    assert not runs.asked_compilers.exists(), runs.asked_compilers.read_text(encoding="utf-8")


@pytest.mark.parametrize("method", METHODS)
def test_a_model_is_safetensors_with_its_lineage(runs: Runs, method: str) -> None:
    run = run_of(runs, method)
    model = run.model
    assert (model.adapter is None) == (method == "full")
    assert model.base.name == "soaptune/tiny"
    assert model.task == st.tasks.SOAP.spec()
    assert model.lineage["data"] == run.data.fingerprint
    assert model.lineage["synthetic"] is True
    assert model.manifest.training["steps"] == 12
    assert model.manifest.training["loss"] == pytest.approx(run.losses()[-1])
    kinds = {file.suffix for file in model.path.rglob("*") if file.is_file()}
    assert ".safetensors" in kinds
    assert kinds.isdisjoint({".bin", ".pt", ".pth", ".pkl"})


def test_no_text_of_a_row_stands_in_a_log(runs: Runs) -> None:
    for run in (runs.lora, runs.full):
        log = log_of(run)
        spoken = {line for row in run.data["train"] for line in row["dialogue"].splitlines()}
        assert not [line for line in spoken if line in log]


def test_another_process_gets_the_model_back_by_the_job_s_id(runs: Runs, tmp_path: Path) -> None:
    code = "import sys, soaptune as st; print(st.LocalBackend(sys.argv[1]).job(sys.argv[2]).result().fingerprint)"
    done = python("-c", code, runs.lora.job.stage.parents[1], runs.lora.job.id, cwd=tmp_path)
    assert done.stdout.strip() == runs.lora.model.fingerprint, done.stderr


def test_the_merged_adapter_answers_as_the_adapter_does(runs: Runs) -> None:
    from soaptune.engines import GenerationRequest
    from soaptune.runtime.engines.transformers import TransformersEngine

    merged = runs.lora.model.merge()
    assert merged.adapter is None
    assert merged.manifest.merged_from == runs.lora.model.fingerprint
    prompts = [st.tasks.SOAP.messages({"dialogue": row["dialogue"]}) for row in runs.lora.data["test"]]
    requests = [GenerationRequest([dict(turn) for turn in prompt], 24) for prompt in prompts]
    answers = [
        [completion.text for completion in TransformersEngine(*model.load()).generate(requests)]
        for model in (runs.lora.model, merged)
    ]
    assert answers[0] == answers[1]
    assert all(answers[0])


def test_the_ledger_accounts_for_rows_that_are_too_long(runs: Runs, backend: st.LocalBackend) -> None:
    data, lengths = runs.lora.data, token_counts(runs.lora)
    limit = sorted(lengths.values())[len(lengths) // 2]
    too_long = {row: length for row, length in lengths.items() if length > limit}
    spec = small("tiny-lora", max_length=limit).replace(max_steps=1)
    model = st.Trainer(spec=spec).run(data, on=backend)
    trained = RowLedger.read(model.path / "ledger.parquet")
    assert {row.id: row.tokens for row in trained if row.fate == "dropped"} == too_long
    assert {row.reason for row in trained if row.fate == "dropped"} == {"over-length"}
    whole = data.ledger.merge(trained)
    whole.reconcile(len(data.ledger))
    assert whole.in_use()["train"] == len(lengths) - len(too_long)


def token_counts(run: Run) -> dict[str, int]:
    """The tokens of each training row, counted with transformers' own chat template and nothing of ours."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(run.model.weights)
    counts: dict[str, int] = {}
    for row in run.data["train"]:
        answer = {"role": "assistant", "content": st.tasks.SOAP.answer({field: row[field] for field in "SOAP"})}
        messages = [*st.tasks.SOAP.messages({"dialogue": row["dialogue"]}), answer]
        counts[row["id"]] = len(tokenizer.apply_chat_template(messages, tokenize=True))
    return counts


def test_a_run_without_a_row_that_fits_fails_and_says_what_to_do(runs: Runs, backend: st.LocalBackend) -> None:
    trainer = st.Trainer(spec=small("tiny-lora", max_length=8))
    with pytest.raises(st.SoaptuneError, match="nothing-fits"):
        trainer.run(runs.lora.data, on=backend)
    # Where the rows or the base model cannot be looked at beforehand, the job finds it.
    job: st.Job[st.Model] = backend.submit(trainer.compile(runs.lora.data, on=backend))
    with pytest.raises(st.SoaptuneError, match="no rows left in the split 'train': all 64 were dropped") as caught:
        job.wait()
    error: Any = caught.value
    assert type(error).__name__ == "JobFailed"
    assert "raise max_length" in error.hint
    assert error.hint in str(error)
    assert error.log_tail
    failed = backend.job(error.job_id)
    assert failed.status == "failed"
    assert not any((failed.stage / "output").glob("manifest.json"))
