"""Numbers and quantities in text, however they are spelled or said.

`canonical` brings the tokens of a text into the one spelling in which this package compares: digits for number words,
``120/80`` for "120 over 80", ``8/10`` for "8 out of 10", ``mg`` for "milligrams".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from soaptune.facts.text import Token, tokenise
from soaptune.facts.units import CLOCK, PHRASES, UNITS, unit

__all__ = ["Quantity", "canonical", "numbers", "quantities"]

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_SMALL = {word: n for n, word in enumerate(_ONES.split())}
_ROUND = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * n for n, word in enumerate(_ROUND.split(), 2)}
_OFTEN = {"once": "1", "twice": "2", "thrice": "3"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that a text states.

    Attributes:
        number: The number in digits, or several that make one value (``"25"``, ``"0.5"``, ``"120/80"``, ``"3-5"``).
        unit: The unit behind it in its one spelling (``"mg"``), or an empty string.
        start: Its first character in the text.
        end: The character behind its last, unit included.
        implicit: Whether the text says it by "a", "one", "once" or "twice", so that it may not be meant as a number.
    """

    number: str
    unit: str
    start: int
    end: int
    implicit: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The single numbers of it: ``("120", "80")``."""
        return tuple(self.number.replace("-", "/").replace(":", "/").split("/"))

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".strip()


def numbers(text: str) -> tuple[str, ...]:
    """Gives the numbers of a text in digits, in order, repeats included.

    Definition: the ``number`` of each of its `quantities` that is not implicit.

    Args:
        text: Any text.
    """
    return tuple(found.number for found in quantities(text) if not found.implicit)


def quantities(text: str) -> tuple[Quantity, ...]:
    """Finds the numbers of a text with their units.

    Definition: a number in digits or words, alone or as a value of several (blood pressure ``120/80``, score
    ``8/10``, range ``3-5``, date, time of day), and the unit of measure right behind it, also with a hyphen ("6-week").
    Ordinals ("2nd", "second"), numbers in names ("b12") and the marks of a numbered list ("1." or "2)" at the start of
    a line) are none.

    Args:
        text: Any text.

    Returns:
        The quantities in order.
    """
    tokens = canonical(text)
    found: list[Quantity] = []
    for index, token in enumerate(tokens):
        if not token.number or _enumerates(text, token):
            continue
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        joined = after is not None and after.text in UNITS and not text[token.end : after.start].strip(" \t\n-")
        end = after.end if after is not None and joined else token.end
        name = after.text if after is not None and joined else ""
        found.append(Quantity(token.text, name, token.start, end, implicit=token.implicit))
    return tuple(found)


@lru_cache(maxsize=512)
def canonical(text: str) -> tuple[Token, ...]:
    """Splits a text into tokens in the one spelling in which this package compares.

    Definition: the tokens of `tokenise` with number words as digits (up to 999,999, decimals with "point"; "once" and
    "twice" as 1 and 2 times; "a", "an" and "one" only before a unit of time), "a over b" and "a out of b" of two
    numbers as ``a/b``, units behind a number in one spelling, and "/" between units as "per".

    Args:
        text: Any text.

    Returns:
        The tokens in order; their places are those in the text as given.
    """
    return _with_units(text, _with_ratios(text, _with_digits(text, tokenise(text))))


def _with_digits(text: str, tokens: Sequence[Token]) -> list[Token]:
    out: list[Token] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        follower = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if token.text in _OFTEN:
            out.append(Token(_OFTEN[token.text], token.start, token.end, number=True, implicit=True))
            out.append(Token("time", token.end, token.end))
            index += 1
            continue
        if token.text in ("a", "an", "one") and unit(follower) in CLOCK:
            out.append(Token("1", token.start, token.end, number=True, implicit=True))
            index += 1
            continue
        value, used = _spoken(text, tokens, index)
        if used == 0 or (used == 1 and token.text == "one"):  # "this one" is no number
            out.append(token)
            index += 1
        else:
            out.append(Token(value, token.start, tokens[index + used - 1].end, number=True))
            index += used
    return out


def _spoken(text: str, tokens: Sequence[Token], start: int) -> tuple[str, int]:
    """The number that is said in words from a token on, and how many tokens say it; ("", 0) when none is."""
    words = [tokens[start].text]
    for left, right in zip(tokens[start:], tokens[start + 1 : start + 12], strict=False):
        if text[left.end : right.start].strip(" \t\n-"):
            break  # "twenty, five" is two numbers
        words.append(right.text)
    total, used = _below_thousand(words, 0)
    if not used:
        return "", 0
    if words[used : used + 1] == ["thousand"]:
        link = used + 1 + (words[used + 1 : used + 2] == ["and"])
        rest, end = _below_thousand(words, link)
        total, used = total * 1000 + rest, end or used + 1
    decimals = ""
    if words[used : used + 1] == ["point"]:
        for word in words[used + 1 :]:
            if _SMALL.get(word, 10) > 9:
                break
            decimals += str(_SMALL[word])
    if decimals:
        return f"{total}.{decimals}".rstrip("0").rstrip("."), used + 1 + len(decimals)
    return str(total), used


def _below_thousand(words: Sequence[str], start: int) -> tuple[int, int]:
    """A number below 1,000 and the index behind it, or (0, 0)."""
    if words[start : start + 2] == ["a", "hundred"]:
        total, index = 100, start + 2
    else:
        total, index = _below_hundred(words, start)
        if not index:
            return 0, 0
        if total < 10 and words[index : index + 1] == ["hundred"]:
            total, index = total * 100, index + 1
        elif 0 < total < 10 and "over" in words[index + 1 : index + 3]:
            rest, end = _below_hundred(words, index)  # "one twenty over eighty"
            return (
                (total * 100 + rest, end) if end and rest > 9 and words[end : end + 1] == ["over"] else (total, index)
            )
        else:
            return total, index
    link = index + (words[index : index + 1] == ["and"])
    rest, end = _below_hundred(words, link)
    return (total + rest, end) if end else (total, index)


def _below_hundred(words: Sequence[str], start: int) -> tuple[int, int]:
    """A number below 100 and the index behind it, or (0, 0)."""
    word = words[start] if start < len(words) else ""
    if word in _SMALL:
        return _SMALL[word], start + 1
    if word not in _TENS:
        return 0, 0
    one = _SMALL.get(words[start + 1], 0) if start + 1 < len(words) else 0
    return (_TENS[word] + one, start + 2) if 0 < one < 10 else (_TENS[word], start + 1)


def _with_ratios(text: str, tokens: Sequence[Token]) -> list[Token]:
    out: list[Token] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        words = tuple(each.text for each in tokens[index + 1 : index + 3])
        skip = 1 if words[:1] == ("over",) else 2 if words == ("out", "of") else 0
        spaced = (
            token.number and index + 1 < len(tokens) and text[token.end : tokens[index + 1].start].strip(" ") == "/"
        )
        other = tokens[index + skip + 1] if (skip or spaced) and index + skip + 1 < len(tokens) else None
        if token.number and other is not None and other.number and _single(token) and _single(other):
            out.append(Token(f"{token.text}/{other.text}", token.start, other.end, number=True))
            index += skip + 2
        else:
            out.append(token)
            index += 1
    return out


def _single(token: Token) -> bool:
    return not token.implicit and not any(sign in token.text for sign in "/-:,")


def _with_units(text: str, tokens: Sequence[Token]) -> tuple[Token, ...]:
    out: list[Token] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        before = out[-1] if out else None
        slash = before is not None and text[before.end : token.start].strip() == "/"
        if slash and unit(token.text) and before is not None and (before.number or before.text in UNITS):
            out += [Token("per", before.end, token.start), Token(unit(token.text), token.start, token.end)]
            index += 1
            continue
        if before is None or not before.number or token.number:
            after_per = before is not None and before.text in ("per", "a", "every") and not token.number
            known = unit(token.text) if after_per else ""
            out.append(Token(known, token.start, token.end) if known in CLOCK else token)
            index += 1
            continue
        phrase = next((p for p in PHRASES if tuple(t.text for t in tokens[index : index + len(p)]) == p), None)
        if phrase:
            end = tokens[index + len(phrase) - 1].end
            out += [Token(word, token.start, end) for word in PHRASES[phrase]]
            index += len(phrase)
            continue
        known = unit(token.text)
        out.append(Token(known, token.start, token.end) if known else token)
        index += 1
    return tuple(out)


def _enumerates(text: str, token: Token) -> bool:
    """Whether a number is the mark of a list's item: alone at the start of a line, with a point or bracket behind."""
    line = text.rfind("\n", 0, token.start) + 1
    behind = text[token.end : token.end + 2]
    starts = not text[line : token.start].strip(" \t(")
    return (
        token.text.isdigit() and len(token.text) <= 2 and starts and behind[:1] in (".", ")") and behind[1:].isspace()
    )
