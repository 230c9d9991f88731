"""The lexicon as arrays: for each condition and age group, which strings a visit may draw."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from soaptune.generation.arrays import Ints, numpy
from soaptune.generation.pools import Pool, Ragged
from soaptune.generation.protocol import Pools
from soaptune.soap.vocabulary import VITALS, AgeGroup, Condition, Lexicon, Treatment

__all__ = ["SEXES", "CaseTables", "TreatmentTables", "case_tables"]

SEXES = ("female", "male")
_DAYS = {"hour": 0.05, "day": 1, "week": 7, "month": 30, "year": 365}


@dataclass(frozen=True)
class TreatmentTables:
    """The treatments of all conditions.

    Attributes:
        drug: Each treatment's drug, 0 for one without.
        text: What a treatment without a drug is, 0 for a drug.
        route: How the drug is given, 0 where that goes without saying.
        doses: Each treatment's doses.
        frequencies: How often each is taken.
        allergies: The allergies with which each treatment may be given.
    """

    drug: Ints
    text: Ints
    route: Ints
    doses: Ragged
    frequencies: Ragged
    allergies: Ragged


@dataclass(frozen=True)
class CaseTables:
    """What visits draw from. A *case* is a condition at an age: ``condition * age_groups + age_group``.

    Attributes:
        name: Each condition's name.
        sexes: The sexes that each condition occurs in.
        complaints: By condition.
        symptoms: By condition.
        denied: By condition.
        instructions: By condition.
        follow_up: By condition.
        findings: By condition, two for each: in the clinic, by video.
        precautions: By condition, two for each: for young children, for all others.
        durations: By case.
        duration_days: The same in whole days, at least 1.
        treatments: By case, indices into `treatment`.
        history: By case, two for each: female, male. Indices into `history_texts`.
        history_texts: Ids of all history items.
        home: By history item, the medicines that an adult takes for it, as indices into `home_medicines`.
        home_medicines: Drug, dose and frequency of each, shape ``(m, 3)``.
        vitals: Lowest and highest value by case, shape ``(cases, 6, 2)``; temperatures in tenths of a degree Celsius.
        smoking_known: Conditions of which the smoking is told elsewhere, or that it should not be asked of.
        no_home: Conditions with which medicines from home are not told, because not all of them would fit.
        treatment: The treatments.
    """

    name: Ints
    sexes: Ragged
    complaints: Ragged
    symptoms: Ragged
    denied: Ragged
    instructions: Ragged
    follow_up: Ragged
    findings: Ragged
    precautions: Ragged
    durations: Ragged
    duration_days: Ragged
    treatments: Ragged
    history: Ragged
    history_texts: Ints
    home: Ragged
    home_medicines: Ints
    vitals: Ints
    smoking_known: Ints
    no_home: Ints
    treatment: TreatmentTables


def _days(amount: int, unit: str) -> float:
    return amount * _DAYS[unit.rstrip("s")]


def _durations(condition: Condition, age: AgeGroup) -> list[tuple[int, str]]:
    """How long it may have lasted: not longer than three quarters of the youngest patient's life."""
    said = condition.duration
    options = [(n, unit) for unit in said.unit for n in range(said.min, said.max + 1)]
    fitting = [(n, unit) for n, unit in options if _days(n, unit) <= 0.75 * age.min_days]
    fitting = fitting or [min(options, key=lambda option: _days(*option))]
    return [(n, unit.rstrip("s")) for n, unit in fitting]


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[a-z]{4,}", text.lower())}


def _mentions(condition: Condition, words: Iterable[str]) -> bool:
    texts = (condition.name, *condition.complaints, *condition.symptoms, *(h.text for h in condition.history))
    more = (*condition.instructions, *(t.drug or t.text for t in condition.treatments))
    told = " ".join((*texts, *more)).lower()
    return any(word in told for word in words)


def _denied(condition: Condition, fever_words: Iterable[str]) -> list[str]:
    present = {*condition.complaints, *condition.symptoms, *(f.text for f in condition.findings)}
    hot = condition.vitals.get("temperature", (0.0, 37.0))[1] >= 37.8
    items = [text for text in condition.denied if text not in present]
    return [text for text in items if not (hot and any(word in text for word in fever_words))]


def _findings(condition: Condition, *, video: bool) -> list[str]:
    if video:
        return [f.text for f in condition.findings if f.remote]
    return [f.text for f in condition.findings if not (f.remote and _words([f.text]) & {"camera", "video", "screen"})]


def _treats(treatment: Treatment, condition: Condition, age: AgeGroup) -> bool:
    return age.name in (treatment.ages or condition.ages)


def case_tables(lexicon: Lexicon, *, pools: Pools, pool: Pool) -> CaseTables:
    """Compiles the lexicon.

    Args:
        lexicon: The lexicon.
        pools: Which allergies occur. Conditions are all in the tables; the grid's cells say which of them occur.
        pool: Where the strings go.

    Returns:
        The tables.
    """
    np = numpy()

    extras = lexicon.extras
    conditions, ages = lexicon.conditions, lexicon.age_groups
    history_texts = sorted({h.text for c in conditions for h in c.history})
    history_at = {text: k for k, text in enumerate(history_texts)}
    treatments = [(c, t) for c in conditions for t in c.treatments]
    treatment_at = {id(t): k for k, (_, t) in enumerate(treatments)}
    allergies = [a.name for a in lexicon.allergies if a.held_out == (pools == "held_out")]
    home = lexicon.home
    medicines = [(m.drug, m.dose, m.frequency) for text in history_texts for m in home.get(text, ())]
    medicines_of: list[list[int]] = []
    for text in history_texts:
        first = sum(len(items) for items in medicines_of)
        medicines_of.append(list(range(first, first + len(home.get(text, ())))))

    def history(condition: Condition, age: AgeGroup, sex: str) -> list[int]:
        told = {*condition.complaints, *condition.symptoms, condition.name}
        fitting = [h for h in condition.history if age.name in (h.ages or condition.ages) and h.sex in ("any", sex)]
        return [history_at[h.text] for h in fitting if h.text not in told]

    def precautions(condition: Condition, key: str) -> list[str]:
        told = _words((*condition.complaints, *condition.symptoms, condition.name))
        return [text for text in extras[key] if not _words([text]) & told] or list(extras[key])

    def ranges(condition: Condition, age: AgeGroup) -> list[tuple[int, int]]:
        found = [condition.vitals.get(name) or lexicon.vitals[age.name][name] for name in VITALS]
        scale = [10 if name == "temperature" else 1 for name in VITALS]
        return [(round(low * k), round(high * k)) for (low, high), k in zip(found, scale, strict=True)]

    def strings(lists: Iterable[Iterable[str]]) -> Ragged:
        return Ragged([pool.add_all(items) for items in lists])

    lasting = [_durations(c, age) for c in conditions for age in ages]
    sexes = [[k for k, sex in enumerate(SEXES) if c.sex in ("any", sex)] for c in conditions]
    return CaseTables(
        name=np.array(pool.add_all(c.name for c in conditions)),
        sexes=Ragged(sexes),
        complaints=strings(c.complaints for c in conditions),
        symptoms=strings(c.symptoms for c in conditions),
        denied=strings(_denied(c, extras["fever_words"]) for c in conditions),
        instructions=strings(c.instructions for c in conditions),
        follow_up=strings(c.follow_up for c in conditions),
        findings=strings(_findings(c, video=video) for c in conditions for video in (False, True)),
        precautions=strings(precautions(c, key) for c in conditions for key in ("precaution_young", "precaution")),
        durations=strings([f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in case] for case in lasting),
        duration_days=Ragged([[max(1, int(_days(n, unit))) for n, unit in case] for case in lasting]),
        treatments=Ragged(
            [[treatment_at[id(t)] for t in c.treatments if _treats(t, c, age)] for c in conditions for age in ages]
        ),
        history=Ragged([history(c, age, sex) for c in conditions for age in ages for sex in SEXES]),
        history_texts=np.array(pool.add_all(history_texts)),
        home=Ragged(medicines_of),
        home_medicines=np.array([pool.add_all(m) for m in medicines] or [[0, 0, 0]]),
        vitals=np.array([ranges(c, age) for c in conditions for age in ages]),
        smoking_known=np.array([_mentions(c, extras["no_smoking_words"]) for c in conditions]),
        no_home=np.array([_mentions(c, extras["no_home_words"]) for c in conditions]),
        treatment=TreatmentTables(
            drug=np.array([pool.add(t.drug or "") for _, t in treatments]),
            text=np.array([pool.add("" if t.drug else t.text) for _, t in treatments]),
            route=np.array([pool.add(t.route) for _, t in treatments]),
            doses=strings(t.doses or ("",) for _, t in treatments),
            frequencies=strings(t.frequency or ("",) for _, t in treatments),
            allergies=strings([a for a in allergies if not _clashes(a, c, t)] for c, t in treatments),
        ),
    )


def _clashes(allergy: str, condition: Condition, treatment: Treatment) -> bool:
    """Whether an allergy rules a treatment out, or is what the visit is about."""
    stem = allergy.rstrip("s")
    return allergy in treatment.avoid_allergy or stem in (treatment.drug or treatment.text) or stem in condition.name
