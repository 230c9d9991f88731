"""A chat template that other engines render as training did.

They ask a template for a generation prompt, where `soaptune.prompting.chat.render_prompt` looks at what stands before
an answer. For Qwen3 the two differ by the empty think block, which its template writes only when it is asked to; and
where a template has no system role, what is done about it in `soaptune.prompting.chat` has to be done in the template.
"""

from __future__ import annotations

from typing import Any

from soaptune.errors import ConfigError
from soaptune.prompting.chat import FOLDED, render_prompt

__all__ = ["serving_template"]

_WITHOUT_THINKING = "{%- set enable_thinking = false %}"
_WITHOUT_SYSTEM_ROLE = (
    "{%- if messages | length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' %}"
    "{%- set question = messages[1]['content'] %}"
    "{%- if messages[0]['content'] %}{%- set question = messages[0]['content'] + SEPARATOR + question %}{%- endif %}"
    "{%- set messages = [{'role': 'user', 'content': question}] + messages[2:] %}"
    "{%- endif %}"
).replace("SEPARATOR", repr(FOLDED))
_PROBES: tuple[tuple[str, ...], ...] = (("system", "user"), ("user",), ("system", "user", "assistant", "user"))


def serving_template(tokenizer: Any) -> str:
    """The chat template with which an engine that knows nothing of soaptune renders the prompts of training.

    Args:
        tokenizer: The model's tokenizer; it is left as it was.

    Returns:
        The template: the tokenizer's own, or the same with what is missing in its first line: thinking switched off,
        the system prompt put before the first question.

    Raises:
        ConfigError: Neither gives the prompts of training.
    """
    own: str = tokenizer.chat_template
    probes = [
        [{"role": role, "content": f"Words of turn {number}."} for number, role in enumerate(roles)]
        for roles in _PROBES
    ]
    wanted = [_rendered(tokenizer, messages) for messages in probes]
    if not any(wanted):
        raise ConfigError("the chat template renders no conversation of a system prompt and a question")
    try:
        for first_line in ("", _WITHOUT_THINKING, _WITHOUT_SYSTEM_ROLE, _WITHOUT_SYSTEM_ROLE + _WITHOUT_THINKING):
            template = first_line + own
            tokenizer.chat_template = template
            found = [_prompt(tokenizer, messages) for messages in probes]
            if all(w is None or w == f for w, f in zip(wanted, found, strict=True)):
                return template
    finally:
        tokenizer.chat_template = own
    raise ConfigError(
        "vLLM would render other prompts with this chat template than the ones in training, so that the model would "
        "be asked in words that it has not learned; serve it with ServiceOptions(engine=st.engines.Transformers())"
    )


def _rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str | None:
    try:
        return render_prompt(tokenizer, messages)
    except ConfigError:  # a template may refuse system prompts, or more than one question
        return None


def _prompt(tokenizer: Any, messages: list[dict[str, str]]) -> str | None:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception:  # Jinja raises many kinds, templates their own
        return None
