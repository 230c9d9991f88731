"""The grid of visits: specialty x condition type x age group x visit context, and which of its cells are plausible."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from soaptune.generation.protocol import Pools
from soaptune.soap.vocabulary import Condition, Lexicon

__all__ = ["AXES", "Cell", "plausible_cells", "why_implausible"]

AXES = ("specialty", "condition_type", "age_group", "visit_context")
"""The axes of the grid, in the order in which cells are listed."""


@dataclass(frozen=True)
class Cell:
    """One plausible cell.

    Attributes:
        specialty: Index of the specialty.
        condition_type: Index of the condition type.
        age_group: Index of the age group.
        visit_context: Index of the visit context.
        conditions: Indices of the conditions that fit it, at least one.
    """

    specialty: int
    condition_type: int
    age_group: int
    visit_context: int
    conditions: tuple[int, ...]


def _fits(condition: Condition, cell: dict[str, str], *, held_out: bool) -> bool:
    return (
        condition.held_out == held_out
        and condition.specialty == cell["specialty"]
        and condition.type == cell["condition_type"]
        and cell["age_group"] in condition.ages
        and (not condition.contexts or cell["visit_context"] in condition.contexts)
    )


def _cells(lexicon: Lexicon) -> Iterator[tuple[tuple[int, ...], dict[str, str]]]:
    ages = tuple(group.name for group in lexicon.age_groups)
    values = (lexicon.specialties, lexicon.condition_types, ages, lexicon.visit_contexts)
    for at in itertools.product(*(range(len(v)) for v in values)):
        yield at, {axis: values[k][at[k]] for k, axis in enumerate(AXES)}


@functools.lru_cache(maxsize=4)
def plausible_cells(pools: Pools = "standard") -> tuple[Cell, ...]:
    """The cells for which there is a condition and which no exclusion rules out, in the order of the axes.

    Args:
        pools: ``held_out`` asks for the cells of the held-out conditions instead of the others.

    Returns:
        The cells.
    """
    lexicon = Lexicon.read()
    found: list[Cell] = []
    for at, cell in _cells(lexicon):
        fitting = tuple(k for k, c in enumerate(lexicon.conditions) if _fits(c, cell, held_out=pools == "held_out"))
        # Exclusions speak of the standard grid; a held-out condition lists itself whom it fits.
        if fitting and (pools == "held_out" or not any(e.hits(cell) for e in lexicon.exclusions)):
            found.append(Cell(*at, conditions=fitting))
    return tuple(found)


def why_implausible() -> dict[tuple[str, str, str, str], str]:
    """The cells that never occur, each with the reason from the data file."""
    lexicon = Lexicon.read()
    plausible = {(c.specialty, c.condition_type, c.age_group, c.visit_context) for c in plausible_cells()}
    reasons: dict[tuple[str, str, str, str], str] = {}
    for at, cell in _cells(lexicon):
        if at not in plausible:
            reason = next((e.reason for e in lexicon.exclusions if e.hits(cell)), "")
            reasons[(cell["specialty"], cell["condition_type"], cell["age_group"], cell["visit_context"])] = reason
    return reasons
