"""The template that other engines get renders what training rendered; the tokenizer is a real one."""

from typing import Any

import pytest

from soaptune.errors import ConfigError
from soaptune.prompting.chat import render_prompt
from soaptune.runtime.engines.chat_template import serving_template
from tests.contract.published_tokenizers import build

THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last and '</think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""The way of Qwen3: the empty think block stands before an answer, but in a generation prompt only when asked for."""

MESSAGES = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Why?"}]


@pytest.fixture
def tokenizer(random_tokenizer: Any) -> Any:
    own = random_tokenizer.chat_template
    yield random_tokenizer
    random_tokenizer.chat_template = own


def rendered(tokenizer: Any, template: str) -> str:
    tokenizer.chat_template = template
    return tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)


def test_a_template_that_renders_the_same_is_left_as_it_is(tokenizer: Any) -> None:
    assert serving_template(tokenizer) == tokenizer.chat_template


def test_thinking_is_switched_off_where_training_had_an_empty_think_block(tokenizer: Any) -> None:
    tokenizer.chat_template = THINKS
    wanted = render_prompt(tokenizer, MESSAGES)
    assert wanted.endswith("<think>\n\n</think>\n\n")
    assert rendered(tokenizer, THINKS) != wanted
    tokenizer.chat_template = THINKS
    made = serving_template(tokenizer)
    assert tokenizer.chat_template == THINKS
    assert rendered(tokenizer, made) == wanted


@pytest.mark.parametrize("name", ["mistral-2", "gemma-2", "llama-3", "phi-3"])
def test_a_template_without_a_system_role_is_given_one(name: str) -> None:
    tokenizer = build(name)
    own = tokenizer.chat_template
    made = serving_template(tokenizer)
    assert (made == own) == (name in ("llama-3", "phi-3"))
    more = [*MESSAGES, {"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"}]
    empty = [{"role": "system", "content": ""}, *MESSAGES[1:]]
    for messages in (MESSAGES, MESSAGES[1:], more, empty):
        tokenizer.chat_template = own
        wanted = render_prompt(tokenizer, messages)
        tokenizer.chat_template = made
        assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == wanted


def test_a_template_that_cannot_be_mended_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
    with pytest.raises(ConfigError, match="other prompts"):
        serving_template(tokenizer)
