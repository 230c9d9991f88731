"""Whether a statement is made or denied: "fever" and "no fever" have a word in common and nothing else.

The rules are those of plain English and deliberately few. A cue such as "no" or "denies" reaches forward over a list
("no fever, chills or cough"), a verb's cue ("not") only to the next comma or "and". Both end with the sentence, with a
word such as "but", and at a verb that begins a new statement ("no fever, has a cough"). Behind what it denies a cue
stands at once ("fever: none", "fever is absent").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from soaptune.facts.text import Token

__all__ = ["denied_at", "denies", "strip_denial"]

_LIST_CUES = frozenset(
    {"no", "denies", "denied", "deny", "denying", "without", "nor", "neither", "none", "negative", "absent"}
)
_VERB_CUES = frozenset({"not", "never", "cannot", "avoid"})
_BREAK_WORDS = """
but however although though except because since so then yet still has have had is are was were been does do did reports
reported says said states stated notes noted feels felt continue continues start starts started take takes took use uses
used return follow call give given please will should must can may
"""
_BREAKS = frozenset(_BREAK_WORDS.split())
_NO_DENIAL = frozenset({("no", "more"), ("no", "longer"), ("not", "only"), ("no", "later"), ("no", "less")})
_BEHIND = frozenset({"absent", "denied", "none", "negative", "no"})
_LINKS = frozenset({"is", "was", "are", "were"})
_SENTENCE_END = re.compile(r"[.;!?\n]")


def strip_denial(words: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Splits a value that is itself a denial: ``no fever`` is the denial of ``fever``.

    Args:
        words: The value's words in normal form.

    Returns:
        The words without a cue in front, and whether there was one. A value of nothing but a cue stays as it is.
    """
    if len(words) > 1 and words[0] in _LIST_CUES and tuple(words[:2]) not in _NO_DENIAL:
        return tuple(words[1:]), True
    return tuple(words), False


def denies(words: Sequence[str]) -> bool:
    """Whether some word among these is a cue, so that a phrase says by itself what it denies."""
    return any(word in _LIST_CUES or word in _VERB_CUES or word.endswith("n't") for word in words)


def denied_at(text: str, tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether a text denies what some of its tokens say.

    Args:
        text: The text.
        tokens: All its tokens.
        start: The index of the first token of the statement.
        end: The index behind its last.

    Returns:
        True when a cue reaches the statement.
    """
    return _cue_before(text, tokens, start) or _cue_behind(text, tokens, end)


def _cue_before(text: str, tokens: Sequence[Token], start: int) -> bool:
    within_clause = True
    for index in range(start - 1, -1, -1):
        word, after = tokens[index], tokens[index + 1]
        gap = text[word.end : after.start]
        if _SENTENCE_END.search(gap):
            return False
        if "," in gap:
            within_clause = False
        if word.text in _LIST_CUES:
            return (word.text, after.text) not in _NO_DENIAL
        if word.text in _VERB_CUES or word.text.endswith("n't"):
            return within_clause and (word.text, after.text) not in _NO_DENIAL
        if word.text in _BREAKS and not _auxiliary(tokens, index):
            return False
        if word.text in ("and", "or"):
            within_clause = within_clause and word.text == "or"
    return False


def _auxiliary(tokens: Sequence[Token], index: int) -> bool:
    """Whether a verb only carries a cue that stands before or behind it ("does not have", "not have")."""
    before = tokens[index - 1].text if index else ""
    return before in _VERB_CUES or before.endswith("n't")


def _cue_behind(text: str, tokens: Sequence[Token], end: int) -> bool:
    index = end
    if index < len(tokens) and tokens[index].text in _LINKS:
        index += 1
    if index >= len(tokens) or tokens[index].text not in _BEHIND:
        return False
    gap = text[tokens[end - 1].end : tokens[index].start]
    if _SENTENCE_END.search(gap) or "," in gap:
        return False
    if tokens[index].text in ("no", "none", "negative"):
        # "fever no" at its end or with a colon; "fever, no cough" denies the cough.
        ends = index + 1 == len(tokens) or bool(
            re.search(r"[.;,\n]", text[tokens[index].end : tokens[index + 1].start])
        )
        return ends or (":" in gap and tokens[index].text != "no")
    return True
