"""The names that a SOAP note must not invent: all drugs and allergens that the lexicon can say."""

from __future__ import annotations

from soaptune.soap.vocabulary import Lexicon

__all__ = ["terms"]


def terms() -> frozenset[str]:
    """Gives the drugs that are prescribed, those taken at home and the allergens, held-out ones included.

    Returns:
        The names in lower case.
    """
    lexicon = Lexicon.read()
    prescribed = {each.drug for condition in lexicon.conditions for each in condition.treatments if each.drug}
    taken = {medicine.drug for medicines in lexicon.home.values() for medicine in medicines}
    return frozenset(name.lower() for name in {*prescribed, *taken, *(each.name for each in lexicon.allergies)})
