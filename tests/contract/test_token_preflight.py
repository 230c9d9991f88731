"""What the preflight finds with the base model's tokenizer; the child process is a real one, as are the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from soaptune import tiny
from soaptune.errors import CheckFailed
from soaptune.handles.dataset import Dataset
from soaptune.local.backend import LocalBackend
from soaptune.runtime import probe
from soaptune.tasks.spec import TaskSpec
from soaptune.train.spec import TrainSpec
from soaptune.train.tokens import WITHOUT_TORCH, TokenAnswer, TokenQuestion, token_findings
from soaptune.train.trainer import Trainer
from tests.contract.published_tokenizers import build

pa = pytest.importorskip("pyarrow")
pytest.importorskip("transformers")

TASK = TaskSpec(
    name="ticket",
    system_prompt="Sort the ticket.",
    user_template="Ticket: {text}",
    output_schema={"type": "object", "properties": {"label": {"type": "string"}}},
    output_fields=("label",),
    input_fields=("text",),
)
NO_END = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
SHOUTS = "{% for m in messages %}<|start_header_id|>{{ m.content | upper }}<|eot_id|>{% endfor %}"
SPEC = TrainSpec.preset("tiny-lora")


def dataset(folder: Path, texts: list[str]) -> Dataset:
    count = len(texts)
    table = pa.table({"id": [f"r{i}" for i in range(count)], "text": texts, "label": ["a"] * count})
    return Dataset.write(folder / "data", {"train": table}, task=TASK, how={})


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path, ["It is broken.", "No light at all in the hall.", "Late. " * 40])


def saved(folder: Path, name: str, template: str | None = "") -> Path:
    """A folder with a published model's tokenizer, with another template or None."""
    tokenizer = build(name)
    tokenizer.chat_template = tokenizer.chat_template if template == "" else template
    tokenizer.save_pretrained(folder)
    return folder


def asking(model: Path | str, data: Dataset) -> TokenQuestion:
    return TokenQuestion(
        model=str(model),
        revision=None,
        cache_dir=None,
        data=str(data.path),
        split="train",
        with_task=True,
        max_length=4096,
        overlong="drop",
    )


def asked(model: Path | str, data: Dataset, **changes: Any) -> TokenAnswer:
    return probe.answer(asking(model, data).replace(**changes))


def test_a_base_model_that_fits_the_rows_gives_no_findings(data: Dataset) -> None:
    assert token_findings(SPEC, data) == []


def test_a_max_length_under_which_nothing_fits_is_found_before_the_job(data: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(spec=SPEC.replace(max_length=8, per_device_batch_size=1, batch_tokens=0))
    with pytest.raises(CheckFailed, match=r"nothing-fits\] spec.max_length: no row of the split 'train'") as caught:
        trainer.run(data, on=LocalBackend(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
    (error,) = (v for v in caught.value.violations if v.level == "error")
    takes = int(error.hint.split("max_length=")[1].split()[0])
    found = token_findings(trainer.spec.replace(max_length=takes - 1), data)
    assert [(v.code, v.level) for v in found] == [("rows-do-not-fit", "warning")]
    assert "1 of 3 rows looked at (33%) is longer" in found[0].message
    assert token_findings(trainer.spec.replace(max_length=takes), data) == []


def test_what_is_wrong_with_a_template_is_told_in_words(data: Dataset, tmp_path: Path) -> None:
    folder = saved(tmp_path / "llama", "llama-3", NO_END)
    (found,) = token_findings(SPEC.replace(model=str(folder)), data)
    assert (found.code, found.path, found.level) == ("no-end-token", "model", "error")
    assert "in 3 of 3 rows looked at no token is trained that ends the answer" in found.message
    # Mended, it is looked at again.
    saved(folder, "llama-3")
    assert token_findings(SPEC.replace(model=str(folder)), data) == []


def test_a_fold_of_the_system_prompt_is_warned_of(data: Dataset, tmp_path: Path) -> None:
    (found,) = token_findings(SPEC.replace(model=str(saved(tmp_path / "gemma", "gemma-2"))), data)
    assert (found.code, found.path, found.level) == ("no-system-role", "model", "warning")


def test_the_probe_answers_for_each_kind_of_tokenizer(data: Dataset, tmp_path: Path) -> None:
    for name in ("llama-3", "phi-3", "mistral-2", "gemma-2"):
        answer = asked(saved(tmp_path / name, name), data)
        assert (answer.rows, answer.fitting, answer.without_end, answer.rewritten) == (3, 3, 0, 0)
        assert answer.system_role == (name in ("llama-3", "phi-3"))
        assert 0 < answer.shortest < answer.longest


def test_a_model_without_a_chat_template_is_found(data: Dataset, tmp_path: Path) -> None:
    assert not asked(saved(tmp_path / "base", "llama-3", None), data).chat_template


def test_a_template_that_changes_answers_is_found(data: Dataset, tmp_path: Path) -> None:
    assert asked(saved(tmp_path / "base", "llama-3", SHOUTS), data).rewritten == 3


def test_a_template_that_refuses_the_rows_is_found(data: Dataset, tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", "llama-3", "{{ raise_exception('not today') }}")
    assert "not today" in asked(folder, data).refused


def test_a_broken_tokenizer_is_found(data: Dataset, tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", "llama-3")
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be loaded" in asked(folder, data).problem


def test_a_model_that_is_not_in_the_hubs_cache_is_left_to_the_job(data: Dataset, tmp_path: Path) -> None:
    assert not asked("nobody/nothing", data, cache_dir=str(tmp_path / "cache")).found
    assert token_findings(SPEC.replace(model="nobody/nothing", cache_dir=str(tmp_path / "cache")), data) == []


def test_a_model_in_the_hubs_cache_is_looked_at(data: Dataset, tmp_path: Path) -> None:
    place, commit = tmp_path / "hub" / "models--some--gemma", "0" * 40
    saved(place / "snapshots" / commit, "gemma-2")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    (found,) = token_findings(SPEC.replace(model="some/gemma", cache_dir=str(tmp_path / "hub")), data)
    assert found.code == "no-system-role"


def test_rows_that_are_cut_can_be_trained_while_part_of_the_answer_is_left(data: Dataset, tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", "llama-3")
    whole = asked(folder, data)
    # The answer of the longest row begins some tokens before its end.
    assert asked(folder, data, max_length=whole.longest - 2).fitting == 2
    assert asked(folder, data, max_length=whole.longest - 2, overlong="truncate").fitting == 3
    assert asked(folder, data, max_length=20, overlong="truncate").fitting == 0


def test_among_many_rows_the_one_that_fits_is_found(tmp_path: Path) -> None:
    texts = ["It is broken. " * 30] * 1000
    texts[777] = "Ok."
    folder, data = saved(tmp_path / "base", "llama-3"), dataset(tmp_path, texts)
    answer = asked(folder, data, max_length=150)
    assert answer.fitting == 1
    assert answer.rows < 1000


def test_plain_text_needs_no_chat_template(tmp_path: Path) -> None:
    texts = pa.table({"id": ["a", "b"], "text": ["one", "one two three"], "label": ["", ""]})
    data = Dataset.write(tmp_path / "data", {"train": texts}, task=TASK, how={})
    folder = saved(tmp_path / "base", "llama-3", None)
    answer = asked(folder, data, with_task=False, max_length=4)
    assert (answer.chat_template, answer.rows, answer.fitting, answer.longest) == (True, 2, 1, 14)


def test_the_child_process_loads_no_torch_and_says_what_it_did_not_understand(data: Dataset) -> None:
    code = "import sys; from soaptune.runtime.__main__ import main; main(['probe']); print('torch' in sys.modules)"
    env = {**os.environ, **WITHOUT_TORCH}
    run: Any = {"capture_output": True, "text": True, "check": False, "env": env}
    question = asking(tiny.path(), data).model_dump_json()
    done = subprocess.run([sys.executable, "-c", code], input=question, **run)
    answer, loaded = done.stdout.splitlines()
    assert json.loads(answer)["rows"] == 3
    assert loaded == "False"
    broken = subprocess.run([sys.executable, "-m", "soaptune.runtime", "probe"], input="{}", **run)
    assert broken.returncode == 1
    assert "the question is broken" in broken.stderr
    assert broken.stdout == ""
