"""Text as facts are compared in: tokens without case, punctuation and typography, each with its place."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Token", "normalise", "tokenise"]

_TYPOGRAPHY = str.maketrans(
    {"‘": "'", "’": "'", "‛": "'", "ʼ": "'", "⁄": "/", "∕": "/"} | dict.fromkeys("‐‑‒–—―−", "-")
)
# A number holds its decimals, and what makes one value of several numbers: 120/80, 3-5, 10:30, 2024-01-31. A word
# holds its digits (b12) and apostrophes (don't); "5mg" is a number and a word, "2nd" is a word.
_TOKEN = re.compile(
    r"\d+(?:st|nd|rd|th)(?![^\W_])|(?:\d|(?<![\w.])\.(?=\d))\d*(?:[.,:/-]\d+)*|[^\W\d_](?:[^\W_]|'(?=[^\W_]))*|[%°$€£]"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL = re.compile(r"\d*\.\d+")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a number or a sign.

    Attributes:
        text: Its normal form.
        start: Its first character in the text that was given.
        end: The character behind its last.
        number: Whether it is a number, or several that make one value.
        implicit: Whether the text gives it by "a", "one", "once" or "twice", so that it may not be meant as a number.
    """

    text: str
    start: int
    end: int
    number: bool = False
    implicit: bool = False


def normalise(text: str) -> str:
    """Gives the normal form of a text.

    Definition: Unicode compatibility forms, case and typographic signs are folded (NFKC with case folding), invisible
    characters and punctuation are dropped, white space becomes single spaces. Numbers keep their value and lose what
    is only spelling: ``1,000`` is ``1000``, ``5.0`` is ``5``, ``.5`` is ``0.5``; a number stands apart from its unit
    (``5mg`` is ``5 mg``); ``120/80``, ``3-5`` and ``10:30`` stay one. Number words stay words. It is idempotent.

    Args:
        text: Any text.

    Returns:
        The tokens of the text, joined by single spaces.
    """
    return " ".join(token.text for token in tokenise(text))


@lru_cache(maxsize=512)
def tokenise(text: str) -> tuple[Token, ...]:
    """Splits a text into tokens in normal form, as `normalise` defines them.

    Args:
        text: Any text.

    Returns:
        The tokens in order; their places are those in the text as given.
    """
    folded, places = _fold(text)
    found: list[Token] = []
    for match in _TOKEN.finditer(folded):
        word = match[0]
        number = (word[0].isdecimal() or word[0] == ".") and not word[-1].isalpha()
        start, last = match.start(), match.end() - 1
        span = (start, last + 1) if places is None else (places[start][0], places[last][1])
        found.append(Token(_number(word) if number else word, *span, number=number))
    return tuple(found)


def _number(digits: str) -> str:
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    if _DECIMAL.fullmatch(digits):
        whole, _, rest = digits.partition(".")
        rest = rest.rstrip("0")
        return f"{whole or '0'}.{rest}" if rest else whole or "0"
    return f"0{digits}" if digits.startswith(".") else digits


def _fold(text: str) -> tuple[str, list[tuple[int, int]] | None]:
    """Folds a text; with the place of each character, or None where the places are unchanged."""
    if text.isascii():
        return text.lower(), None
    folded: list[str] = []
    places: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        piece = _fold_piece(text[start:end])
        folded.append(piece)
        places.extend([(start, end)] * len(piece))
        start = end
    return "".join(folded), places


@lru_cache(maxsize=4096)
def _fold_piece(piece: str) -> str:
    piece = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", piece).casefold())
    piece = unicodedata.normalize("NFKC", piece.casefold()).translate(_TYPOGRAPHY)
    return "".join(c for c in piece if unicodedata.category(c) != "Cf")
