"""Makes the embedded base model ``soaptune/tiny`` again, from a seed: stage 1 of the two-stage pattern.

    python examples/pretrain_tiny.py --out tiny

A tokenizer is trained on the corpus of ``pretrain_corpus.py``, and a Qwen3-architecture model of 5.2 M parameters is
pre-trained on it with ArcticTraining's causal trainer (preset ``tiny-pretrain``), which takes about an hour on two idle
cores. The corpus teaches finding and copying; the SOAP task, its prompt and its dialogues are not in it. Needs
the packages of the dependency group ``pretrain``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pretrain_corpus
import pyarrow as pa
import torch
from pydantic import BaseModel
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

import soaptune as st

SEED = 7


class Answer(BaseModel):
    """What a row of the corpus asks for."""

    answer: str


# The rows bring their own conversations; the task only names the parts.
TASK = st.Task(
    name="copying",
    system_prompt="",
    user_template="{instruction}\n\n{text}",
    output=Answer,
    rubric={"answer": "Exactly what the text says."},
)
VOCABULARY = 4_096
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THINK = ["<think>", "</think>"]
TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.last and '</think>' not in message.content %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is not defined or enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}"""


def make_tokenizer(rows: list[dict[str, Any]], folder: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE with digits split, ChatML with Qwen3's empty think block."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = [m["content"] for row in rows[:: max(1, len(rows) // 6_000)] for m in row["messages"][:2]]
    texts += [phrase.lower() for phrase in pretrain_corpus.vocabulary().phrases[:8_000]] + pretrain_corpus.CHAT * 40
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = VOCABULARY - len(THINK)
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in THINK])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        model_max_length=2_048,
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return fast


def make_shape(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes config and random weights: the starting point of pre-training."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        rope_theta=10_000.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder, safe_serialization=True)


def parts(row: dict[str, Any]) -> dict[str, str]:
    instruction, text, answer = (turn["content"] for turn in row["messages"])
    return {"instruction": instruction, "text": text, "answer": answer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=55_000, help="conversations in the corpus")
    parser.add_argument(
        "--max-steps", type=int, default=None, help="stop after so many steps (the whole corpus when unset)"
    )
    parser.add_argument("--out", type=Path, default=Path("tiny"), help="folder for the model and the runs")
    options = parser.parse_args()
    out = options.out.absolute()

    rows = list(pretrain_corpus.corpus(SEED, options.rows))
    make_shape(make_tokenizer(rows, out / "start"), out / "start")
    corpus = st.Dataset.write(
        out / "corpus",
        {"train": pa.Table.from_pylist([{**row, **parts(row)} for row in rows])},
        task=TASK,
        how={"script": "examples/pretrain_tiny.py", "seed": SEED, "rows": options.rows},
        synthetic=True,
    )
    spec = st.TrainSpec.preset("tiny-pretrain").replace(model=str(out / "start"), initialization="pretrained")
    if options.max_steps:
        spec = spec.replace(max_steps=options.max_steps)
    model = st.Trainer(spec=spec).run(corpus, on=st.LocalBackend(out / "runs"))

    # bf16 halves the file; training and serving on a CPU read it as fp32.
    weights = AutoModelForCausalLM.from_pretrained(model.weights, dtype=torch.float32).to(torch.bfloat16)
    weights.save_pretrained(out / "model", safe_serialization=True)
    AutoTokenizer.from_pretrained(model.weights).save_pretrained(out / "model")
    print(f"The model is in {out / 'model'}")


if __name__ == "__main__":
    main()
