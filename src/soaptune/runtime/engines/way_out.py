"""The way to the end of a constrained answer: a short valid completion from wherever the answer has come to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from soaptune.runtime.engines.json_cursor import Cursor

__all__ = ["Hints", "Vocabulary", "way_to_end"]

_ALLOWED = 0xC8  # how llguidance marks a token that may come next
_STRUCTURE = ("}", "]", ",", "null", "false", "true", *"0123456789-", '"', "[", "{", ":", " ")
"""What is tried outside of strings on the way to the end, in this order: what closes before what opens."""
_NUMBER_ENDS = ("}", "]", ",")
_FILLERS = ("a", "0", "A", " ", "-", ".")
"""Characters of which a text is lengthened first that is too short to end."""
_LONGEST_WAY = 8_192
_SECONDS = 2.0
"""How much computing time the search of a way may take; what is found at all is found in a small part of it."""
_SHORT_FILL = 32
_LONGEST_FILL = 4_096
_REMEMBERED = 4_096
_DEEPEST = 256
_WIDEST = 12
_CANDIDATES = 24


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A tokenizer as llguidance sees it. Equal only to itself, so that it can be a key of caches."""

    tokens: LLTokenizer
    stop: tuple[int, ...]
    size: int
    """How many tokens there are."""
    characters: dict[str, int] = field(init=False)
    """The token of each character of ASCII that has one of its own."""
    structure: tuple[int, ...] = field(init=False)
    number_ends: tuple[int, ...] = field(init=False)
    quoting: tuple[tuple[int, bytes], ...] = field(init=False)
    """The tokens that hold a quote, with their bytes."""
    numeric: tuple[tuple[int, bytes], ...] = field(init=False)
    """The tokens that begin as a number may go on, with their bytes."""

    def __post_init__(self) -> None:
        spelled = [self.tokens.tokenize_str(chr(code)) for code in range(0x20, 0x7F)]
        characters = {chr(0x20 + place): ids[0] for place, ids in enumerate(spelled) if len(ids) == 1}
        structure = [self.tokens.tokenize_str(text) for text in _STRUCTURE]
        texts = [(token, self.tokens.decode_bytes([token])) for token in range(self.size) if token not in self.stop]
        values: dict[str, Any] = {
            "characters": characters,
            "structure": tuple(ids[0] for ids in structure if ids),
            "number_ends": tuple(characters[end] for end in _NUMBER_ENDS if end in characters),
            "quoting": tuple((token, text) for token, text in texts if b'"' in text),
            "numeric": tuple((token, text) for token, text in texts if text[:1] in b"0123456789+-.eE" and text),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Hints:
    """What is known of a schema when the end of an answer is looked for."""

    preferred: tuple[int, ...] = ()
    """The tokens of the characters that stand in its patterns."""
    found: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    """How a string or a number was ended before, by what could come next there."""


def way_to_end(vocabulary: Vocabulary, matcher: LLMatcher, cursor: Cursor, hints: Hints) -> list[int] | None:
    """A short way from a state to a complete answer, as tokens with the stop token; None when none is found.

    Args:
        vocabulary: The tokens.
        matcher: At the state; it is used up.
        cursor: Where the text stands; it is used up.
        hints: What is known of the schema.
    """
    way: list[int] = []
    end = time.thread_time() + _SECONDS
    while len(way) < _LONGEST_WAY and not matcher.is_error() and time.thread_time() < end:
        if matcher.is_accepting():
            return [*way, vocabulary.stop[0]]
        tokens = matcher.compute_ff_tokens() or _next(vocabulary, matcher, cursor, hints, end)
        if not tokens or not matcher.consume_tokens(tokens):
            return None
        cursor.feed(vocabulary.tokens.decode_bytes(tokens))
        way += tokens
    return None


def _next(vocabulary: Vocabulary, matcher: LLMatcher, cursor: Cursor, hints: Hints, until: float) -> list[int]:
    """The next tokens of the way, where several are possible."""
    quote = vocabulary.characters['"']
    if cursor.string is not None:
        return _reach(vocabulary, matcher, _Goal(vocabulary, (quote,), cursor), hints, until)
    if cursor.number:
        return _reach(vocabulary, matcher, _Goal(vocabulary, vocabulary.number_ends, cursor), hints, until)
    for token in vocabulary.structure:
        if matcher.validate_tokens([token]) == 1:
            return [token]
    allowed = _allowed(matcher)
    return allowed[:1]


class _Goal:
    """What ends the string or the number that is being written."""

    def __init__(self, vocabulary: Vocabulary, ends: Sequence[int], cursor: Cursor) -> None:
        self._ends = ends
        self._taken = cursor.taken if cursor.string is not None else frozenset[bytes]()
        self._so_far = cursor.string or b""
        self._tokens = vocabulary.tokens

    def end(self, path: Sequence[int], matcher: LLMatcher, last: Sequence[int] = ()) -> int | None:
        """The token that ends it after a path and some last tokens that the matcher has yet to take, or None."""
        if self._taken and self._so_far + self._tokens.decode_bytes([*path, *last]) in self._taken:
            return None  # the key stands in its object already
        wanted = len(last) + 1
        return next((end for end in self._ends if matcher.validate_tokens([*last, end]) == wanted), None)


def _reach(vocabulary: Vocabulary, matcher: LLMatcher, goal: _Goal, hints: Hints, until: float) -> list[int]:
    """The tokens up to and with the one that ends a string or a number; empty when none are found."""
    end = goal.end([], matcher)
    if end is not None:
        return [end]
    place = hash(matcher.compute_logit_bias())
    known = hints.found.get(place)
    # Another state may let the same tokens through: what was found there is tried here, and its end chosen anew.
    if known and matcher.validate_tokens(known) == len(known):
        end = goal.end([], matcher, known)
        if end is not None:
            return [*known, end]
    fillers = [vocabulary.characters[text] for text in _FILLERS if text in vocabulary.characters]
    found = (
        _filled(matcher, goal, fillers, _SHORT_FILL, until)
        or _searched(vocabulary, matcher, goal, hints, until)
        or _filled(matcher, goal, fillers, _LONGEST_FILL, until)
    )
    if len(hints.found) < _REMEMBERED:
        hints.found[place] = found[:-1]
    return found


def _filled(matcher: LLMatcher, goal: _Goal, fillers: Sequence[int], most: int, until: float) -> list[int]:
    """Tries one character over and over."""
    live = [(filler, matcher.deep_copy()) for filler in fillers]
    for count in range(1, most + 1):
        live = [(filler, state) for filler, state in live if state.validate_tokens([filler]) == 1]
        if not live or time.thread_time() > until:
            break
        for filler, state in live:
            state.consume_token(filler)
            end = goal.end([filler] * count, state)
            if end is not None:
                return [*[filler] * count, end]
    return []


@dataclass(frozen=True)
class _Text:
    """A text that was tried, and what could come next at its places: the state itself is not to be seen."""

    path: list[int]
    state: LLMatcher
    came: tuple[bytes, ...]
    """What could come next, without immediate repetitions."""
    run: int = 0
    """How often the last of these was repeated."""

    def then(self, token: int) -> _Text | None:
        ahead = self.state.deep_copy()
        if not ahead.consume_token(token):
            return None
        marks = ahead.compute_logit_bias()
        if marks == self.came[-1]:
            return _Text([*self.path, token], ahead, self.came, self.run + 1)
        return _Text([*self.path, token], ahead, (*self.came, marks))

    def rank(self) -> tuple[int, int, int]:
        """What has seen the most different states, and has been the longest in its own, is the nearest to the end."""
        return -len(set(self.came)), len(self.came), -self.run


def _searched(vocabulary: Vocabulary, matcher: LLMatcher, goal: _Goal, hints: Hints, until: float) -> list[int]:
    """Goes through the texts by their length. Of those of one length that came the same way, one is enough."""
    level = [_Text([], matcher, (matcher.compute_logit_bias(),))]
    for _ in range(_DEEPEST):
        following: dict[tuple[tuple[bytes, ...], int], _Text] = {}
        for text in level:
            if time.thread_time() > until:
                return []
            choices = _choices(vocabulary, text.state, text.came[-1], hints)
            for token in choices:
                end = goal.end(text.path, text.state, [token])
                if end is not None:
                    return [*text.path, token, end]
            for made in filter(None, map(text.then, choices)):
                following.setdefault((made.came, made.run), made)
        level = sorted(following.values(), key=_Text.rank)[:_WIDEST]
        if not level:
            break
    return []


def _choices(vocabulary: Vocabulary, matcher: LLMatcher, marks: bytes, hints: Hints) -> list[int]:
    quote, escape = (vocabulary.characters.get(text) for text in '"\\')
    plain = [t for t in vocabulary.characters.values() if marks[t] == _ALLOWED and t not in (quote, escape)]
    if len(plain) > _CANDIDATES:
        first = {*hints.preferred, *(vocabulary.characters[text] for text in _FILLERS if text in vocabulary.characters)}
        plain = [token for token in plain if token in first] or plain
    # Where no plain character fits, it may be one beyond ASCII or an escape.
    return plain or _allowed(matcher)[:_CANDIDATES]


def _allowed(matcher: LLMatcher) -> list[int]:
    return [token for token, mark in enumerate(matcher.compute_logit_bias()) if mark == _ALLOWED]
