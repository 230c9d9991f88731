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
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from soaptune.errors import EngineError

__all__ = ["Processor", "logits_processor", "shortest_answer"]

_ALLOWED = b"\xc8"  # how llguidance marks a token that may come next
_CLOSERS = ('"', "}", "]", ",", "null", "false", "0", "1")
"""What is tried first on the way to the end of an answer, in this order; anything else that fits comes after it.
Digits stand behind the comma, or a number would never end."""

_LONGEST_WAY = 4_096
_SPARE = 16
"""How many tokens before the last chance to close an answer every token is checked for leaving enough room."""


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """A tokenizer as llguidance sees it. Equal only to itself, so that it can be a key of caches."""

    tokens: LLTokenizer
    stop: tuple[int, ...]
    closers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Grammar:
    """A compiled schema: a matcher at its start, and the tokens of the shortest answer, the stop token included."""

    start: LLMatcher
    shortest: tuple[int, ...]


_lock = threading.Lock()
_vocabularies: weakref.WeakKeyDictionary[Any, dict[tuple[int, ...], _Vocabulary]] = weakref.WeakKeyDictionary()


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

    def __init__(self, vocabulary: _Vocabulary, matcher: LLMatcher, shortest: int, limit: int | None) -> None:
        self._vocabulary = vocabulary
        self._matcher = matcher
        self._left = limit
        self._zone = shortest + _SPARE
        self._way: list[int] | None = None
        self.closed = False

    def allowed(self, fresh: Sequence[int], scores: torch.Tensor) -> torch.Tensor:
        """Which tokens may come next, as booleans of shape (vocabulary,).

        Args:
            fresh: The tokens since the last call.
            scores: Their logits, shape (vocabulary,).
        """
        if fresh:
            self._matcher.consume_tokens(list(fresh))
            if self._left is not None:
                self._left -= len(fresh)
        if self.closed:
            return self._only(self._next_on_the_way(), scores)
        marks = b"" if self._matcher.is_error() else self._matcher.compute_logit_bias()
        if _ALLOWED not in marks:
            # The answer is complete, or llguidance gave up (a schema that is too complex) and it cannot be led on.
            return self._only(None, scores)
        allowed = _as_mask(marks, scores)
        if self._left is None or self._left > self._zone:
            return allowed
        return self._with_room_to_end(allowed, scores, self._left)

    def _with_room_to_end(self, allowed: torch.Tensor, scores: torch.Tensor, left: int) -> torch.Tensor:
        """Near the end: takes the model's choice when the answer can still be closed after it, else begins to close."""
        choice = int(scores.masked_fill(~allowed, float("-inf")).argmax())
        if choice in self._vocabulary.stop:
            return self._only(choice, scores)
        ahead = self._matcher.deep_copy()
        ahead.consume_token(choice)
        way = _way_to_end(self._vocabulary, ahead)
        if way is not None and len(way) < left:
            self._way = way
            return self._only(choice, scores)
        if self._way is None:  # the zone begins here
            self._way = _way_to_end(self._vocabulary, self._matcher.deep_copy()) or []
        self.closed = True
        return self._only(self._next_on_the_way(), scores)

    def _next_on_the_way(self) -> int | None:
        return self._way.pop(0) if self._way else None

    def _only(self, token: int | None, scores: torch.Tensor) -> torch.Tensor:
        """Allows one token, or with None the tokens that end an answer."""
        mask = torch.zeros(scores.shape[-1], dtype=torch.bool, device=scores.device)
        mask[list(self._vocabulary.stop) if token is None else [token]] = True
        return mask


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
    with _lock:  # a matcher must not be used by two threads at once
        copies = [grammar.start.deep_copy() for _ in range(batch)]
    return Processor([_Row(vocabulary, copy, len(grammar.shortest), limit) for copy in copies])


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


def _prepared(tokenizer: Any, schema: Mapping[str, Any], stop: Iterable[int] | None) -> tuple[_Vocabulary, _Grammar]:
    ends = tuple(sorted(stop)) if stop is not None else (int(tokenizer.eos_token_id),)
    with _lock:
        known = _vocabularies.setdefault(tokenizer, {})
        if ends not in known:
            known[ends] = _vocabulary(tokenizer, ends)
        # As text, not sorted: the order of the fields counts.
        return known[ends], _compiled(known[ends], json.dumps(schema))


def _vocabulary(tokenizer: Any, stop: tuple[int, ...]) -> _Vocabulary:
    try:
        tokens = from_tokenizer(tokenizer, eos_token=list(stop))
    except ValueError as error:
        raise EngineError(f"constrained decoding cannot read this tokenizer: {error}") from error
    spelled = [tokens.tokenize_str(text) for text in _CLOSERS]
    return _Vocabulary(tokens, stop, tuple(ids[0] for ids in spelled if ids))


@lru_cache(maxsize=64)
def _compiled(vocabulary: _Vocabulary, schema: str) -> _Grammar:
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            schema, overrides={"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
        )
    except ValueError as error:  # what Python's json writes and JSON does not have, such as NaN
        raise EngineError("the JSON Schema is not JSON") from error
    start = LLMatcher(vocabulary.tokens, grammar, log_level=0)
    if start.is_error():
        raise EngineError(f"llguidance cannot follow the JSON Schema: {start.get_error().splitlines()[0]}")
    shortest = _way_to_end(vocabulary, start.deep_copy())
    if shortest is None:
        raise EngineError("no answer can be found that fits the JSON Schema")
    return _Grammar(start, tuple(shortest))


def _way_to_end(vocabulary: _Vocabulary, matcher: LLMatcher) -> list[int] | None:
    """A short way from a state to a complete answer, as tokens with the stop token; None when there is none.

    Args:
        vocabulary: The tokens.
        matcher: At the state; it is used up.
    """
    way: list[int] = []
    while len(way) < _LONGEST_WAY and not matcher.is_error():
        if matcher.is_accepting():
            return [*way, vocabulary.stop[0]]
        tokens = matcher.compute_ff_tokens()
        if not tokens:
            marks = matcher.compute_logit_bias()
            first = marks.find(_ALLOWED)
            if first < 0:
                return None
            tokens = [next((token for token in vocabulary.closers if marks[token] == _ALLOWED[0]), first)]
        matcher.consume_tokens(tokens)
        way += tokens
    return None


def _as_mask(marks: bytes, scores: torch.Tensor) -> torch.Tensor:
    """The bytes of llguidance as booleans; a model's vocabulary may be longer than its tokenizer's, by padding."""
    size = int(scores.shape[-1])
    mask = torch.zeros(size, dtype=torch.bool)
    shared = min(size, len(marks))
    mask[:shared] = torch.frombuffer(bytearray(marks), dtype=torch.uint8)[:shared] != 0
    return mask.to(scores.device)
