"""Text as metrics compare it: words and numbers in one spelling, without case, punctuation and number words."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["UNITS", "contains", "is_number", "normalise"]

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|%|/")
_LETTERS = re.compile("[a-z]+")
_ONES = _LETTERS.findall(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = {
    word: 10 * n for n, word in enumerate(_LETTERS.findall("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
_SMALL = {word: n for n, word in enumerate(_ONES)}
_SPELLINGS = {
    "%": "percent",
    "milligram": "mg",
    "microgram": "mcg",
    "µg": "mcg",
    "gram": "g",
    "kilogram": "kg",
    "milliliter": "ml",
    "millilitre": "ml",
    "liter": "l",
    "litre": "l",
    "centimeter": "cm",
    "millimeter": "mm",
    "kilometer": "km",
    "meter": "m",
    "hr": "hour",
    "min": "minute",
    "yr": "year",
    "wk": "week",
    "mo": "month",
    "lb": "pound",
    "celsius": "c",
    "fahrenheit": "f",
}
_MEASURES = (
    "percent mg mcg g kg ml l cm mm km m minute hour day week month year time pound ounce dollar euro unit degree c f "
    "tablet capsule drop puff dose beat breath point inch mile"
)
UNITS = frozenset(_LETTERS.findall(_MEASURES))
"""Words that, right behind a number, say what it counts."""


def is_number(token: str) -> bool:
    """Whether a token of normalised text is a number."""
    return token[0].isdigit()


def contains(text: tuple[str, ...], part: tuple[str, ...]) -> bool:
    """Whether the words of a part stand in a text, whole, side by side and in order; an empty part never does."""
    return bool(part) and f" {' '.join(part)} " in f" {' '.join(text)} "


@lru_cache(maxsize=50_000)
def normalise(text: str) -> tuple[str, ...]:
    """Splits a text into words and numbers in one spelling.

    Case and punctuation go; ``25mg`` is a number and a unit; ``one hundred and twenty over eighty``, ``120 over 80``
    and ``120/80`` are the same; number words become digits; units lose their plural and their long form.

    Args:
        text: Any text.

    Returns:
        The tokens in order.
    """
    digits = _with_digits(_TOKEN.findall(text.lower()))
    tokens: list[str] = []
    for index, word in enumerate(digits):
        between = 0 < index < len(digits) - 1 and is_number(digits[index - 1]) and is_number(digits[index + 1])
        if word in ("/", "over"):
            if between:
                tokens.append("/")
            elif word == "over":
                tokens.append(word)
        elif is_number(word):
            tokens.append(_number(word))
        else:
            tokens.append(_unit(word) if tokens and is_number(tokens[-1]) else _SPELLINGS.get(word, word))
    return tuple(tokens)


def _unit(word: str) -> str:
    for form in (word, word[:-1] if word.endswith("s") else word):
        known = _SPELLINGS.get(form, form)
        if known in UNITS:
            return known
    return word


def _number(digits: str) -> str:
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", digits):
        digits = digits.replace(",", "")
    whole, point, rest = digits.partition(".")
    rest = rest.rstrip("0") if "." not in rest and "," not in digits else rest
    return (whole.lstrip("0") or "0") + (point + rest if rest else "")


def _with_digits(words: list[str]) -> list[str]:
    """Replaces number words up to 999 by digits; "one" only before a unit, since it is mostly a pronoun."""
    out: list[str] = []
    index = 0
    while index < len(words):
        value, used = _number_words(words, index)
        if used == 1 and value == 1 and _unit(words[index + 1] if index + 1 < len(words) else "") not in UNITS:
            used = 0
        out.append(str(value) if used else words[index])
        index += used or 1
    return out


def _number_words(words: list[str], start: int) -> tuple[int, int]:
    value, used = _below_hundred(words, start)
    if used and value < 10 and words[start + used : start + used + 1] == ["hundred"]:
        value, used = value * 100, used + 1
        link = 1 if words[start + used : start + used + 1] == ["and"] else 0
        rest, more = _below_hundred(words, start + used + link)
        if more:
            value, used = value + rest, used + link + more
    return value, used


def _below_hundred(words: list[str], start: int) -> tuple[int, int]:
    if start >= len(words):
        return 0, 0
    word = words[start]
    if word in _SMALL:
        return _SMALL[word], 1
    if word in _TENS:
        after = words[start + 1] if start + 1 < len(words) else ""
        one = _SMALL.get(after, 0)
        return (_TENS[word] + one, 2) if 0 < one < 10 else (_TENS[word], 1)
    return 0, 0
