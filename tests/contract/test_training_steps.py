"""What an optimizer step is: the mean over the label tokens of all its rows, however they are cut into batches.

The runs are real ones of ArcticTraining, on one rank and on two; what they are compared with is a plain loop.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from soaptune.common.files import write_json
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.ledger import RowLedger
from soaptune.handles.model_manifest import ModelManifest, ModelPlan
from soaptune.tasks import SOAP
from soaptune.train.options import CheckpointOptions, DeepSpeedOptions, OptimizerOptions
from soaptune.train.spec import TrainSpec

# Asked without importing it, which takes seconds and is the other process's business.
if importlib.util.find_spec("arctic_training") is None:
    pytest.skip("needs the extra 'train'", allow_module_level=True)

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
torch = pytest.importorskip("torch")

PROGRAM = Path(__file__).parent / "training_process.py"
PROMPT_WEIGHT = 0.25


@dataclass(frozen=True)
class Cut:
    """How a run cuts its rows into batches."""

    rows: int
    accumulation: int
    packing: str = "none"
    ranks: int = 1
    data: str = "eight"
    changes: tuple[tuple[str, Any], ...] = ()


# The eight rows of one step, in every way.
ONE_STEP = {
    "1 x 8": Cut(8, 1),
    "2 x 4": Cut(4, 2),
    "4 x 2": Cut(2, 4),
    "8 x 1": Cut(1, 8),
    "batches of unequal size": Cut(3, 3),
    "by tokens": Cut(1, 8, changes=(("batch_tokens", 120),)),
    "packs": Cut(1, 8, packing="next_fit", changes=(("max_length", 150),)),
    "two ranks": Cut(2, 2, ranks=2),
    "two ranks, one of them with less": Cut(3, 2, ranks=2),
    "two ranks, packs": Cut(1, 4, packing="next_fit", ranks=2, changes=(("max_length", 150),)),
}
for stage in (1, 2, 3):  # a step of fewer batches than is accumulated, and fewer than both ranks take
    ONE_STEP[f"ZeRO stage {stage}"] = Cut(3, 4, ranks=2, changes=(("deepspeed", DeepSpeedOptions(stage=stage)),))
WEIGHTED = (("prompt_loss_weight", PROMPT_WEIGHT),)
SAMPLED = (("prompt_loss_weight", PROMPT_WEIGHT), ("prompt_loss_sample", 0.5))
WEIGHTED_STEP = {
    f"{name}, {kind}": Cut(*cut, changes=changes)
    for kind, changes in (("weighted", WEIGHTED), ("sampled", SAMPLED))
    for name, cut in {"whole": (8, 1), "cut": (2, 4), "ranks": (2, 2, "none", 2)}.items()
}
EPOCHS = {
    # Ten rows make steps of four, four and two; three rows are fewer than one step takes.
    "ten rows": Cut(1, 4, data="ten"),
    "ten rows, two ranks": Cut(1, 2, ranks=2, data="ten", changes=WEIGHTED),
    "three rows": Cut(1, 8, data="three"),
    # Lengths that fill a different number of batches in each order.
    "by tokens, shuffled": Cut(1, 6, data="forty", changes=(("batch_tokens", 70), ("shuffle", True), ("epochs", 3))),
    "logged at times": Cut(1, 1, data="ten", changes=(("log_interval", 4), ("epochs", 1))),
}
# Cut at twelve tokens, nothing is left of any answer.
MASKED = {"all labels masked": Cut(1, 1, data="three", changes=(("max_length", 12), ("overlong", "truncate")))}
CUTS = {**ONE_STEP, **WEIGHTED_STEP, **EPOCHS, **MASKED}


def conversations(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Chats whose prompts and answers are of very different lengths."""
    made: list[dict[str, Any]] = []
    for i in range(first, first + count):
        question = "the patient says " * (1 + (5 * i) % 7)
        answer = "that the user answers " * (1 + (3 * i) % 5) + str(i)
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        made.append({"id": f"r{i}", "messages": turns})
    return made


SPLITS = {
    "eight": conversations(8),
    "ten": conversations(10),
    "three": conversations(3),
    "forty": conversations(40),
}
VALIDATION = conversations(5, first=100)


def spec_of(model: Path, cut: Cut) -> TrainSpec:
    evaluated = {"eval_interval": 2, "checkpoints": CheckpointOptions(save_every_steps=1)} if cut.data == "ten" else {}
    options: dict[str, Any] = {
        "model": str(model),
        "method": "full",
        "trainer": "causal",
        "dtype": "fp32",
        "gradient_checkpointing": False,
        "max_length": 512,
        "shuffle": False,
        "epochs": 2 if cut.data != "eight" else 1,
        "per_device_batch_size": cut.rows,
        "gradient_accumulation_steps": cut.accumulation,
        "packing": cut.packing,
        "max_grad_norm": 0.0,
        "optimizer": OptimizerOptions(name="adamw", learning_rate=1e-3),
        "num_proc": 1,
        "dataloader_num_workers": 1,
        **evaluated,
    }
    return TrainSpec(**{**options, **dict(cut.changes)})


def lay_out(stage: Path, model: Path, data: Path, cut: Cut) -> None:
    (stage / "app").mkdir(parents=True)
    spec = spec_of(model, cut)
    plan = ModelPlan(
        method="full", base=str(model), data_fingerprint="", synthetic=True,
        spec=spec.model_dump(mode="json"), spec_fingerprint=spec.fingerprint, yaml_fingerprint="",
    )  # fmt: skip
    (stage / "app" / "config.yaml").write_text(spec.to_yaml(str(data / cut.data)), encoding="utf-8")
    (stage / "app" / "train.py").write_text("import soaptune.runtime.arctic\n", encoding="utf-8")
    (stage / "app" / "model.json").write_text(plan.model_dump_json(), encoding="utf-8")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, random_model: Any, random_tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("base")
    random_model.save_pretrained(folder)
    random_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[str, Path]:
    """The stage of each run, after all of them have ended."""
    root = tmp_path_factory.mktemp("steps")
    for name, rows in SPLITS.items():
        (root / "data" / name).mkdir(parents=True)
        splits = {"train": rows, "validation": VALIDATION}
        for split, each in splits.items():
            pq.write_table(pa.Table.from_pylist(each), root / "data" / name / f"{split}.parquet")
        manifest = DatasetManifest(
            fingerprint=f"sha256:{name}",
            task=SOAP.spec(),  # the rows bring messages of their own
            counts={split: len(each) for split, each in splits.items()},
            split_fingerprints={},
            how={"step": "test"},
        )
        write_json(root / "data" / name / "manifest.json", manifest.model_dump(mode="json"))
    made: dict[str, Path] = {}
    for number, (name, cut) in enumerate(CUTS.items()):
        made[name] = root / f"stage{number}"
        lay_out(made[name], base, root / "data", cut)
    for ranks in (1, 2):
        run_all([made[name] for name, cut in CUTS.items() if cut.ranks == ranks], ranks)
    return made


def run_all(stages: list[Path], ranks: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = stages[0].parent
    shared = {"DS_ACCELERATOR": "cpu", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    logs = [folder / f"log-{rank}-of-{ranks}" for rank in range(ranks)]
    processes: list[subprocess.Popen[bytes]] = []
    for rank, log in enumerate(logs):
        who = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        with log.open("wb") as file:
            env = {**os.environ, **shared, **who, "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
            processes.append(
                subprocess.Popen(
                    [sys.executable, PROGRAM, *stages], env=env, stdout=file, stderr=subprocess.STDOUT, cwd=folder
                )
            )
    try:
        codes = [process.wait(300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0] * ranks, "\n".join(log.read_text(encoding="utf-8", errors="replace")[-3000:] for log in logs)


def lines(stage: Path) -> list[dict[str, Any]]:
    text = (stage / "output" / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def steps(stage: Path) -> list[dict[str, Any]]:
    return [line for line in lines(stage) if "loss" in line]


def gradient(stage: Path, step: int) -> Any:
    from safetensors.torch import load_file

    grads = load_file(stage / "gradients" / f"{step}.safetensors")
    return torch.cat([grads[name].flatten().double() for name in sorted(grads)])


def difference(one: Any, other: Any) -> float:
    return float((one - other).norm() / other.norm())


class PlainLoop:
    """The same training without any library but torch and transformers: one row at a time, in double precision."""

    def __init__(self, base: Path, tokenizer: Any, weights: Path | None = None) -> None:
        from transformers import AutoModelForCausalLM

        self.model: Any = AutoModelForCausalLM.from_pretrained(weights or base).double().eval()
        self.tokenizer = tokenizer

    def tokens(self, row: dict[str, Any]) -> tuple[list[int], int]:
        """A row's tokens, and how many of them are the prompt: all that stands in front of the answer."""
        whole = self.tokenizer.apply_chat_template(row["messages"], tokenize=False)
        prompt = self.tokenizer.apply_chat_template(row["messages"][:1], tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer(whole, add_special_tokens=False)["input_ids"]
        return ids, len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def loss(self, rows: list[dict[str, Any]], prompt_weight: float = 0.0) -> Any:
        """The mean over all label tokens of the rows."""
        total, count = torch.zeros((), dtype=torch.float64), 0.0
        for row in rows:
            ids, prompt = self.tokens(row)
            logits = self.model(input_ids=torch.tensor([ids])).logits[0, :-1]
            losses = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
            # The line break behind the answer's end token is the template's, as the prompt is.
            parts = [prompt_weight] * (prompt - 1) + [1.0] * (len(ids) - prompt - 1) + [prompt_weight]
            weights = torch.tensor(parts, dtype=torch.float64)
            total = total + (losses * weights).sum()
            count += float(weights.sum())
        return total / count

    def gradient(self, rows: list[dict[str, Any]], prompt_weight: float = 0.0) -> Any:
        self.model.zero_grad()
        self.loss(rows, prompt_weight).backward()
        named = {name: p.grad for name, p in self.model.named_parameters()}
        return torch.cat([named[name].flatten() for name in sorted(named)])


def test_the_rows_differ_in_their_label_tokens(base: Path, random_tokenizer: Any) -> None:
    """Else a mean of means would be no other than the mean."""
    loop = PlainLoop(base, random_tokenizer)
    labels = [len(ids) - prompt - 1 for ids, prompt in map(loop.tokens, SPLITS["eight"])]
    assert max(labels) > 3 * min(labels)


@pytest.mark.parametrize("name", [name for name in ONE_STEP if name != "1 x 8"])
def test_the_gradient_does_not_depend_on_how_a_step_was_cut(stages: dict[str, Path], name: str) -> None:
    assert [line["done"] for line in steps(stages[name])] == [1]
    assert difference(gradient(stages[name], 1), gradient(stages["1 x 8"], 1)) <= 1e-6


@pytest.mark.parametrize("kind", ["weighted", "sampled"])
@pytest.mark.parametrize("how", ["cut", "ranks"])
def test_nor_does_it_with_a_weight_on_the_prompt(stages: dict[str, Path], kind: str, how: str) -> None:
    whole, other = gradient(stages[f"whole, {kind}"], 1), gradient(stages[f"{how}, {kind}"], 1)
    assert difference(other, whole) <= 1e-6


def test_the_gradient_is_that_of_a_plain_loop(stages: dict[str, Path], base: Path, random_tokenizer: Any) -> None:
    loop = PlainLoop(base, random_tokenizer)
    assert difference(gradient(stages["4 x 2"], 1), loop.gradient(SPLITS["eight"])) <= 2e-6
    weighted = loop.gradient(SPLITS["eight"], PROMPT_WEIGHT)
    assert difference(gradient(stages["cut, weighted"], 1), weighted) <= 2e-6
    # A sample of the prompt's tokens is another gradient, which points the same way.
    sampled = gradient(stages["cut, sampled"], 1)
    assert 1e-3 < difference(sampled, weighted) < 0.5


def of_a_step(step: int) -> list[dict[str, Any]]:
    """The rows of a step of the runs over ten rows."""
    start = 4 * ((step - 1) % 3)
    return SPLITS["ten"][start : start + 4]


@pytest.mark.parametrize("name", ["ten rows", "ten rows, two ranks"])
def test_every_step_is_that_of_a_plain_loop(
    stages: dict[str, Path], base: Path, random_tokenizer: Any, name: str
) -> None:
    """Each step is compared from the weights that the checkpoint of the step before holds."""
    written = steps(stages[name])
    assert [(line["done"], line["total"], line["epoch"], line["rows"]) for line in written] == [
        (1, 6, 1, 4), (2, 6, 1, 4), (3, 6, 1, 2), (4, 6, 2, 4), (5, 6, 2, 4), (6, 6, 2, 2),
    ]  # fmt: skip
    weights = None
    for line in written:
        step, loop = line["done"], PlainLoop(base, random_tokenizer, weights)
        rows, prompt = of_a_step(step), dict(CUTS[name].changes).get("prompt_loss_weight", 0.0)
        assert line["loss"] == pytest.approx(loop.loss(rows, prompt).item(), rel=1e-5)
        assert line["tokens"] == sum(len(loop.tokens(row)[0]) for row in rows)
        assert difference(gradient(stages[name], step), loop.gradient(rows, prompt)) <= 1e-5
        weights = stages[name] / "output" / "checkpoints" / f"global_step_{step}"


@pytest.mark.parametrize("name", ["ten rows", "ten rows, two ranks"])
def test_the_loss_on_validation_rows_is_that_of_a_plain_loop(
    stages: dict[str, Path], base: Path, random_tokenizer: Any, name: str
) -> None:
    """Also where prompts have a weight in training: they have none here."""
    evaluated = [line for line in lines(stages[name]) if "eval_loss" in line]
    assert [line["done"] for line in evaluated] == [2, 4, 6]
    for line in evaluated:
        last = line["done"] == 6
        folder = "model" if last else f"checkpoints/global_step_{line['done']}"
        loop = PlainLoop(base, random_tokenizer, stages[name] / "output" / folder)
        assert line["eval_loss"] == pytest.approx(loop.loss(VALIDATION).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["ten rows", "ten rows, two ranks", "three rows", "by tokens, shuffled"])
def test_every_row_takes_part_once_in_each_epoch(
    stages: dict[str, Path], base: Path, random_tokenizer: Any, name: str
) -> None:
    stage, cut = stages[name], CUTS[name]
    used = {row.id for row in RowLedger.read(stage / "output" / "ledger.parquet") if row.fate in ("kept", "cut")}
    used -= {row["id"] for row in VALIDATION}
    assert used == {row["id"] for row in SPLITS[cut.data]}
    epochs = dict(cut.changes).get("epochs", 2)
    part: dict[int, int] = {}
    for line in steps(stage):
        part[line["epoch"]] = part.get(line["epoch"], 0) + line["rows"]
    assert part == {epoch: len(used) for epoch in range(1, epochs + 1)}
    manifest = ModelManifest.model_validate_json((stage / "output" / "manifest.json").read_text(encoding="utf-8"))
    loop = PlainLoop(base, random_tokenizer)
    once = sum(len(loop.tokens(row)[0]) for row in SPLITS[cut.data])
    assert manifest.training["tokens"] == epochs * once
    last = steps(stage)[-1]
    assert manifest.training["steps"] == last["done"] == last["total"]


def test_epochs_of_one_run_can_have_different_numbers_of_steps(stages: dict[str, Path]) -> None:
    """Else the test above would not have seen what rows under a token budget lost."""
    done = [line["epoch"] for line in steps(stages["by tokens, shuffled"])]
    assert len({done.count(epoch) for epoch in range(1, 4)}) > 1


def test_the_learning_rate_ends_with_the_last_step(stages: dict[str, Path]) -> None:
    rates = [line["learning_rate"] for line in steps(stages["ten rows"])]
    # Six steps of a linear schedule without warm-up steps (a tenth of six is none).
    assert rates == pytest.approx([1e-3 * (6 - n) / 6 for n in range(6)])


def test_losses_are_logged_at_the_interval_that_was_asked_for(
    stages: dict[str, Path], base: Path, random_tokenizer: Any
) -> None:
    written = steps(stages["logged at times"])
    assert [(line["done"], line["rows"]) for line in written] == [(4, 4), (8, 4), (10, 2)]
    shown = (stages["logged at times"] / "output" / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["done"] for line in shown] == list(range(1, 11))


def test_a_run_whose_labels_are_all_masked_fails_and_leaves_the_reasons(stages: dict[str, Path]) -> None:
    stage = stages["all labels masked"]
    error = (stage / "error").read_text(encoding="utf-8")
    assert "no rows left in the split 'train': all 3 were dropped (no-trained-token; max_length 12)" in error
    ledger = RowLedger.read(stage / "output" / "ledger.parquet")
    assert {(row.id, row.fate, row.reason) for row in ledger} == {
        (row["id"], "dropped", "no-trained-token") for row in SPLITS["three"]
    }
    assert not (stage / "output" / "metrics.jsonl").exists()
    assert not (stage / "output" / "manifest.json").exists()


def test_no_other_run_failed(stages: dict[str, Path]) -> None:
    failed = [name for name, stage in stages.items() if (stage / "error").exists()]
    assert failed == list(MASKED)
