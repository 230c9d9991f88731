"""Facts: finding and matching statements in text, shared by audit, metrics and judges.

Nothing here knows a domain. Texts are compared word by word in one spelling; no meaning is understood, and each
function states what it counts.
"""

from soaptune.facts.items import Item, Vocabulary, unstated
from soaptune.facts.matching import DENIED_KINDS, FieldScore, TermIndex, contains, find, plain_text, score_facts
from soaptune.facts.numbers import Quantity, numbers, quantities
from soaptune.facts.text import normalise
from soaptune.facts.unsupported import unsupported_numbers

__all__ = [
    "DENIED_KINDS",
    "FieldScore",
    "Item",
    "Quantity",
    "TermIndex",
    "Vocabulary",
    "contains",
    "find",
    "normalise",
    "numbers",
    "plain_text",
    "quantities",
    "score_facts",
    "unstated",
    "unsupported_numbers",
]
