"""Numbers and quantities are read in every spelling, and inventions are told from what was said."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soaptune.facts import numbers, quantities, unsupported_numbers

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("25 mg twice daily", ["25 mg", "2 time"]),
        ("a six-week course", ["6 week"]),
        ("98%", ["98 %"]),
        ("37.2 C, 37.2\u00b0C, 37.2 degrees Celsius", ["37.2 °c"] * 3),
        ("38 degrees", ["38 °"]),
        ("120/80 mmHg", ["120/80 mmhg"]),
        ("120 / 80", ["120/80"]),
        ("80 bpm", ["80 beat"]),
        ("in 3-5 days", ["3-5 day"]),
        ("zero to two drinks", ["0", "2"]),
        ("one hundred twenty", ["120"]),
        ("a hundred and one point five", ["101.5"]),
        ("twenty, five", ["20", "5"]),
        ("the 2nd, b12, second", []),
        ("1. rest\n2) 5 mg", ["5 mg"]),
        ("He said 25. Minutes later", ["25"]),
        (".5 ml and 0.50 ml", ["0.5 ml", "0.5 ml"]),
        ("5 over 3 days", ["5/3 day"]),
        ("five hundred mg", ["500 mg"]),
        ("on 2024-01-31 at 10:30", ["2024-01-31", "10:30"]),
    ],
)
def test_quantities_are_read(text: str, expected: list[str]) -> None:
    assert [str(found) for found in quantities(text)] == expected


def test_implicit_numbers_are_quantities_but_not_numbers() -> None:
    assert [found.implicit for found in quantities("once, in a week, twice, 3 times")] == [True, True, True, False]
    assert numbers("once, in a week, twice, 3 times") == ("3",)


def test_a_quantity_says_where_it_stands() -> None:
    text = "Take twenty-five milligrams now"
    assert [text[found.start : found.end] for found in quantities(text)] == ["twenty-five milligrams"]


@RELAXED
@given(st.integers(0, 999_999))
def test_a_number_in_words_is_the_number(value: int) -> None:
    assert numbers(in_words(value)) == ((str(value),) if value != 1 else ())


@RELAXED
@given(st.integers(1, 300), st.integers(1, 300))
def test_two_numbers_over_each_other_are_one_value(high: int, low: int) -> None:
    assert numbers(f"{high} over {low}") == numbers(f"{high}/{low}") == (f"{high}/{low}",)


@pytest.mark.parametrize(
    ("prediction", "source"),
    [
        ("8/10", "eight out of 10"),
        ("120/80 mmHg", "one twenty over eighty"),
        ("120/80", "120 on top, 80 below"),
        ("25 mg", "twenty five milligrams"),
        ("25 mg", "only 25 of them"),
        ("1 week", "a week"),
        ("2 times daily", "twice a day"),
        ("twice daily", "every 12 hours"),
        ("67-year-old", "I am 67"),
        ("38.5 °C", "38.5 degrees"),
        ("3-5 days", "three to five days"),
        ("5.0 mg", "5 mg"),
        ("1. Rest\n2. Fluids", "rest and fluids"),
    ],
)
def test_what_was_said_in_other_words_is_not_invented(prediction: str, source: str) -> None:
    assert unsupported_numbers(prediction, source) == []


@pytest.mark.parametrize(
    ("prediction", "source", "invented"),
    [
        ("25 mg", "5 mg", ["25 mg"]),
        ("5 mg", "25 mg", ["5 mg"]),
        ("5 mg", "5 days", ["5 mg"]),
        ("120/90", "120/80", ["120/90"]),
        ("120/80", "1120/80", ["120/80"]),
        ("two weeks, 3 days", "3 days", ["2 week"]),
        ("38.5 °C", "38.5 °F", ["38.5 °c"]),
        ("5 mg and 5 mg", "", ["5 mg", "5 mg"]),
    ],
)
def test_what_nobody_said_is_invented(prediction: str, source: str, invented: list[str]) -> None:
    assert [str(found) for found in unsupported_numbers(prediction, source)] == invented


@RELAXED
@given(st.text())
def test_a_text_supports_itself(text: str) -> None:
    assert unsupported_numbers(text, text) == []


@RELAXED
@given(st.text(alphabet="0123456789 ./-:,%mgonetw "))
def test_a_text_of_numbers_supports_itself(text: str) -> None:
    assert unsupported_numbers(text, text) == []
    for found in quantities(text):
        assert 0 <= found.start < found.end <= len(text)


def in_words(value: int) -> str:
    ones = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen"
    )
    round_ones = "_ _ twenty thirty forty fifty sixty seventy eighty ninety"
    small, tens = ones.split(), round_ones.split()
    if value < 20:
        return small[value]
    if value < 100:
        return tens[value // 10] + (f"-{small[value % 10]}" if value % 10 else "")
    if value < 1000:
        return f"{small[value // 100]} hundred" + (f" and {in_words(value % 100)}" if value % 100 else "")
    return f"{in_words(value // 1000)} thousand" + (f" {in_words(value % 1000)}" if value % 1000 else "")
