"""Finding values in text, and scoring a prediction by an example's facts.

A value is found where its words and numbers stand whole, side by side and in order, in the spelling of
`soaptune.facts.numbers.canonical`: "5 mg" is in "take 5mg daily" and in "five milligrams", and not in "25 mg".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from soaptune.facts.numbers import canonical
from soaptune.facts.polarity import denied_at, denies, strip_denial
from soaptune.tasks.fact import Fact

__all__ = ["DENIED_KINDS", "FieldScore", "TermIndex", "contains", "find", "plain_text", "score_facts"]

DENIED_KINDS = frozenset({"denied", "denial", "absent", "negated", "negative"})
"""Kinds of facts whose value must be denied by the text: a fact ``denied: fever`` is stated by "no fever"."""

_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class FieldScore:
    """What became of the facts of one output field.

    Attributes:
        found: The facts that stand in this field.
        misplaced: Those that do not, but stand in another field.
        missing: Those that stand nowhere.
    """

    found: tuple[Fact, ...]
    misplaced: tuple[Fact, ...]
    missing: tuple[Fact, ...]

    @property
    def hits(self) -> int:
        """How many facts stand where they belong."""
        return len(self.found)

    @property
    def total(self) -> int:
        """How many facts belong into the field."""
        return len(self.found) + len(self.misplaced) + len(self.missing)


def contains(text: str, value: str, kind: str = "") -> bool:
    """Whether a text states a value.

    Definition: the value's words and numbers stand in the text whole, side by side and in order, apart from case, white
    space, punctuation, hyphens, the spelling of numbers and units, and an article in front. They count as stated where
    the text does not deny them (see `soaptune.facts.polarity`). For a kind among `DENIED_KINDS`, and for a value that
    is a denial itself ("no fever"), they count where the text does deny them. Values with a number are not tested for
    denial, and a paraphrase is not found.

    Args:
        text: Where to look.
        value: What to look for; an empty value is never found.
        kind: The kind of the fact, or an empty string.
    """
    return bool(find(text, value, kind))


def find(text: str, value: str, kind: str = "") -> list[tuple[int, int]]:
    """Finds the places at which a text states a value, as `contains` defines it.

    Args:
        text: Where to look.
        value: What to look for.
        kind: The kind of the fact, or an empty string.

    Returns:
        First character and the one behind the last, for each place in order.
    """
    tokens = canonical(text)
    words, denied = _wanted(value, kind)
    check = denied or not _is_exempt(value)
    return [
        (tokens[start].start, tokens[start + len(words) - 1].end)
        for start in _places([token.text for token in tokens], words)
        if not check or denied_at(text, tokens, start, start + len(words)) == denied
    ]


@lru_cache(maxsize=4096)
def _wanted(value: str, kind: str) -> tuple[tuple[str, ...], bool]:
    words, denied = strip_denial(_words(value))
    while len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    return words, denied or kind in DENIED_KINDS


@lru_cache(maxsize=4096)
def _is_exempt(value: str) -> bool:
    return any(token.number for token in canonical(value)) or denies(_words(value))


def _words(text: str) -> tuple[str, ...]:
    return tuple(token.text for token in canonical(text))


def _places(words: Sequence[str], wanted: Sequence[str]) -> Iterator[int]:
    if not wanted:
        return
    size, target = len(wanted), list(wanted)
    for start in range(len(words) - size + 1):
        if words[start] == target[0] and list(words[start : start + size]) == target:
            yield start


def plain_text(value: Any) -> str:
    """Gives the text in which facts of an output field are looked for.

    Args:
        value: The field's value: a string, a number, or lists and objects of them.

    Returns:
        All its strings and numbers, one to a line; an empty string for None.
    """
    if isinstance(value, Mapping):
        return "\n".join(plain_text(item) for item in cast("Mapping[str, Any]", value).values())
    if isinstance(value, (list, tuple)):
        return "\n".join(plain_text(item) for item in cast("Sequence[Any]", value))
    return "" if value is None else str(value)


def score_facts(facts: Iterable[Fact], prediction: Mapping[str, Any] | None) -> dict[str, FieldScore]:
    """Scores a prediction by an example's facts.

    Definition: a fact is found when the prediction's text of the fact's field `contains` its value, misplaced when only
    another field does, and missing otherwise. The recall of a field is ``hits / total``.

    Args:
        facts: The facts of the example.
        prediction: The predicted output by field, or None for an answer that is no valid output.

    Returns:
        A score for each field that has a fact, in the order in which the fields first occur.
    """
    texts = {field: plain_text(value) for field, value in (prediction or {}).items()}
    fates: dict[str, tuple[list[Fact], list[Fact], list[Fact]]] = {}
    for fact in facts:
        found, misplaced, missing = fates.setdefault(fact.field, ([], [], []))
        if contains(texts.get(fact.field, ""), fact.value, fact.kind):
            found.append(fact)
        elif any(contains(text, fact.value, fact.kind) for field, text in texts.items() if field != fact.field):
            misplaced.append(fact)
        else:
            missing.append(fact)
    return {field: FieldScore(*(tuple(part) for part in parts)) for field, parts in fates.items()}


class TermIndex:
    """Many terms, found in a text in one pass.

    Args:
        terms: The terms; those that are the same in normal form count once.
    """

    def __init__(self, terms: Collection[str]) -> None:
        self._terms = {words: term for term in sorted(terms, reverse=True) if (words := _words(term))}
        lengths: dict[str, set[int]] = {}
        for words in self._terms:
            lengths.setdefault(words[0], set()).add(len(words))
        self._lengths = {word: sorted(found, reverse=True) for word, found in lengths.items()}

    def __len__(self) -> int:
        return len(self._terms)

    def find(self, text: str) -> list[tuple[str, int, int]]:
        """Finds the terms of a text: from the left, the longest first, without overlap.

        Args:
            text: Where to look.

        Returns:
            For each place the term as it was given, its first character and the one behind its last.
        """
        tokens = canonical(text)
        words = tuple(token.text for token in tokens)
        found: list[tuple[str, int, int]] = []
        index = 0
        while index < len(words):
            runs = (words[index : index + size] for size in self._lengths.get(words[index], ()))
            run = next((words for words in runs if words in self._terms), ())
            if run:
                found.append((self._terms[run], tokens[index].start, tokens[index + len(run) - 1].end))
            index += len(run) or 1
        return found
