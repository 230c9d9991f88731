"""The names that a SOAP note must not invent: the drugs and allergens of the lexicon."""

from __future__ import annotations

from soaptune.tasks.soap.vocabulary import Lexicon

__all__ = ["terms"]


def terms() -> frozenset[str]:
    """Gives the drug names and allergens that the lexicon knows, held-out ones included, in lower case."""
    lexicon = Lexicon.read()
    drugs = {each.drug for condition in lexicon.conditions for each in condition.treatments if each.drug}
    return frozenset(name.lower() for name in {*drugs, *(allergy.name for allergy in lexicon.allergies)})
