"""Draws visits: whole columns of who comes with what, and what is found and done, all of it fitting together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soaptune.generation.arrays import Bools, Ints, numpy
from soaptune.generation.random import Draws
from soaptune.soap.levels import Levels
from soaptune.soap.slots import LISTS
from soaptune.soap.speech import SlotColumns, Speech
from soaptune.soap.tables import CaseTables

__all__ = ["Patients", "Visits", "draw_visits"]

_PREVENTIVE_LACKS = ("severity", "course", "modifier", "remedy", "impact")


@dataclass(frozen=True)
class Patients:
    """Who comes, and where; all columns of shape ``(n,)``.

    Attributes:
        condition: Index of the condition.
        group: Index of the age group.
        context: Index of the visit context.
        level: Index of the verbosity level.
        sex: 0 female, 1 male.
        age: In years, or in months for the age groups that are told in months.
        carer: Whether a carer speaks.
        remote: Whether it is a video visit.
        discharged: Whether it follows a hospital stay.
        later: Whether it is about something that was seen before.
        preventive: Whether nothing is wrong.
    """

    condition: Ints
    group: Ints
    context: Ints
    level: Ints
    sex: Ints
    age: Ints
    carer: Bools
    remote: Bools
    discharged: Bools
    later: Bools
    preventive: Bools


@dataclass(frozen=True)
class Visits:
    """Visits as the templates need them.

    Attributes:
        present: Which passages each visit has.
        axes: What phrases depend on.
        said: The slots' texts in the dialogue, as ids, shape ``(n, slots)``.
        written: The slots' texts in the note, as ids, shape ``(n, slots)``.
    """

    present: dict[str, Bools]
    axes: dict[str, Ints]
    said: Ints
    written: Ints


def _count(draws: Draws, levels: Levels, level: Ints, name: str) -> Ints:
    low, high = levels.counts[name][level].T
    return draws.between(f"count.{name}", low, high)


def draw_visits(
    draws: Draws, patients: Patients, *, tables: CaseTables, levels: Levels, speech: Speech, age_groups: Sequence[str]
) -> Visits:
    """Draws everything about some visits.

    Args:
        draws: The rows' random numbers.
        patients: Who comes.
        tables: What there is to draw from.
        levels: How much is told at each verbosity level.
        speech: How numbers are told and who speaks how.
        age_groups: The names of the age groups.

    Returns:
        The visits.
    """
    np = numpy()

    p, n = patients, draws.n
    sheet = SlotColumns(n)
    case = p.condition * len(age_groups) + p.group
    young = np.array([name in ("infant", "toddler") for name in age_groups])[p.group]
    adult = np.array(["adult" in name for name in age_groups])[p.group]
    working = np.array([name in ("young adult", "middle-aged adult") for name in age_groups])[p.group]
    pupil = np.array([name in ("child", "adolescent") for name in age_groups])[p.group]
    present: dict[str, Bools] = {
        name: np.ones(n, dtype=bool) if share is None else draws.chance(f"present.{name}", share[p.level])
        for name, share in levels.present.items()
    }

    # What is wrong.
    for slot, table, key in (
        ("complaint", tables.complaints, p.condition),
        ("follow_up", tables.follow_up, p.condition),
        ("precaution", tables.precautions, 2 * p.condition + ~young),
    ):
        sheet.put(slot, table.take(key, draws.below(slot, table.counts[key])))
    lasted = draws.below("duration", tables.durations.counts[case])
    sheet.put("duration", tables.durations.take(case, lasted))
    sheet.put("diagnosis", tables.name[p.condition])
    for name, plural, table, key, last in (
        ("symptom", "symptoms", tables.symptoms, p.condition, "and"),
        ("denied", "denied", tables.denied, p.condition, "or"),
        ("finding", "findings", tables.findings, 2 * p.condition + p.remote, "and"),
    ):
        count = np.minimum(_count(draws, levels, p.level, plural), table.counts[key])
        items = table.take(key, draws.distinct(name, table.counts[key], LISTS[name]))
        speech.put_list(sheet, name, items, count, last=last)
        present[plural if plural in present else name] &= count > 0

    # What was before.
    history_key = 2 * case + p.sex
    choices = draws.distinct("history", tables.history.counts[history_key], LISTS["history"])
    count = np.minimum(_count(draws, levels, p.level, "history"), tables.history.counts[history_key])
    picked = tables.history.take(history_key, choices)
    speech.put_list(sheet, "history", np.where(choices >= 0, tables.history_texts[picked], 0), count, last="and")
    present["history"] &= count > 0

    # What is done about it, and which allergies allow that.
    treatment = tables.treatments.take(case, draws.below("treatment", tables.treatments.counts[case]))
    t = tables.treatment
    sheet.put("drug", t.drug[treatment])
    sheet.put("treatment", t.text[treatment])
    sheet.put("route", t.route[treatment])
    sheet.put("route_gap", np.where(t.route[treatment] > 0, speech.space, 0))
    sheet.put("dose", t.doses.take(treatment, draws.below("dose", t.doses.counts[treatment])))
    sheet.put("frequency", t.frequencies.take(treatment, draws.below("frequency", t.frequencies.counts[treatment])))
    allergic = draws.chance("allergic", 0.7)
    allergy = t.allergies.take(treatment, draws.below("allergy", t.allergies.counts[treatment]))
    none_said = speech.no_allergy_said[draws.below("no_allergy", len(speech.no_allergy_said))]
    sheet.put("allergy", np.where(allergic, allergy, none_said), np.where(allergic, allergy, speech.no_allergy))

    # Medicines at home belong to something in the history that is told, and are neither new nor an allergy.
    kept = np.where(np.arange(LISTS["history"])[None, :] < count[:, None], tables.home.counts[picked], 0)
    at = picked[np.arange(n), np.argmax(kept > 0, axis=1)]
    medicine = tables.home_medicines[tables.home.take(at, draws.below("home", np.maximum(tables.home.counts[at], 1)))]
    for column, slot in enumerate(("home_drug", "home_dose", "home_frequency")):
        sheet.put(slot, medicine[:, column])
    fits = (kept.max(axis=1) > 0) & (medicine[:, 0] != t.drug[treatment]) & (medicine[:, 0] != allergy)
    present["home"] &= fits & adult & ~tables.no_home[p.condition] & present["history"]

    # The rest of the story.
    speech.put_patient(sheet, draws, p.age, p.sex, p.group, carer=p.carer)
    days = tables.duration_days.take(case, lasted)
    speech.put_story(sheet, draws, days, later=p.later, carer=p.carer, working=working, pupil=pupil)
    smoking = speech.put_smoking(sheet, draws, p.age, adult=adult)
    count = _count(draws, levels, p.level, "vitals")
    speech.put_vitals(sheet, draws, tables.vitals[case], count, remote=p.remote, young=young, grown=adult | pupil)
    advice = draws.distinct("advice", tables.instructions.counts[p.condition], 3)
    items = tables.instructions.take(p.condition, advice)
    speech.put_list(sheet, "instruction", items[:, :2], _count(draws, levels, p.level, "advice"), last="and")
    sheet.put("instruction3", items[:, 2])

    present["discharge"] &= p.discharged
    present["smoking"] &= adult & ~tables.smoking_known[p.condition]
    present["vaccines"] &= ~adult & ~p.preventive
    present["remedy"] &= ~young
    present["impact"] &= working | pupil
    present["advice_more"] &= present["advice"] & (items[:, 2] > 0)
    for name in _PREVENTIVE_LACKS:
        present[name] &= ~p.preventive
    axes: Mapping[str, Ints] = {
        "voice": p.carer,
        "place": p.remote,
        "context": p.context,
        "kind": p.preventive,
        "allergy": allergic,
        "treatment": t.drug[treatment] == 0,
        "smoking": smoking,
    }
    said, written = sheet.columns()
    return Visits(present, {name: column.astype(np.int64) for name, column in axes.items()}, said, written)
