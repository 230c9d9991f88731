"""An auditor that only reads text: it knows how people say numbers, and nothing of the generator."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

NUMBER = re.compile(r"\d+(?:\.\d+)?")
NOTHING = ("no known allergies", "no allergies that i know of", "none that i know of")


def as_written(said: str) -> set[str]:
    """The ways in which a note may write what was said."""
    text = said.lower()
    ways = {text}
    if match := re.fullmatch(r"(?:an? )?(\d+)(?: out of 10)?", text):
        ways |= {f"{match[1]}/10", f"{match[1]} out of 10"}
    if match := re.fullmatch(r"(\d+) over (\d+)", text):
        ways.add(f"{match[1]}/{match[2]}")
    if match := re.fullmatch(r"(\d+) percent", text):
        ways.add(f"{match[1]}%")
    if match := re.fullmatch(r"([\d.]+) degrees (celsius|fahrenheit)", text):
        ways.add(f"{match[1]} {match[2][0]}")
    if text in NOTHING:
        ways.add("no known allergies")
    return ways


def audit(row: Mapping[str, Any], *, fixed_words: set[str], names: Sequence[str] = ()) -> list[str]:
    """What is wrong with one example: facts that are not said, or words and numbers that come from nowhere."""
    dialogue, faults = row["dialogue"], []
    # "SpO2" is a label, whose digit is no number that someone said.
    rest = {field: row[field].replace("SpO2", " ") for field in "SOAP"}
    for fact in sorted(row["facts"], key=lambda f: -len(f["value"])):
        said = dialogue[fact["start"] : fact["end"]]
        if fact["value"].lower() not in as_written(said):
            faults.append(f"{fact['kind']} {fact['value']!r} is said as {said!r}")
        if fact["value"] not in row[fact["field"]]:
            faults.append(f"{fact['kind']} {fact['value']!r} is not in {fact['field']}")
        rest[fact["field"]] = rest[fact["field"]].replace(fact["value"], " ", 1)
    heard = set(re.findall(r"[a-z]+", dialogue.lower()))
    numbers = set(NUMBER.findall(dialogue))
    for field in "SOAP":
        faults += [
            f"number {n} in {field}" for n in NUMBER.findall(row[field].replace("SpO2", " ")) if n not in numbers
        ]
        # What is left of the note, once its facts are taken out, is fixed wording.
        left = set(re.findall(r"[A-Za-z]+", rest[field]))
        faults += [f"word {word} in {field}" for word in left if word.lower() not in fixed_words | heard]
    note, spoken = " ".join(row[field] for field in "SOAP").lower(), dialogue.lower()
    return faults + [f"{name} in the note" for name in names if name in note and name not in spoken]
