"""The slots of a visit: what the templates of dialogues and notes may name, and which kind of fact each one holds."""

from __future__ import annotations

from soaptune.generation.scripts import Slots

__all__ = ["AXIS_VALUES", "KINDS", "LISTS", "visit_slots"]

LISTS = {"symptom": 4, "denied": 3, "history": 3, "finding": 3, "instruction": 2}
"""How many items the lists of a visit may have."""

_FACTS = {
    "age": "age",
    "person": "sex",
    "complaint": "complaint",
    "duration": "duration",
    "discharge": "history",
    "severity": "severity",
    "course": "course",
    "modifier": "modifier",
    "remedy": "remedy",
    "impact": "impact",
    "home_drug": "medication",
    "home_dose": "dose",
    "home_frequency": "frequency",
    "allergy": "allergy",
    "smoking": "history",
    "vaccines": "history",
    "relation": "relative",
    "family": "family_history",
    "diagnosis": "diagnosis",
    "drug": "drug",
    "dose": "dose",
    "route": "route",
    "frequency": "frequency",
    "treatment": "treatment",
    "instruction3": "instruction",
    "precaution": "instruction",
    "follow_up": "follow_up",
    **{f"symptom{j}": "symptom" for j in range(1, 5)},
    **{f"denied{j}": "negative" for j in range(1, 4)},
    **{f"history{j}": "history" for j in range(1, 4)},
    **{f"vital{j}": "vital" for j in range(1, 6)},
    **{f"finding{j}": "finding" for j in range(1, 4)},
    **{f"instruction{j}": "instruction" for j in range(1, 3)},
}

_WORDING = (
    *("who", "reporter", "i", "i_have", "i_am", "my", "me", "you", "your", "you_obj", "you_have", "do_you", "are_you"),
    *("have_you", "we", "we_have", "we_are", "a_age", "route_gap"),
    *(f"{name}_gap{j}" for name, most in LISTS.items() for j in range(1, most)),
    *(f"vlabel{j}" for j in range(1, 6)),
    *(f"vital_gap{j}" for j in range(1, 5)),
)

_NAMES = (*_FACTS, *_WORDING)

KINDS = tuple(_FACTS.get(name, "") for name in _NAMES)
"""The kind of fact of each slot, in the slots' order; empty for those that only make a sentence fit its speaker."""

AXIS_VALUES = {
    "voice": ("self", "carer"),
    "place": ("clinic", "remote"),
    "kind": ("problem", "preventive"),
    "allergy": ("none", "some"),
    "treatment": ("drug", "other"),
    "smoking": ("never", "former", "current"),
}
"""What a phrase's ``when`` may ask for, besides the visit contexts of the lexicon."""


def _listed(name: str, most: int) -> str:
    parts = [f"{{{name}{j}}}{{{name}_gap{j}}}" for j in range(1, most)]
    return "".join(parts) + f"{{{name}{most}}}"


def visit_slots() -> Slots:
    """The slots and the names that stand for several of them."""
    macros = {
        "symptoms": _listed("symptom", 4),
        "denied": _listed("denied", 3),
        "history": _listed("history", 3),
        "findings": _listed("finding", 3),
        "advice": _listed("instruction", 2),
        "drug_plan": "{drug} {dose}{route_gap}{route} {frequency}",
        "home_plan": "{home_drug} {home_dose} {home_frequency}",
        "vitals": "".join(f"{{vlabel{j}}}{{vital{j}}}{{vital_gap{j}}}" for j in range(1, 5)) + "{vlabel5}{vital5}",
    }
    return Slots(_NAMES, macros)
