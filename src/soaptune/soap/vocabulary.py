"""The clinical lexicon as typed objects: axes of the grid, conditions, exclusions, allergies, and what phrases add.

The words live in JSON files beside this module; nothing is invented here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pydantic import Field

from soaptune.config import Config

__all__ = [
    "VITALS",
    "AgeGroup",
    "Allergy",
    "Condition",
    "Exclusion",
    "HomeMedicine",
    "Lexicon",
    "Treatment",
    "read_json",
]

VITALS = ("temperature", "heart_rate", "systolic", "diastolic", "respiratory_rate", "oxygen")
"""The vital signs of the lexicon: Celsius, beats, mmHg, mmHg, breaths, percent."""


class AgeGroup(Config):
    """An age group of the grid. Ages below one year are told in months."""

    name: str
    min_years: int
    max_years: int
    min_months: int = 3
    max_months: int = 11

    @property
    def in_months(self) -> bool:
        """Whether ages of this group are told in months."""
        return self.min_years == 0

    @property
    def min_days(self) -> int:
        """The age of the group's youngest, in days."""
        return 30 * self.min_months if self.in_months else 365 * self.min_years


class Duration(Config):
    """How long a complaint usually lasts before the visit."""

    unit: tuple[str, ...]
    min: int
    max: int


class Said(Config):
    """A thing that may be said of some patients only."""

    text: str
    ages: tuple[str, ...] = ()
    sex: str = "any"
    remote: bool = False


class Treatment(Config):
    """A drug with its usual doses, or a treatment without a drug."""

    drug: str | None = None
    text: str = ""
    doses: tuple[str, ...] = ()
    frequency: tuple[str, ...] = ()
    route: str = ""
    ages: tuple[str, ...] = ()
    avoid_allergy: tuple[str, ...] = ()


class Condition(Config):
    """A condition of one specialty, with everything that a visit about it may mention."""

    name: str
    type: str
    ages: tuple[str, ...]
    sex: str = "any"
    contexts: tuple[str, ...] = ()
    held_out: bool = False
    complaints: tuple[str, ...]
    duration: Duration
    symptoms: tuple[str, ...]
    denied: tuple[str, ...]
    history: tuple[Said, ...]
    findings: tuple[Said, ...]
    vitals: dict[str, tuple[float, float]] = Field(default={})
    treatments: tuple[Treatment, ...]
    instructions: tuple[str, ...]
    follow_up: tuple[str, ...]
    specialty: str = ""


class Allergy(Config):
    """A thing that patients are allergic to."""

    name: str
    held_out: bool = False


class Exclusion(Config):
    """Cells of the grid that make no sense, and why."""

    match: dict[str, str | tuple[str, ...]]
    reason: str

    def hits(self, cell: Mapping[str, str]) -> bool:
        """Whether a cell is one of these."""
        return all(cell[axis] in ((want,) if isinstance(want, str) else want) for axis, want in self.match.items())


class HomeMedicine(Config):
    """A medicine that an adult with some history takes already."""

    drug: str
    dose: str
    frequency: str


class Lexicon(Config):
    """Everything that visits are made of."""

    specialties: tuple[str, ...]
    condition_types: tuple[str, ...]
    age_groups: tuple[AgeGroup, ...]
    visit_contexts: tuple[str, ...]
    conditions: tuple[Condition, ...]
    exclusions: tuple[Exclusion, ...] = ()
    allergies: tuple[Allergy, ...]
    vitals: dict[str, dict[str, tuple[float, float]]]
    extras: dict[str, Any] = Field(default={})

    @property
    def home(self) -> dict[str, tuple[HomeMedicine, ...]]:
        """The medicines that an adult takes already, by the history item that they are taken for."""
        return {
            history: tuple(HomeMedicine(drug=drug, dose=dose, frequency=often) for drug, dose, often in medicines)
            for history, medicines in self.extras.get("home", {}).items()
        }

    @staticmethod
    @functools.lru_cache(maxsize=1)
    def read() -> Lexicon:
        """The lexicon that comes with the library."""
        axes = read_json("lexicon/axes.json")
        folder = resources.files("soaptune.soap").joinpath("lexicon/conditions")
        conditions: list[dict[str, Any]] = []
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.name.endswith(".json"):
                specialty = file.name.removesuffix(".json").replace("_", " ")
                conditions += [{"specialty": specialty, **c} for c in json.loads(file.read_text("utf-8"))]
        return Lexicon.model_validate_json(
            json.dumps(
                {
                    **axes,
                    "conditions": conditions,
                    "exclusions": read_json("lexicon/exclusions.json"),
                    "allergies": read_json("lexicon/allergies.json"),
                    "vitals": read_json("lexicon/vitals.json"),
                    "extras": read_json("phrases_pools.json"),
                }
            )
        )


def read_json(name: str) -> Any:
    """A JSON file of this package.

    Args:
        name: Its path inside ``soaptune/soap``.

    Returns:
        What stands in it.
    """
    return json.loads(resources.files("soaptune.soap").joinpath(name).read_text("utf-8"))
