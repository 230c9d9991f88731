"""Stage 1, at reduced size: the script that makes the embedded model makes one like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soaptune import tiny

pytest.importorskip("simple_icd_10_cm", reason="needs the dependency group 'pretrain'")
pytest.importorskip("wonderwords", reason="needs the dependency group 'pretrain'")

MESSAGES = [{"role": "user", "content": "Repeat: 2024"}, {"role": "assistant", "content": "2024"}]
THINK = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="session")
def made(run_example: Callable[..., str], once: Callable[..., Path]) -> Path:
    def pretrain(folder: Path) -> None:
        run_example("pretrain_tiny.py", "--rows", "300", "--max-steps", "3", "--out", "tiny", cwd=folder)

    return once("pretrained", pretrain) / "tiny" / "model"


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def check(folder: Path) -> None:
    """What is said of the embedded model: its size, its split digits, its think block."""
    model, tokenizer = load(folder)
    assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) <= 16_000_000
    assert not [file for file in folder.iterdir() if file.suffix in (".bin", ".pt")]
    assert model.config.model_type == "qwen3"
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.decode(tokenizer.encode("120/80 mg")) == "120/80 mg"
    assert [tokenizer.decode(token) for token in tokenizer.encode("2024")] == ["2", "0", "2", "4"]
    prompt = tokenizer.apply_chat_template(MESSAGES[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert prompt.endswith(f"<|im_start|>assistant\n{THINK}")
    assert whole == f"{prompt}2024<|im_end|>\n"
    assert len(tokenizer.encode("<think></think>")) == 2


def test_pretraining_makes_a_model_that_loads(made: Path) -> None:
    check(made)


def test_the_embedded_model_is_what_is_said_of_it() -> None:
    check(tiny.path())


def test_the_script_makes_the_embedded_model_s_shape_and_template(made: Path) -> None:
    (new, tokenizer), (old, its_tokenizer) = load(made), load(tiny.path())
    shapes = [{name: tuple(value.shape) for name, value in model.named_parameters()} for model in (new, old)]
    assert shapes[0] == shapes[1]
    chat = [{"role": "system", "content": "Repeat."}, *MESSAGES, *MESSAGES]
    texts = [t.apply_chat_template(chat, tokenize=False) for t in (tokenizer, its_tokenizer)]
    assert texts[0] == texts[1]
    assert tokenizer.eos_token == its_tokenizer.eos_token
