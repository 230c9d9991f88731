"""Labels on real tokenizers: the answer's tokens and its end token, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from soaptune import tiny
from soaptune.prompting import IGNORE_INDEX, has_system_role, label_rows, render_prompt, render_training
from tests.contract.published_tokenizers import build

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=["tiny", "qwen3", "smollm2"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "tiny":
        return transformers.AutoTokenizer.from_pretrained(tiny.path())
    shared: Path = request.getfixturevalue("shared_dir")
    return transformers.AutoTokenizer.from_pretrained(shared / "tokenizers" / request.param)


def trained(tokenizer: Any, *contents: str) -> str:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    (row,) = label_rows(tokenizer, [messages])
    assert row.n_trained == sum(label != IGNORE_INDEX for label in row.labels)
    assert all(label in (IGNORE_INDEX, token) for label, token in zip(row.labels, row.input_ids, strict=True))
    return tokenizer.decode([label for label in row.labels if label != IGNORE_INDEX])


# All four train other tokens, or none, in ArcticTraining 0.8.0's own factory, which searches for the answer's text.
def test_an_answer_that_stands_in_the_prompt_is_trained_once_and_in_its_place(tokenizer: Any) -> None:
    assert trained(tokenizer, "Answer yes or no.", "no") == "no<|im_end|>"


def test_equal_answers_are_all_trained(tokenizer: Any) -> None:
    assert trained(tokenizer, "a", "yes", "b", "yes") == "yes<|im_end|>yes<|im_end|>"


def test_a_think_block_does_not_make_the_users_turn_trained(tokenizer: Any) -> None:
    said = "<think>\nweigh it\n</think>\n\nthe answer"
    assert trained(tokenizer, "the answer", said) == f"{said}<|im_end|>"


def test_json_is_trained_to_the_last_brace(tokenizer: Any) -> None:
    answer = '{"S": "Pain for 3 days, 7/10.", "O": "", "A": "é ü 漢字", "P": "None\\n"}'
    assert trained(tokenizer, "Write it.", answer) == f"{answer}<|im_end|>"


def test_answers_of_whitespace_inside_are_trained_whole(tokenizer: Any) -> None:
    assert trained(tokenizer, "q", "a   b\n\n\n c") == "a   b\n\n\n c<|im_end|>"


def test_no_token_type_ids_get_into_the_rows(tokenizer: Any) -> None:
    (row,) = label_rows(tokenizer, [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]])
    assert len(row.input_ids) == len(row.labels)


def test_tokens_of_prompt_and_answer_are_those_of_the_training_text(tokenizer: Any) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is it?"}]
    answer = {"role": "assistant", "content": '{"A": "flu"}'}
    whole = tokenizer(render_training(tokenizer, [*messages, answer]).text, add_special_tokens=False)["input_ids"]
    prompt = tokenizer(render_prompt(tokenizer, messages), add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] == prompt


def test_the_prompt_is_the_templates_own_generation_prompt(tokenizer: Any) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is it?"}]
    own = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert render_prompt(tokenizer, messages) == own


@pytest.mark.parametrize(
    ("name", "end"),
    [("llama-3", "<|eot_id|>"), ("phi-3", "<|end|>"), ("mistral-2", "</s>"), ("gemma-2", "<end_of_turn>")],
)
def test_the_end_token_is_the_one_that_the_template_writes_behind_an_answer(name: str, end: str) -> None:
    tokenizer = build(name)
    assert trained(tokenizer, "a", '{"A": "flu"}') == f'{{"A": "flu"}}{end}'
    assert trained(tokenizer, "a", "yes", "b", "no") == f"yes{end}no{end}"


def test_an_answer_with_no_token_behind_it_has_no_trained_end() -> None:
    tokenizer = build("llama-3")
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    (row,) = label_rows(tokenizer, [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]])
    assert row.n_ends == 0


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("mistral-2", "<s>[INST] Be short.\n\nWhat is it? [/INST]"),
        ("gemma-2", "<bos><start_of_turn>user\nBe short.\n\nWhat is it?<end_of_turn>\n<start_of_turn>model\n"),
    ],
)
def test_without_a_system_role_the_same_is_served_as_was_trained(name: str, before: str) -> None:
    tokenizer = build(name)
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is it?"}]
    whole = render_training(tokenizer, [*messages, {"role": "assistant", "content": '{"A": "flu"}'}])
    assert not has_system_role(tokenizer)
    assert render_prompt(tokenizer, messages) == before
    assert whole.text[: whole.spans[-1][0]] == before


def test_control_tokens_in_a_transcript_stay_text(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "x <|im_end|> y"}, {"role": "assistant", "content": "no"}]
    (row,) = label_rows(tokenizer, [messages])
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # One for each turn; templates that add a system turn of their own have one more.
    plain = [{"role": "user", "content": "x y"}, messages[1]]
    (other,) = label_rows(tokenizer, [plain])
    assert row.input_ids.count(end) == other.input_ids.count(end)
