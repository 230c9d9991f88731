"""Values are found whole, in any spelling, and with their polarity."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soaptune.facts import TermIndex, contains, find, normalise, plain_text, score_facts
from soaptune.tasks.fact import Fact

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOUNS = ["cough", "rash", "foot", "pain", "red", "eye", "left", "knee"]
WORDS = st.lists(st.sampled_from(NOUNS), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Take 5mg daily", "5 mg"),
        ("take five milligrams", "5 mg"),
        ("BP 120/80.", "120/80"),
        ("it was 120 over 80", "120/80"),
        ("one twenty over eighty", "120/80"),
        ("about an 8 out of 10", "8/10"),
        ("eight of ten? eight out of ten", "8/10"),
        ("come back in a week", "1 week"),
        ("for two weeks", "2 weeks"),
        ("a 2-week history", "2 weeks"),
        ("37.0 °C", "37 degrees Celsius"),
        ("1,000 units", "1000 units"),
        ("The   Chest\nPain,", "chest pain"),
        ("follow-up", "follow up"),
        ("caf\u00e9", "cafe\u0301"),
        ("the patient\u2019s knee", "patient's knee"),
        ("80 beats per minute", "80 bpm"),
        ("twice a day", "2 times a day"),
        ("regular heart rhythm", "a regular heart rhythm"),
        ("ninety-eight point six", "98.6"),
        ("two hundred and fifty mg", "250 mg"),
        ("two thousand five hundred units", "2500 units"),
    ],
)
def test_a_value_is_found_in_any_spelling(text: str, value: str) -> None:
    assert contains(text, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("25 mg", "5 mg"),
        ("2.5 mg", "5 mg"),
        ("1120/80", "120/80"),
        ("120/801", "120/80"),
        ("vitamin b12", "12"),
        ("3-5 days", "5 days"),
        ("8/10", "8"),
        ("painful", "pain"),
        ("chest and back pain", "chest pain"),
        ("pain", ""),
        ("pain", "..."),
        ("twenty five mg", "5 mg"),
        ("this one", "1"),
    ],
)
def test_a_part_of_a_word_or_number_is_not_a_match(text: str, value: str) -> None:
    assert not contains(text, value)


@pytest.mark.parametrize(
    "text",
    [
        "No fever.",
        "Denies chills, nausea and fever.",
        "She does not have fever.",
        "without fever",
        "Fever: none.",
        "Fever is absent.",
        "no cough or fever",
        "I don't have a fever",
    ],
)
def test_what_a_text_denies_is_found_only_as_a_denial(text: str) -> None:
    assert not contains(text, "fever", "symptom")
    assert contains(text, "fever", "denied")
    assert contains(text, "no fever")


@pytest.mark.parametrize(
    "text",
    [
        "No cough. Fever for 3 days.",
        "No cough but fever.",
        "no cough, has fever",
        "fever, no cough",
        "It did not help, fever",
        "no longer well, fever",
        "not only fever",
    ],
)
def test_what_a_text_states_is_no_denial(text: str) -> None:
    assert contains(text, "fever", "symptom")
    assert not contains(text, "fever", "denied")


def test_a_value_with_a_number_is_not_tested_for_denial() -> None:
    assert contains("No change, 25 mg in the morning", "25 mg")


def test_a_phrase_that_denies_by_itself_is_found_as_it_stands() -> None:
    assert contains("Do not drive today", "do not drive")
    assert contains("None.", "none")


def test_find_gives_the_places_in_the_text_as_given() -> None:
    text = "\u200bFi\ufb01ne Caf\u00e9: twenty-five MG, then 25mg"
    assert [text[start:end] for start, end in find(text, "25 mg")] == ["twenty-five MG", "25mg"]
    assert [text[start:end] for start, end in find(text, "cafe\u0301")] == ["Caf\u00e9"]


@RELAXED
@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@RELAXED
@given(st.text(alphabet="0123456789.,:/- ½²mgx°C%\u200d\u0301aé'_"))
def test_normalising_numbers_and_marks_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@RELAXED
@given(WORDS, WORDS, WORDS)
def test_a_run_of_words_is_found_between_others(before: list[str], value: list[str], after: list[str]) -> None:
    assert contains(" ".join([*before, *value, *after]), " ".join(value).upper() + ".")


@RELAXED
@given(st.integers(0, 9999), st.integers(0, 9999))
def test_one_number_is_found_in_another_only_when_they_are_equal(one: int, other: int) -> None:
    assert contains(f"take {one} mg", f"{other} mg") == (one == other)


@RELAXED
@given(st.text(), st.text())
def test_places_lie_inside_the_text(text: str, value: str) -> None:
    for start, end in find(text, value):
        assert 0 <= start < end <= len(text)


def fact(field: str, value: str, kind: str = "symptom") -> Fact:
    return Fact(field=field, kind=kind, value=value)


def test_facts_are_found_misplaced_or_missing() -> None:
    facts = [fact("S", "cough"), fact("S", "fever", "denied"), fact("P", "5 mg"), fact("P", "rest")]
    scores = score_facts(facts, {"S": "Rest. Cough for a week, no fever.", "P": "25 mg"})
    assert (scores["S"].hits, scores["S"].total) == (2, 2)
    assert scores["P"].misplaced == (facts[3],)
    assert scores["P"].missing == (facts[2],)


def test_an_answer_that_is_not_valid_has_no_facts() -> None:
    score = score_facts([fact("S", "cough")], None)["S"]
    assert (score.hits, score.total) == (0, 1)


def test_fields_that_are_no_text_are_searched_too() -> None:
    assert plain_text({"drug": ["x", 5], "none": None}) == "x\n5\n"
    assert score_facts([fact("plan", "5")], {"plan": [{"dose": 5}]})["plan"].hits == 1


def test_the_longest_term_is_found_first_and_terms_do_not_overlap() -> None:
    index = TermIndex(["red eye", "Eye", "left knee pain", "", "eye"])
    assert len(index) == 3
    assert [term for term, _, _ in index.find("Red eye, left knee, and an EYE.")] == ["red eye", "Eye"]
