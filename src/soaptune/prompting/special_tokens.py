"""A tokenizer's control tokens, and keeping those that stand in someone's text from acting as such.

A tokenizer's list of special tokens is no help here: it names neither Llama-3's ``<|start_header_id|>`` nor Qwen3's
``<tool_call>``. What turns a piece of text into one fixed token is the vocabulary of added tokens; all of them count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from soaptune.errors import ConfigError

__all__ = ["ChatTokenizer", "control_ids", "control_tokens", "escape_special_tokens", "escaping"]

_SEPARATORS = ("\u200b", "\u2060", "\u200c")
"""Zero-width characters: space, word joiner, non-joiner."""

_HTML = re.compile(
    r"</?(table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|sub|sup|code|a|img|p|ul|ol|li)>"
)
"""Gemma's vocabulary has words of HTML and runs of whitespace among its added tokens; they control nothing. Struck text
(``<s>``) is not among them here: in other vocabularies that begins a text."""


class ChatTokenizer(Protocol):
    """What rendering needs of a tokenizer; transformers' fast tokenizers have it."""

    @property
    def all_special_tokens(self) -> list[str]:
        """The tokens that have a role, such as the end of the text."""
        ...

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The added tokens by their ids; each with ``content``, ``special`` and ``normalized``."""
        ...

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        ...

    @property
    def unk_token_id(self) -> int | None:
        """The id of what is not in the vocabulary."""
        ...

    def apply_chat_template(self, conversation: list[dict[str, str]], *, tokenize: bool) -> Any:
        """Renders a conversation."""
        ...


@dataclass(frozen=True, slots=True)
class _Control:
    """A tokenizer's control tokens."""

    added: int
    """How many tokens the tokenizer has added; when it is another number, the rest has to be read again."""
    tokens: tuple[str, ...]
    ids: frozenset[int]
    rewritten: bool
    """Whether the tokenizer looks for some of them in text that it has normalized."""


_known: WeakKeyDictionary[Any, _Control] = WeakKeyDictionary()


def control_tokens(tokenizer: ChatTokenizer) -> tuple[str, ...]:
    """The pieces of text that a tokenizer turns into control tokens.

    Args:
        tokenizer: A tokenizer of transformers.

    Returns:
        All added and special tokens but those that are vocabulary (whitespace, HTML), in order of their ids.
    """
    return _control(tokenizer).tokens


def control_ids(tokenizer: ChatTokenizer) -> frozenset[int]:
    """The ids of `control_tokens`."""
    return _control(tokenizer).ids


def escaping(tokenizer: ChatTokenizer) -> Callable[[str], str]:
    """What keeps control tokens that stand in a text from acting as such, as one tokenizer sees them.

    Args:
        tokenizer: A tokenizer of transformers.

    Returns:
        A function from text to text, which raises `ConfigError` for one in which the tokenizer finds a control token
        whatever is done.
    """
    control = _control(tokenizer)

    def escape(text: str) -> str:
        text = escape_special_tokens(text, control.tokens)
        return _escape_rewritten(tokenizer, text, control.ids) if control.rewritten else text

    return escape


def escape_special_tokens(text: str, tokens: Sequence[str]) -> str:
    """Keeps control tokens that stand in a text from acting as such.

    A transcript that contains ``<|im_end|>`` would otherwise end its own turn. A zero-width space behind the first
    character makes it ordinary text for the tokenizer and leaves it readable.

    Args:
        text: Text from outside.
        tokens: The tokenizer's control tokens, see `control_tokens`.

    Returns:
        The text, changed only where it contains a control token.
    """
    anywhere, beginnings, separator = _patterns(tuple(tokens))
    if not anywhere.search(text):
        return text
    return beginnings.sub(lambda found: found[0] + separator, text)


@lru_cache(maxsize=64)
def _patterns(tokens: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str], str]:
    # Every place where a token begins is looked at by itself, so that tokens which overlap are all taken apart. What a
    # separator adds could only be part of a token that has the separator in it.
    separator = next((each for each in _SEPARATORS if not any(each in token for token in tokens)), "")
    if not separator:
        raise ConfigError("the tokenizer's added tokens use every zero-width character")
    # One character cannot be taken apart, and opens no turn: it may be any sign, as where "!" is named for padding.
    either = "|".join(re.escape(token) for token in tokens if len(token) > 1) or "(?!)"
    return re.compile(either), re.compile(f"(?={either}).", re.DOTALL), separator


def _control(tokenizer: ChatTokenizer) -> _Control:
    added = tokenizer.added_tokens_decoder
    known = _known.get(tokenizer)
    if known is None or known.added != len(added):
        known = _known[tokenizer] = _read(tokenizer, added)
    return known


def _read(tokenizer: ChatTokenizer, added: Mapping[int, Any]) -> _Control:
    kept = {number: token for number, token in added.items() if not _is_vocabulary(token)}
    tokens = [str(token.content) for _, token in sorted(kept.items())]
    ids = {*kept, *tokenizer.all_special_ids} - {tokenizer.unk_token_id}  # any rare character becomes an unknown one
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rewritten = getattr(backend, "normalizer", None) is not None and any(token.normalized for token in kept.values())
    names = tuple(dict.fromkeys(filter(None, [*tokens, *tokenizer.all_special_tokens])))
    return _Control(len(added), names, frozenset(ids), rewritten)


def _is_vocabulary(token: Any) -> bool:
    content = str(token.content)
    if token.special:
        return not content
    return not content.strip(" \t\r\n▁") or len(content) == 1 or _HTML.fullmatch(content) is not None


def _escape_rewritten(tokenizer: Any, text: str, ids: frozenset[int]) -> str:
    """Takes apart what becomes a control token by the tokenizer's normalizer alone, such as its other case."""
    for separator in (*_SEPARATORS, " ", " "):
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        spans = [(start, end) for number, (start, end) in pairs if number in ids and end - start > 1]
        if not spans:
            return text
        for start, end in reversed(spans):
            token = text[start:end]
            at = start + len(token) - len(token.lstrip()) + 1
            text = text[:at] + separator + text[at:]
    raise ConfigError("the text contains a control token that this tokenizer finds however it is written")
