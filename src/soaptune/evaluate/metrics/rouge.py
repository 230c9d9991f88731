"""ROUGE-L: how much of a text's wording another one keeps, in order.

C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", ACL workshop 2004: precision and recall of the
longest common subsequence of words, joined as F1 (beta = 1). Words are runs of letters and digits in lower case,
without stemming. The length of the subsequence is computed bit-parallel: H. Hyyrö, "Bit-parallel LCS-length computation
revisited", AWOCA 2004.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["lcs_length", "rouge_l", "rouge_l_fields"]

_WORD = re.compile(r"[^\W_]+")


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence of two word lists."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | (1 << index)
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(first) - bin(row).count("1")


def rouge_l(reference: str, prediction: str) -> float:
    """ROUGE-L F1 of two texts.

    Args:
        reference: The text to compare with.
        prediction: The text that was written.

    Returns:
        A share from 0 to 1; 1 when neither text has a word.
    """
    wanted, written = _words(reference), _words(prediction)
    if not wanted or not written:
        return float(wanted == written)
    common = lcs_length(wanted, written)
    return 2 * common / (len(wanted) + len(written))


def rouge_l_fields(reference: Mapping[str, str], prediction: Mapping[str, str] | None) -> float:
    """The mean of ROUGE-L over the output fields; 0 for a prediction that is not a valid output."""
    if prediction is None or not reference:
        return 0.0
    return sum(rouge_l(text, prediction.get(field, "")) for field, text in reference.items()) / len(reference)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
