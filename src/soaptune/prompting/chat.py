"""Rendering a conversation with a tokenizer's chat template, and knowing where each answer stands in the text.

The template is rendered twice: once as it is, once with marks (private-use characters) around the assistant's
answers. Taking the marks out must give the first text back, and says where the answers are. No answer is ever
searched for, so an answer that also stands in the prompt, or twice in a conversation, is found where it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from soaptune.errors import ConfigError

__all__ = ["ChatTokenizer", "Rendered", "neutralise", "render_prompt", "render_training"]

_THINK = re.compile(r"\A(\s*<think>\s*)(.*?)(</think>\s*)", re.DOTALL)
_PRIVATE_USE = range(0xE000, 0xF8FF - 2)


class ChatTokenizer(Protocol):
    """What rendering needs of a tokenizer; transformers' tokenizers have it."""

    @property
    def all_special_tokens(self) -> list[str]:
        """The control tokens."""
        ...

    def apply_chat_template(self, conversation: list[dict[str, str]], *, tokenize: bool) -> Any:
        """Renders a conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation.

    Attributes:
        text: What the model sees.
        spans: For each answer in the text its first character and the one behind its last. A reasoning block that
            is not empty belongs to its answer; the empty one that templates insert does not.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


def neutralise(text: str, special_tokens: Sequence[str]) -> str:
    """Keeps control tokens that stand in a user's text from acting as such.

    A transcript that contains ``<|im_end|>`` would otherwise end its own turn. A zero-width space after the first
    character makes it ordinary text for the tokenizer and leaves it readable.

    Args:
        text: Text from outside.
        special_tokens: The tokenizer's control tokens.

    Returns:
        The text, changed only where it contains a control token.
    """
    for token in special_tokens:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]}\u200b{token[1:]}")
    return text


def render_training(tokenizer: ChatTokenizer, messages: Sequence[Mapping[str, str]]) -> Rendered:
    """Renders a whole conversation and says where its answers stand.

    Args:
        tokenizer: A tokenizer with a chat template.
        messages: The conversation, answers included.

    Returns:
        The text and the span of each answer that the template kept.

    Raises:
        ConfigError: The tokenizer has no chat template, the template refuses the conversation, or it treats the
            answers in a way that makes their place in the text unknowable.
    """
    special = tokenizer.all_special_tokens
    plain = [{"role": m["role"], "content": neutralise(m["content"], special)} for m in messages]
    marks = _free_marks("".join(m["content"] for m in plain))
    marked = [
        {"role": m["role"], "content": _mark(m["content"], marks) if m["role"] == "assistant" else m["content"]}
        for m in plain
    ]
    text = _apply(tokenizer, plain)
    unmarked, spans = _take_out(_apply(tokenizer, marked), marks)
    if unmarked != text:
        raise ConfigError(
            "the chat template rewrites the assistant's answers, so that their tokens cannot be told from the "
            "prompt's; use a template that inserts message content as it is (or trims it)"
        )
    return Rendered(text, tuple(spans))


def render_prompt(tokenizer: ChatTokenizer, messages: Sequence[Mapping[str, str]]) -> str:
    """Renders the prompt that makes the model answer, byte-identical to what stood before the answer in training.

    Args:
        tokenizer: A tokenizer with a chat template.
        messages: The conversation up to and including the user's turn.

    Returns:
        The text up to where the answer begins (with Qwen3 including the empty think block).

    Raises:
        ConfigError: As `render_training`.
    """
    rendered = render_training(tokenizer, [*messages, {"role": "assistant", "content": "x"}])
    if not rendered.spans:
        raise ConfigError("the chat template does not render the assistant's answer")
    return rendered.text[: rendered.spans[-1][0]]


def _apply(tokenizer: ChatTokenizer, messages: list[dict[str, str]]) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:  # Jinja raises many kinds, templates their own
        raise ConfigError(
            f"the tokenizer's chat template cannot render this conversation ({type(error).__name__}: {error}); "
            f"its roles are {[m['role'] for m in messages]}"
        ) from error


def _free_marks(text: str) -> tuple[str, str, str]:
    """Three private-use characters that do not occur in the text."""
    free: list[str] = []
    for code in _PRIVATE_USE:
        if chr(code) not in text:
            free.append(chr(code))
            if len(free) == 3:
                return free[0], free[1], free[2]
    raise ConfigError("the conversation uses every private-use character of Unicode")


def _mark(content: str, marks: tuple[str, str, str]) -> str:
    """Puts marks inside the outer whitespace, since templates trim; reasoning gets a mark of its own."""
    reasoning, answer, end = marks
    think = _THINK.match(content)
    head, rest = "", content
    if think:
        inner = think.group(2)
        head = think.group(1) + (reasoning if inner.strip() else "") + inner + think.group(3)
        rest = content[think.end() :]
    core = rest.strip()
    lead = rest[: len(rest) - len(rest.lstrip())] if core else ""
    trail = rest[len(lead) + len(core) :] if core else rest
    return head + lead + answer + core + end + trail


def _take_out(marked: str, marks: tuple[str, str, str]) -> tuple[str, list[tuple[int, int]]]:
    reasoning, answer, end = marks
    text: list[str] = []
    spans: list[tuple[int, int]] = []
    length, start = 0, -1
    for piece in re.split(f"([{reasoning}{answer}{end}])", marked):
        if piece == reasoning:
            before = "".join(text).rstrip()
            start = len(before) - len("<think>") if before.endswith("<think>") else length
        elif piece == answer:
            start = length if start < 0 else start
        elif piece == end:
            spans.append((start, length))
            start = -1
        else:
            text.append(piece)
            length += len(piece)
    return "".join(text), spans
