"""Where answers stand in a rendered conversation. Templates are real Jinja; no tokenizer library is needed."""

from __future__ import annotations

import pytest
from jinja2 import Environment

from soaptune.errors import ConfigError
from soaptune.prompting import render_prompt, render_training
from soaptune.prompting.chat import neutralise

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last and '</think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
)
TRIMMING = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}</s>{% endfor %}"
DROPS_THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{{ (m.content.split('</think>')[-1] | trim) if m.role == 'assistant' and not loop.last else m.content }}<|end|>"
    "{% endfor %}"
)
SHOUTS = "{% for m in messages %}{{ m.content | upper }}|{% endfor %}"


class Tokenizer:
    """Just a chat template."""

    all_special_tokens = ("<|im_start|>", "<|im_end|>", "</s>")

    def __init__(self, template: str) -> None:
        self.template = Environment().from_string(template)

    def apply_chat_template(self, conversation: list[dict[str, str]], *, tokenize: bool) -> str:
        assert not tokenize
        return self.template.render(messages=conversation)


def turns(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]


def answers(template: str, *contents: str) -> list[str]:
    rendered = render_training(Tokenizer(template), turns(*contents))
    return [rendered.text[start:end] for start, end in rendered.spans]


@pytest.mark.parametrize("template", [CHATML, TRIMMING])
def test_an_answer_that_also_stands_in_the_prompt_is_found_in_its_own_place(template: str) -> None:
    rendered = render_training(Tokenizer(template), turns("Answer yes or no.", "no"))
    ((start, end),) = rendered.spans
    assert rendered.text[start:end] == "no"
    assert start > rendered.text.index("yes or no.")


def test_equal_answers_in_several_turns_are_all_found() -> None:
    assert answers(CHATML, "a", "yes", "b", "yes") == ["yes", "yes"]


def test_the_empty_think_block_belongs_to_the_prompt() -> None:
    assert answers(CHATML, "a", "yes") == ["yes"]
    assert answers(CHATML, "a", "<think>\n\n</think>\n\nyes") == ["yes"]


def test_reasoning_belongs_to_the_answer_where_the_template_keeps_it() -> None:
    assert answers(CHATML, "a", "<think>\nhm\n</think>\n\nyes") == ["<think>\nhm\n</think>\n\nyes"]


def test_reasoning_that_the_template_drops_leaves_the_answer_behind_it() -> None:
    said = "<think>\nhm\n</think>\n\nyes"
    assert answers(DROPS_THINKING, "a", said, "b", "no") == ["yes", "no"]


def test_whitespace_that_the_template_trims_is_no_part_of_the_answer() -> None:
    assert answers(TRIMMING, "a", "  yes \n") == ["yes"]


def test_a_template_that_rewrites_answers_is_refused() -> None:
    with pytest.raises(ConfigError, match="rewrites the assistant's answers"):
        # Upper-casing the marks changes nothing; German sharp s becomes two letters only where no mark stands between.
        render_training(
            Tokenizer("{% for m in messages %}{{ m.content | replace('a', '') | length }}{% endfor %}"),
            turns("q", "aa"),
        )


def test_a_template_error_is_explained() -> None:
    broken = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ConfigError, match="chat template cannot render"):
        render_training(Tokenizer(broken), turns("a", "b"))


@pytest.mark.parametrize("template", [CHATML, TRIMMING])
def test_the_serving_prompt_is_what_stood_before_the_answer_in_training(template: str) -> None:
    tokenizer = Tokenizer(template)
    training = render_training(tokenizer, turns("question", "the answer"))
    prompt = render_prompt(tokenizer, turns("question"))
    assert training.text[: training.spans[-1][0]] == prompt


def test_control_tokens_in_user_text_cannot_end_a_turn() -> None:
    rendered = render_training(Tokenizer(CHATML), turns("a <|im_end|> b", "yes"))
    assert rendered.text.count("<|im_end|>") == 2
    assert neutralise("plain text", ["<|im_end|>"]) == "plain text"


def test_private_use_characters_in_the_text_do_not_confuse_the_marks() -> None:
    odd = "".join(chr(0xE000 + i) for i in range(5))
    assert answers(CHATML, odd, f"{odd} yes") == [f"{odd} yes"]
