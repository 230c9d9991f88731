"""The clinical lexicon is complete, consistent, plain, and clinically sane: checked on the JSON itself."""

from __future__ import annotations

import functools
import itertools
import json
import re
from importlib import resources
from typing import Any

import pytest

AXES = ("specialty", "condition_type", "age_group", "visit_context")
HELD_OUT = {
    "temporal arteritis",
    "rotator cuff tendinopathy",
    "acute sinusitis",
    "chronic obstructive pulmonary disease",
    "atrial fibrillation",
    "restless legs syndrome",
    "herpes zoster",
    "benign positional vertigo",
    "diverticulitis",
    "plaque psoriasis",
    "otitis externa",
    "plantar fasciitis",
}
HELD_OUT_ALLERGIES = {"iodine", "bee stings", "erythromycin", "tree nuts"}
VITALS = {"temperature", "heart_rate", "systolic", "diastolic", "respiratory_rate", "oxygen"}
YOUNG = {"infant", "toddler", "child"}
AT_LEAST = {
    "complaints": 2,
    "symptoms": 4,
    "denied": 3,
    "history": 3,
    "findings": 3,
    "treatments": 2,
    "instructions": 3,
    "follow_up": 2,
}
UNITS_OF_FOLLOW_UP = re.compile(r"\d+ (day|days|week|weeks|month|months)")
ADULT_WORDS = re.compile(
    r"\b(smoking|smoker|smokers|alcohol|beer|wine|tobacco|cigarettes|driving|sex|condoms|pregnancy)\b"
)
UNSPOKEN = re.compile(r"\b(headaches?|nausea|dizziness|numbness|tingling|heartburn|blurry|palpitations|ear ringing)\b")


def read(name: str) -> Any:
    return json.loads(resources.files("soaptune.soap").joinpath("lexicon", name).read_text("utf-8"))


@functools.lru_cache(maxsize=1)
def axes() -> dict[str, Any]:
    return read("axes.json")


def ages() -> list[str]:
    return [group["name"] for group in axes()["age_groups"]]


@functools.lru_cache(maxsize=1)
def conditions() -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for specialty in axes()["specialties"]:
        name = f"conditions/{specialty.replace(' ', '_')}.json"
        found += [{"specialty": specialty, **condition} for condition in read(name)]
    return tuple(found)


@functools.lru_cache(maxsize=1)
def fitting_cells() -> frozenset[tuple[str, ...]]:
    return frozenset(
        (c["specialty"], c["type"], age, context)
        for c in conditions()
        if not c["held_out"]
        for age in c["ages"]
        for context in c["contexts"]
    )


def all_cells() -> list[tuple[str, ...]]:
    values = (axes()["specialties"], axes()["condition_types"], ages(), axes()["visit_contexts"])
    return list(itertools.product(*values))


def cells_of(exclusion: dict[str, Any]) -> set[tuple[str, ...]]:
    values = (axes()["specialties"], axes()["condition_types"], ages(), axes()["visit_contexts"])
    wanted = [exclusion["match"].get(axis, all_values) for axis, all_values in zip(AXES, values, strict=True)]
    return set(itertools.product(*([want] if isinstance(want, str) else want for want in wanted)))


def texts(condition: dict[str, Any], *fields: str) -> list[str]:
    return [item if isinstance(item, str) else item["text"] for field in fields for item in condition[field]]


def treatment_texts(condition: dict[str, Any]) -> list[str]:
    return [t["drug"] or t["text"] for t in condition["treatments"]]


def at_least(numbers: list[Any], low: float, high: float) -> bool:
    return len(numbers) == 2 and low <= numbers[0] <= numbers[1] <= high


def problems(check: Any) -> list[str]:
    return [f"{c['specialty']}: {c['name']}: {what}" for c in conditions() for what in check(c)]


def test_the_grid_is_25_by_5_by_7_by_5() -> None:
    sizes = [len(axes()[k]) for k in ("specialties", "condition_types", "age_groups", "visit_contexts")]
    assert sizes == [25, 5, 7, 5]
    assert all(len(set(axes()[k])) == len(axes()[k]) for k in ("specialties", "condition_types", "visit_contexts"))
    folder = resources.files("soaptune.soap").joinpath("lexicon", "conditions")
    files = {file.name.removesuffix(".json").replace("_", " ") for file in folder.iterdir()}
    assert files == set(axes()["specialties"])


def test_the_age_groups_cover_life_in_order() -> None:
    groups = axes()["age_groups"]
    assert groups[0]["min_years"] == 0
    assert 0 < groups[0]["min_months"] < groups[0]["max_months"] < 12
    for before, after in itertools.pairwise(groups):
        assert after["min_years"] in (before["max_years"], before["max_years"] + 1)


def test_every_condition_has_every_field_in_its_type() -> None:
    required = {"name", "type", "ages", "sex", "contexts", "held_out", "duration", "vitals", *AT_LEAST}

    def check(c: dict[str, Any]) -> list[str]:
        wrong = [f"fields {set(c) ^ (required | {'specialty'})}"] if set(c) != required | {"specialty"} else []
        wrong += [] if c["type"] in axes()["condition_types"] else ["type"]
        wrong += [] if c["ages"] and [a for a in ages() if a in c["ages"]] == c["ages"] else ["ages"]
        wrong += [] if c["contexts"] and set(c["contexts"]) <= set(axes()["visit_contexts"]) else ["contexts"]
        wrong += [] if c["sex"] in ("any", "female", "male") and isinstance(c["held_out"], bool) else ["sex"]
        wrong += [f"too few {field}" for field, least in AT_LEAST.items() if len(c[field]) < least]
        span = c["duration"]
        wrong += [] if set(span) == {"unit", "min", "max"} and 2 <= span["min"] < span["max"] else ["duration"]
        wrong += [] if set(span["unit"]) <= {"days", "weeks", "months"} and span["unit"] else ["duration unit"]
        wrong += [f"follow-up {t}" for t in c["follow_up"] if not UNITS_OF_FOLLOW_UP.fullmatch(t)]
        return wrong

    assert problems(check) == []


def test_every_history_and_finding_is_a_text_for_ages_of_its_condition() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        wrong = [f"history {h}" for h in c["history"] if not set(h) <= {"text", "ages", "sex"}]
        wrong += [f"history {h}" for h in c["history"] if not set(h.get("ages", c["ages"])) <= set(c["ages"])]
        wrong += [f"history {h}" for h in c["history"] if h.get("sex", "any") not in ("any", "female", "male")]
        wrong += [f"finding {f}" for f in c["findings"] if not set(f) <= {"text", "remote"}]
        return wrong

    assert problems(check) == []


def test_every_treatment_is_a_drug_with_doses_or_a_text() -> None:
    drug = {"drug", "doses", "frequency", "route", "ages", "avoid_allergy"}

    def check(c: dict[str, Any]) -> list[str]:
        return [
            f"treatment {t}"
            for t in c["treatments"]
            if not set(t["ages"]) <= set(c["ages"])
            or not t["ages"]
            or (set(t) != {"drug", "text", "ages"} if t["drug"] is None else set(t) != drug)
            or (t["drug"] is not None and not (t["doses"] and t["frequency"]))
        ]

    assert problems(check) == []


def test_every_age_of_every_condition_has_a_treatment_and_a_choice_of_history() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        wrong = [f"no treatment for {a}" for a in c["ages"] if not any(a in t["ages"] for t in c["treatments"])]
        sexes = ("female", "male") if c["sex"] == "any" else (c["sex"],)
        for age, sex in itertools.product(c["ages"], sexes):
            fits = [h for h in c["history"] if age in h.get("ages", c["ages"]) and h.get("sex", sex) == sex]
            wrong += [] if len(fits) >= 2 else [f"little history for {age} {sex}"]
        return wrong

    assert problems(check) == []


def test_a_video_visit_has_at_least_two_findings_that_can_be_seen() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        seen = [f for f in c["findings"] if f.get("remote")]
        return ["findings"] if "telehealth" in c["contexts"] and len(seen) < 2 else []

    assert problems(check) == []


def test_every_visit_in_person_has_at_least_two_findings_that_need_no_camera() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        return ["findings"] if sum("camera" not in f["text"] for f in c["findings"]) < 2 else []

    assert problems(check) == []


def test_every_text_is_short_plain_lower_case_ascii() -> None:
    proper = {"Epley"}

    def check(c: dict[str, Any]) -> list[str]:
        said = texts(c, "complaints", "symptoms", "denied", "history", "findings", "instructions", "follow_up")
        said += [c["name"], *treatment_texts(c)]
        said += [text for t in c["treatments"] for text in (*t.get("doses", ()), *t.get("frequency", ()))]
        return [
            text
            for text in said
            if not text.isascii()
            or not text
            or len(text) > 60
            or len(text.split()) > 6
            or text != text.strip()
            or any(word not in proper and word != word.lower() for word in text.split())
            or re.search(r"[^A-Za-z0-9 .]", text)
        ]

    assert problems(check) == []


def test_nothing_stands_twice_in_a_list_or_is_both_said_and_denied() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        wrong: list[str] = []
        for field in ("complaints", "symptoms", "denied", "history", "findings", "instructions", "follow_up"):
            said = texts(c, field)
            wrong += [field] if len(set(said)) != len(said) else []
        there = {*texts(c, "complaints", "symptoms"), c["name"]}
        wrong += [f"denied {x}" for x in there & set(texts(c, "denied"))]
        wrong += [f"twice {x}" for x in set(texts(c, "complaints")) & set(texts(c, "symptoms"))]
        return wrong

    assert problems(check) == []


def test_no_condition_is_named_twice() -> None:
    names = [c["name"] for c in conditions()]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_every_complaint_symptom_and_history_fits_its_sentence_frame() -> None:
    # "I have had {x} for ...", "There is also {x}", "No {x}", "History of {x}": noun phrases of no one in particular.
    verb = re.compile(r"^(i|he|she|they|has|have|had|is|are|was|feels?|no|not|my|his|her|the)\b|\b(my|your)\b")

    def check(c: dict[str, Any]) -> list[str]:
        wrong = [x for x in texts(c, "complaints", "symptoms") if verb.search(x)]
        wrong += [x for x in texts(c, "denied") if re.match(r"(no|not|any) ", x)]
        # "No past surgery" is a history too: only verbs and persons are wrong in it.
        return wrong + [x for x in texts(c, "history") if verb.search(x) and not x.startswith("no ")]

    assert problems(check) == []


def test_the_defaults_of_the_vital_signs_are_ranges_for_every_age() -> None:
    defaults = read("vitals.json")
    assert list(defaults) == ages()
    for ranges in defaults.values():
        assert set(ranges) == VITALS
        assert at_least(ranges["temperature"], 35.5, 37.5)
        assert at_least(ranges["oxygen"], 90, 100)
        assert ranges["diastolic"][1] < ranges["systolic"][0]


def test_the_vital_signs_of_a_condition_are_near_those_of_its_ages() -> None:
    defaults = read("vitals.json")

    def check(c: dict[str, Any]) -> list[str]:
        wrong = [f"unknown {name}" for name in set(c["vitals"]) - VITALS]
        for age, (name, span) in itertools.product(c["ages"], c["vitals"].items()):
            low, high = defaults[age][name]
            fits = {"temperature": at_least(span, 36.0, 40.0), "oxygen": at_least(span, 88, 100)}
            fine = fits.get(name, at_least(span, low - 20, high + 40) and span[1] >= low)
            wrong += [] if fine else [f"{name} {span} at {age}"]
        return wrong

    assert problems(check) == []


def test_nobody_who_has_a_fever_denies_it() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        warm = c["vitals"].get("temperature", [36.5, 37.0])[0] >= 37.8
        return [x for x in texts(c, "denied") if warm and x in ("fever", "high fever", "chills")]

    assert problems(check) == []


def test_sexes_fit_their_specialty_and_their_words() -> None:
    male = re.compile(r"\b(prostate|testicles?|scrotum|foreskin|penis)\b")
    female = re.compile(r"\b(vaginal?|uterus|ovarian|cervix|menopause|birth control|periods)\b")

    def check(c: dict[str, Any]) -> list[str]:
        wrong = [] if c["specialty"] != "obstetrics and gynecology" or c["sex"] == "female" else ["sex"]
        said = texts(c, "complaints", "symptoms", "findings")
        wrong += [x for x in said if male.search(x) and c["sex"] != "male"]
        wrong += [x for x in said if female.search(x) and c["sex"] != "female"]
        for item in c["history"]:
            sex = item.get("sex", c["sex"])
            own = not re.match(r"an? (mother|father|parent|sister|aunt|uncle|brother|cousin)", item["text"])
            wrong += [item["text"]] if own and male.search(item["text"]) and sex != "male" else []
            wrong += [item["text"]] if own and female.search(item["text"]) and sex != "female" else []
        return wrong

    assert problems(check) == []


def test_no_child_smokes_or_drinks() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        young = YOUNG & set(c["ages"])
        said = [*texts(c, "complaints", "symptoms", "instructions"), *treatment_texts(c)] if young else []
        said += [h["text"] for h in c["history"] if YOUNG & set(h.get("ages", c["ages"]))]
        minor = (YOUNG | {"adolescent"}) & set(c["ages"])
        wrong = [x for x in said if ADULT_WORDS.search(x)]
        for h in c["history"]:
            at = (YOUNG | {"adolescent"}) & set(h.get("ages", c["ages"]))
            wrong += [h["text"]] if minor and at and re.search(r"smoking|alcohol|beer|wine", h["text"]) else []
        return wrong

    assert problems(check) == []


def test_no_small_child_tells_what_only_older_people_can_tell() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        small = {"infant", "toddler"} & set(c["ages"])
        after = "chemotherapy" in c["name"]
        return [x for x in texts(c, "complaints", "symptoms") if small and not after and UNSPOKEN.search(x)]

    assert problems(check) == []


@pytest.mark.parametrize("word", ["angina", "heart attack", "dementia", "prostate", "menopause", "glaucoma", "gout"])
def test_diseases_of_later_life_are_not_diseases_of_the_young(word: str) -> None:
    young = YOUNG | {"adolescent"}
    assert [c["name"] for c in conditions() if word in c["name"] and young & set(c["ages"])] == []


def test_no_drug_is_given_to_an_age_that_it_is_not_for() -> None:
    from_twelve = re.compile(r"^(atorvastatin|lisinopril|amlodipine|warfarin|rivaroxaban|ciprofloxacin|sumatriptan)$")
    dose = re.compile(r"([\d.]+) mg")
    # The most in one dose, in mg, of the drugs that children get by mouth.
    most = {
        ("acetaminophen", "infant"): 80,
        ("acetaminophen", "toddler"): 160,
        ("acetaminophen", "child"): 320,
        ("ibuprofen", "toddler"): 100,
        ("ibuprofen", "child"): 200,
        ("amoxicillin", "infant"): 250,
        ("amoxicillin", "toddler"): 400,
        ("amoxicillin", "child"): 500,
    }

    def check(c: dict[str, Any]) -> list[str]:
        wrong: list[str] = []
        for t, age in [(given, age) for given in c["treatments"] if given["drug"] for age in given["ages"]]:
            wrong += [f"{t['drug']} at {age}"] if age in YOUNG and from_twelve.match(t["drug"]) else []
            wrong += [f"{t['drug']} at {age}"] if t["drug"] == "ibuprofen" and age == "infant" else []
            wrong += [f"{t['drug']} at {age}"] if t["drug"] == "aspirin" and age in YOUNG | {"adolescent"} else []
            limit = most.get((t["drug"], age))
            for found in (dose.fullmatch(text) for text in t["doses"] if limit):
                mg = float(found[1]) if found else 0.0
                wrong += [f"{t['drug']} {mg} mg at {age}"] if not 0 < mg <= limit else []
        return wrong

    assert problems(check) == []


def test_allergies_are_in_the_list_and_no_treatment_is_given_against_its_own() -> None:
    listed = read("allergies.json")
    names = [a["name"] for a in listed]
    assert len(set(names)) == len(names)
    assert all(set(a) == {"name", "held_out"} and a["name"].isascii() for a in listed)
    assert {a["name"] for a in listed if a["held_out"]} == HELD_OUT_ALLERGIES

    def check(c: dict[str, Any]) -> list[str]:
        drugs = [t for t in c["treatments"] if t["drug"]]
        wrong = [f"unknown {x}" for t in drugs for x in t["avoid_allergy"] if x not in names]
        return wrong + [f"{t['drug']}" for t in drugs if t["drug"] in names and t["drug"] not in t["avoid_allergy"]]

    assert problems(check) == []


def test_penicillins_and_sulfa_drugs_say_what_they_must_not_meet() -> None:
    def check(c: dict[str, Any]) -> list[str]:
        drugs = [t for t in c["treatments"] if t["drug"]]
        cillin = [t["drug"] for t in drugs if "cillin" in t["drug"] and "penicillin" not in t["avoid_allergy"]]
        sulfa = [
            t["drug"]
            for t in drugs
            if "sulfa" in t["drug"].replace("sulfate", "") and "sulfa drugs" not in t["avoid_allergy"]
        ]
        return cillin + sulfa

    assert problems(check) == []


def test_the_held_out_conditions_are_the_twelve() -> None:
    held = [c for c in conditions() if c["held_out"]]
    assert {c["name"] for c in held} == HELD_OUT
    assert len(held) == len(HELD_OUT)


def test_nothing_of_a_held_out_condition_is_said_of_another() -> None:
    fields = ("complaints", "symptoms", "history", "instructions", "follow_up")
    held = [c for c in conditions() if c["held_out"]]
    others = [c for c in conditions() if not c["held_out"]]
    known = {x for c in others for x in [*texts(c, *fields, "denied", "findings"), *treatment_texts(c)]}
    shared = {x for c in held for x in [*texts(c, *fields[:3], "findings"), *treatment_texts(c)]} & known
    assert shared == set()
    drugs = {t["drug"] for c in held for t in c["treatments"] if t["drug"]}
    told = " ".join(x for c in others for x in [*texts(c, *fields), *treatment_texts(c)])
    assert sorted(drug for drug in drugs if drug in told) == []


def test_no_held_out_allergy_is_spoken_of_elsewhere() -> None:
    told = " ".join(x for c in conditions() for x in [*texts(c, "complaints", "history"), *treatment_texts(c)])
    assert sorted(name for name in HELD_OUT_ALLERGIES if name in told) == []


def test_every_specialty_has_at_least_four_condition_types() -> None:
    for specialty in axes()["specialties"]:
        have = {c["type"] for c in conditions() if c["specialty"] == specialty and not c["held_out"]}
        assert len(have) >= 4, specialty


def test_every_exclusion_is_well_formed_and_has_its_own_matter() -> None:
    values = dict(
        zip(AXES, (axes()["specialties"], axes()["condition_types"], ages(), axes()["visit_contexts"]), strict=True)
    )
    seen: set[str] = set()
    for exclusion in read("exclusions.json"):
        assert set(exclusion) == {"match", "reason"}
        assert set(exclusion["match"]) <= set(AXES)
        assert len(exclusion["match"]) >= 2
        for axis, want in exclusion["match"].items():
            assert set([want] if isinstance(want, str) else want) <= set(values[axis])
        assert 20 <= len(exclusion["reason"]) <= 160
        assert exclusion["reason"].endswith(".")
        key = json.dumps(exclusion["match"], sort_keys=True)
        assert key not in seen
        seen.add(key)


def test_every_cell_is_plausible_or_excluded_with_a_reason_and_never_both() -> None:
    fitting = fitting_cells()
    excluded = {cell for exclusion in read("exclusions.json") for cell in cells_of(exclusion)}
    assert sorted(set(all_cells()) - fitting - excluded) == []
    # An exclusion that matched a cell with a condition would hide that condition.
    assert sorted(fitting & excluded) == []
    assert len(fitting) + len(excluded) == 25 * 5 * 7 * 5
    # The number is part of the data: who changes the lexicon says so here.
    assert len(fitting) == 2636


def test_every_exclusion_excludes_something() -> None:
    found = [(e["reason"], cells_of(e)) for e in read("exclusions.json")]
    implausible = set(all_cells()) - fitting_cells()
    assert [reason for reason, cells in found if not cells & implausible] == []


def test_emergencies_of_children_and_adults_have_cells() -> None:
    for age, context in itertools.product(ages(), ("new problem", "urgent visit", "telehealth")):
        assert any(cell[2] == age and cell[3] == context for cell in fitting_cells())
