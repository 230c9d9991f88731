"""Units of measure: which words behind a number name what it counts, and their one spelling."""

from __future__ import annotations

from typing import Final

__all__ = ["CLOCK", "PHRASES", "UNITS", "unit"]

_SPELLINGS: Final = {
    "mg": "milligram milligrams mgs",
    "mcg": "microgram micrograms mcgs ug μg",
    "g": "gram grams gm gms",
    "kg": "kilogram kilograms kilo kilos kgs",
    "lb": "pound pounds lbs",
    "oz": "ounce ounces",
    "ml": "milliliter milliliters millilitre millilitres mls cc",
    "dl": "deciliter deciliters decilitre decilitres",
    "l": "liter liters litre litres",
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres",
    "inch": "inches",
    "foot": "feet ft",
    "mile": "miles",
    "mmhg": "",
    "mmol": "millimole millimoles",
    "iu": "ius",
    "unit": "units",
    "%": "percent",
    "°": "degree degrees",
    "°c": "celsius centigrade c",
    "°f": "fahrenheit f",
    "second": "seconds sec secs",
    "minute": "minutes min mins",
    "hour": "hours hr hrs",
    "day": "days",
    "night": "nights",
    "week": "weeks wk wks",
    "month": "months mo mos",
    "year": "years yr yrs",
    "time": "times",
    "beat": "beats",
    "breath": "breaths",
    "point": "points",
    "$": "dollar dollars usd",
    "€": "euro euros eur",
    "£": "gbp",
}
UNITS: Final = frozenset(_SPELLINGS)
_KNOWN: Final = {spelling: name for name, words in _SPELLINGS.items() for spelling in (name, *words.split())}
CLOCK: Final = frozenset({"second", "minute", "hour", "day", "night", "week", "month", "year", "time"})
"""Units before which "a" and "one" count: "in a week"."""
PHRASES: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("degrees", "celsius"): ("°c",),
    ("degrees", "fahrenheit"): ("°f",),
    ("degrees", "centigrade"): ("°c",),
    ("degrees", "c"): ("°c",),
    ("degrees", "f"): ("°f",),
    ("°", "c"): ("°c",),
    ("°", "f"): ("°f",),
    ("per", "cent"): ("%",),
    ("bpm",): ("beat", "per", "minute"),
}
"""Several words behind a number that name one unit, or one that names several."""


def unit(word: str) -> str:
    """Gives the one spelling of a unit.

    Args:
        word: A token in normal form (``"weeks"``).

    Returns:
        The spelling used here (``"week"``), or an empty string for a word that is no unit.
    """
    return _KNOWN.get(word, "")
