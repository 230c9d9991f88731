"""Rendering a conversation with a tokenizer's chat template, and knowing where each answer stands in the text.

The template is rendered twice: once as it is, once with marks (private-use characters) around the assistant's
answers. Taking the marks out must give the first text back, and shows where the answers are. No answer is ever
searched for, so an answer that also stands in the prompt, or twice in a conversation, is found where it belongs.

Everything that renders a conversation (training, evaluation, engines, endpoints) does it here, so that what is served
is what was trained: control tokens in the messages are made plain text, and where the template has no system role the
system prompt stands at the head of the first question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from soaptune.errors import ConfigError
from soaptune.prompting.special_tokens import ChatTokenizer, escaping

__all__ = ["FOLDED", "Rendered", "has_system_role", "render_prompt", "render_training"]

FOLDED = "\n\n"
"""What stands between the system prompt and the first question where the template has no system role."""

_THINK = re.compile(r"\A(\s*<think>\s*)(.*?)(</think>\s*)", re.DOTALL)
_PRIVATE_USE = range(0xE000, 0xF8FF - 2)


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


def render_training(tokenizer: ChatTokenizer, messages: Sequence[Mapping[str, str]]) -> Rendered:
    """Renders a whole conversation and finds where its answers stand.

    Args:
        tokenizer: A tokenizer with a chat template.
        messages: The conversation, answers included.

    Returns:
        The text and the span of each answer that the template kept.

    Raises:
        ConfigError: The tokenizer has no chat template, the template refuses the conversation, or it treats the
            answers in a way that makes their place in the text unknowable.
    """
    escape = escaping(tokenizer)
    plain = _fold(tokenizer, [_escaped(escape, message) for message in messages])
    marks = _free_marks("".join(m["content"] for m in plain))
    marked = [
        {"role": m["role"], "content": _mark(m["content"], marks) if m["role"] == "assistant" else m["content"]}
        for m in plain
    ]
    text = _apply(tokenizer, plain)
    unmarked, spans = _take_out(_apply(tokenizer, marked), marks)
    if unmarked != text:
        raise ConfigError(
            "the chat template rewrites the assistant's answers, so that their tokens cannot be distinguished from the "
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


def has_system_role(tokenizer: ChatTokenizer) -> bool:
    """Whether the chat template renders a system prompt; Gemma's refuses it, and Mistral's of version 0.2.

    Args:
        tokenizer: A tokenizer with a chat template.
    """
    template = getattr(tokenizer, "chat_template", None)
    known = _system_roles.get(tokenizer)
    if known is None or known[0] != template:
        known = _system_roles[tokenizer] = template, _renders_system(tokenizer)
    return known[1]


_system_roles: WeakKeyDictionary[Any, tuple[Any, bool]] = WeakKeyDictionary()
"""For each tokenizer the template that was tried, and whether it has a system role."""


def _renders_system(tokenizer: ChatTokenizer) -> bool:
    prompt = "0123456789"
    turns = (("system", prompt), ("user", "a"), ("assistant", "b"))
    try:
        return prompt in _apply(tokenizer, [{"role": role, "content": content} for role, content in turns])
    except ConfigError:
        return False


def _fold(tokenizer: ChatTokenizer, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Moves the system prompt to the head of the first question where the template has no place for it."""
    if [m["role"] for m in messages[:2]] != ["system", "user"] or has_system_role(tokenizer):
        return messages
    system, question = messages[0]["content"], messages[1]["content"]
    return [{"role": "user", "content": system + FOLDED + question if system else question}, *messages[2:]]


def _escaped(escape: Callable[[str], str], message: Mapping[str, str]) -> dict[str, str]:
    """A message whose control tokens are plain text, but for the marks of the reasoning that an answer begins with."""
    role, content = escape(message["role"]), message["content"]
    think = _THINK.match(content) if role == "assistant" else None
    if think is None:
        return {"role": role, "content": escape(content)}
    return {"role": role, "content": think[1] + escape(think[2]) + think[3] + escape(content[think.end() :])}


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
