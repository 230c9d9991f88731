"""Constrained decoding: keeps an answer to a JSON Schema, token by token, with llguidance.

The layout is the one of the answers in training (``json.dumps`` with its usual separators, fields in the schema's
order), so that a tuned model is led only where it would leave the schema. An answer that nears the end of its tokens
is led to the shortest valid end, and marked as cut.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import torch
from llguidance import LLMatcher, LLParserLimits
from llguidance.hf import from_tokenizer

from soaptune.common.json_text import decode_json
from soaptune.errors import ConfigError, EngineError
from soaptune.runtime.engines.json_cursor import Cursor
from soaptune.runtime.engines.way_out import Hints, Vocabulary, way_to_end
from soaptune.tasks.constrained import longest_step, pattern_characters, with_layout

__all__ = ["Processor", "logits_processor", "shortest_answer"]

_ALLOWED = b"\xc8"  # how llguidance marks a token that may come next
_LARGEST_EXPONENT = 2
"""How many digits an exponent may have: what is larger is no number in JSON's readers."""


@dataclass(frozen=True, eq=False)
class _Grammar:
    """A compiled schema."""

    start: LLMatcher
    """A matcher at the start."""
    shortest: tuple[int, ...]
    """The tokens of the shortest answer, the stop token included."""
    step: int
    """By how many tokens one token can lengthen the way to the end."""
    hints: Hints
    """What helps to find the end of an answer."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of the matcher, which two threads must not use at once."""

    def begin(self) -> LLMatcher:
        """A matcher of one's own at the start."""
        with self.lock:
            return self.start.deep_copy()


_LIMITS = LLParserLimits(verbose_errors=False)
"""The library's own limits on the time and memory of a grammar; its errors would show parts of the answer."""
_READABLE_ERRORS = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)
"""What the walks through a schema raise when it is none."""
_lock = threading.Lock()
_vocabularies: weakref.WeakKeyDictionary[Any, dict[tuple[int, ...], Vocabulary]] = weakref.WeakKeyDictionary()


class Processor:
    """Restricts the next tokens of a batch of answers; made by `logits_processor`.

    It is stateful and for one generation: at its first call it takes what is there for the prompt, and from then on
    reads the tokens that are new.

    Attributes:
        closed: For each row whether its answer was led to its end because its tokens ran out.
    """

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows
        self._seen = -1
        self.closed = [False] * len(rows)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Rules out what does not fit.

        Args:
            input_ids: Prompts with the answers so far, shape (rows, tokens).
            scores: Logits of the next token, shape (rows, vocabulary).

        Returns:
            The logits with tokens that are not allowed at minus infinity; of the same shape.
        """
        length = int(input_ids.shape[1])
        start = length if self._seen < 0 else self._seen
        fresh = cast("list[list[int]]", input_ids[:, start:].tolist())  # pyright: ignore[reportUnknownMemberType]
        self._seen = length
        allowed = torch.stack([row.allowed(new, own) for row, new, own in zip(self._rows, fresh, scores, strict=True)])
        self.closed = [row.closed for row in self._rows]
        return scores.masked_fill(~allowed, float("-inf"))


class _Row:
    """The state of one answer."""

    def __init__(self, vocabulary: Vocabulary, grammar: _Grammar, matcher: LLMatcher, limit: int | None) -> None:
        self._vocabulary = vocabulary
        self._grammar = grammar
        self._matcher = matcher
        self._cursor = Cursor()
        self._left = limit
        self._way: list[int] = list(grammar.shortest)
        self._on_way = True  # whether the way begins where the answer stands
        self._look = self._when_to_look(limit) if limit is not None else -1
        self.closed = False

    def allowed(self, fresh: Sequence[int], scores: torch.Tensor) -> torch.Tensor:
        """Which tokens may come next, as booleans of shape (vocabulary,).

        Args:
            fresh: The tokens since the last call.
            scores: Their logits, shape (vocabulary,).
        """
        if fresh:
            self._take(list(fresh))
        if self.closed:
            return self._only(self._next_on_the_way(), scores)
        marks = b"" if self._matcher.is_error() else self._matcher.compute_logit_bias()
        if _ALLOWED not in marks:
            # The answer is complete, or llguidance gave up (a schema that is too complex) and it cannot be led on.
            return self._only(None, scores)
        allowed = _as_mask(marks, scores)
        barred = [token for token in _barred(self._vocabulary, self._cursor) if token < len(allowed)]
        if barred:
            allowed[barred] = False
        if self._left is None or self._left > self._look:
            self._on_way = False
            return allowed
        return self._with_room_to_end(allowed, scores, self._left)

    def _take(self, fresh: list[int]) -> None:
        self._matcher.consume_tokens(fresh)
        written = [token for token in fresh if token not in self._vocabulary.stop]
        if written:
            self._cursor.feed(self._vocabulary.tokens.decode_bytes(written))
        if self._left is not None:
            self._left -= len(fresh)

    def _when_to_look(self, left: int) -> int:
        """With how many tokens left the way to the end must be looked for again, so that tokens are left for it."""
        spare = (left - len(self._way)) // (self._grammar.step + 1) - 1
        return left if spare <= 0 else left - spare

    def _with_room_to_end(self, allowed: torch.Tensor, scores: torch.Tensor, left: int) -> torch.Tensor:
        """Near the end: takes the model's choice when the answer can still be closed after it, else begins to close."""
        way = self._way if self._on_way else self._way_from(self._matcher.deep_copy(), self._cursor.copy())
        self._on_way = False
        if way is not None:
            self._way = way
            self._look = self._when_to_look(left)
            if self._look < left:
                return allowed
        choice = int(scores.masked_fill(~allowed, float("-inf")).argmax())
        if choice in self._vocabulary.stop:
            return self._only(choice, scores)
        ahead, cursor = self._matcher.deep_copy(), self._cursor.copy()
        ahead.consume_token(choice)
        cursor.feed(self._vocabulary.tokens.decode_bytes([choice]))
        after = self._way_from(ahead, cursor)
        if after is not None and len(after) < left:
            self._way, self._on_way = after, True
            return self._only(choice, scores)
        self.closed = True
        return self._only(self._next_on_the_way(), scores)

    def _way_from(self, matcher: LLMatcher, cursor: Cursor) -> list[int] | None:
        return way_to_end(self._vocabulary, matcher, cursor, self._grammar.hints)

    def _next_on_the_way(self) -> int | None:
        return self._way.pop(0) if self._way else None

    def _only(self, token: int | None, scores: torch.Tensor) -> torch.Tensor:
        """Allows one token, or with None the tokens that end an answer."""
        mask = torch.zeros(scores.shape[-1], dtype=torch.bool, device=scores.device)
        mask[list(self._vocabulary.stop) if token is None else [token]] = True
        return mask


def _barred(vocabulary: Vocabulary, cursor: Cursor) -> list[int]:
    """The tokens that no grammar rules out, but that would make an answer which cannot be read.

    These are a key that stands in its object already, and a number beyond what a float holds.
    """
    if cursor.number:
        return [token for token, text in vocabulary.numeric if _is_too_large(cursor.number + text)]
    taken, so_far = cursor.taken, cursor.string
    if not taken:
        return []
    if so_far is None:
        whole = [b'"' + key + b'"' for key in taken]
        return [token for token, text in vocabulary.quoting if any(key in text for key in whole)]
    rests = tuple(key[len(so_far) :] + b'"' for key in taken if key.startswith(so_far))
    return [token for token, text in vocabulary.quoting if text.startswith(rests)] if rests else []


def _is_too_large(number: bytes) -> bool:
    _, mark, exponent = number.lower().partition(b"e")
    digits = exponent.lstrip(b"+-")
    return bool(mark) and digits[: _LARGEST_EXPONENT + 1].isdigit() and len(digits) > _LARGEST_EXPONENT


def logits_processor(
    tokenizer: Any,
    schema: Mapping[str, Any],
    batch: int = 1,
    *,
    limit: int | None = None,
    stop: Iterable[int] | None = None,
) -> Processor:
    """Makes what keeps a batch of answers to a JSON Schema.

    Args:
        tokenizer: A fast tokenizer of transformers.
        schema: The JSON Schema; its fields are written in its order.
        batch: How many answers.
        limit: How many tokens each may have, the stop token included; None for no limit.
        stop: Ids of the tokens that end an answer; the tokenizer's end-of-sequence token when None.

    Returns:
        A callable ``(input_ids, scores) -> scores``, good for one generation.

    Raises:
        EngineError: The tokenizer is not a fast one, or llguidance cannot follow the schema.
    """
    vocabulary, grammar = _prepared(tokenizer, schema, stop)
    return Processor([_Row(vocabulary, grammar, grammar.begin(), limit) for _ in range(batch)])


def shortest_answer(tokenizer: Any, schema: Mapping[str, Any], *, stop: Iterable[int] | None = None) -> int:
    """How many tokens the shortest answer needs that fits a schema, the stop token included.

    Args:
        tokenizer: As in `logits_processor`.
        schema: As in `logits_processor`.
        stop: As in `logits_processor`.

    Raises:
        EngineError: As in `logits_processor`.
    """
    return len(_prepared(tokenizer, schema, stop)[1].shortest)


def _prepared(tokenizer: Any, schema: Mapping[str, Any], stop: Iterable[int] | None) -> tuple[Vocabulary, _Grammar]:
    ends = tuple(sorted(stop)) if stop is not None else (int(tokenizer.eos_token_id),)
    with _lock:
        known = _vocabularies.setdefault(tokenizer, {})
        if ends not in known:
            known[ends] = _vocabulary(tokenizer, ends)
        vocabulary = known[ends]
    try:
        # As text, not sorted: the order of the fields counts.
        text = json.dumps(schema)
    except _READABLE_ERRORS as error:
        raise EngineError("the JSON Schema is not JSON") from error
    # Not under the lock: a schema that takes long must not hold up the answers to others.
    made = _compiled(vocabulary, text)
    if isinstance(made, str):
        raise EngineError(made)
    return vocabulary, made


def _vocabulary(tokenizer: Any, stop: tuple[int, ...]) -> Vocabulary:
    try:
        tokens = from_tokenizer(tokenizer, eos_token=list(stop))
    except ValueError as error:
        raise EngineError(f"constrained decoding cannot read this tokenizer: {error}") from error
    return Vocabulary(tokens, stop, tokens.vocab_size)


@lru_cache(maxsize=32)
def _compiled(vocabulary: Vocabulary, schema: str) -> _Grammar | str:
    """The grammar, or what is wrong with the schema: that is remembered as well, since it can take as long to find."""
    try:
        # What Python's json writes and JSON does not have, such as NaN, is refused here.
        payload = decode_json(schema)
        for_library = json.dumps(with_layout(payload))
        step, letters = longest_step(payload), pattern_characters(payload)
    except ConfigError as error:
        return str(error)
    except _READABLE_ERRORS:
        return "the JSON Schema is not JSON, or something in it is not of the type that it must be"
    try:
        grammar = LLMatcher.grammar_from_json_schema(for_library)
    except ValueError:
        return "the JSON Schema is not JSON that the grammar library can read"
    start = LLMatcher(vocabulary.tokens, grammar, log_level=0, limits=_LIMITS)
    if start.is_error():
        return f"llguidance cannot follow the JSON Schema: {start.get_error().splitlines()[0]}"
    hints = Hints(tuple(vocabulary.characters[text] for text in letters if text in vocabulary.characters))
    shortest = way_to_end(vocabulary, start.deep_copy(), Cursor(), hints)
    if shortest is None:
        return "no answer can be found that fits the JSON Schema"
    return _Grammar(start, tuple(shortest), step, hints)


def _as_mask(marks: bytes, scores: torch.Tensor) -> torch.Tensor:
    """The bytes of llguidance as booleans; a model's vocabulary may be longer than its tokenizer's, by padding."""
    size = int(scores.shape[-1])
    mask = torch.zeros(size, dtype=torch.bool)
    shared = min(size, len(marks))
    mask[:shared] = torch.frombuffer(bytearray(marks), dtype=torch.uint8)[:shared] != 0
    return mask.to(scores.device)
