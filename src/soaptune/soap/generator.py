"""The heuristic generator of the SOAP task: grounded visits from the lexicon, as columns."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from soaptune.common.arrow import Table, arrow, compute
from soaptune.errors import ConfigError, DataError
from soaptune.generation.arrays import Ints, numpy
from soaptune.generation.fact_column import fact_column
from soaptune.generation.pools import FrozenPool, Pool
from soaptune.generation.protocol import Pools
from soaptune.generation.random import Draws, permutation
from soaptune.generation.scripts import Script
from soaptune.soap.grid import AXES, plausible_cells
from soaptune.soap.levels import Levels
from soaptune.soap.phrases import SECTIONS, compile_scripts
from soaptune.soap.slots import AXIS_VALUES, KINDS, visit_slots
from soaptune.soap.speech import Speech
from soaptune.soap.tables import CaseTables, case_tables
from soaptune.soap.visits import Patients, draw_visits
from soaptune.soap.vocabulary import Lexicon

__all__ = ["SoapGenerator"]

_BLOCK = 8_192  # Rows made at once: large enough for whole-column work, small enough to stay in the caches.
_CARER = ("infant", "toddler", "child")


@dataclass(frozen=True)
class _Plan:
    """Everything that does not depend on the rows, for one of the two pools."""

    lexicon: Lexicon
    tables: CaseTables
    levels: Levels
    speech: Speech
    scripts: dict[str, Script]
    pool: FrozenPool
    cells: Ints
    """Axis indices of the cells, ``(cells, 4)``."""
    conditions: Ints
    """The conditions of the cells, ``(cells, most)``, repeated to fill the row."""
    n_conditions: Ints
    groups: Ints
    """Ids of the scenarios' names, ``(cells, most)``."""
    names: dict[str, Ints]
    """Ids of the axes' values and of the levels."""


@functools.lru_cache(maxsize=2)
def _plan(pools: Pools) -> _Plan:
    np = numpy()

    lexicon, levels, pool = Lexicon.read(), Levels(), Pool()
    ages = [group.name for group in lexicon.age_groups]
    values = dict(zip(AXES, (lexicon.specialties, lexicon.condition_types, ages, lexicon.visit_contexts), strict=True))
    cells = plausible_cells(pools)
    if not cells:
        raise DataError(f"The lexicon has no condition for the {pools} pools.")
    most = max(len(cell.conditions) for cell in cells)
    conditions = [[cell.conditions[j % len(cell.conditions)] for j in range(most)] for cell in cells]
    at = [(c.specialty, c.condition_type, c.age_group, c.visit_context) for c in cells]
    labels = [" / ".join(values[axis][k] for axis, k in zip(AXES, cell, strict=True)) for cell in at]
    groups = [
        pool.add_all(f"{cell} / {lexicon.conditions[k].name}" for k in row)
        for cell, row in zip(labels, conditions, strict=True)
    ]
    tables = case_tables(lexicon, pools=pools, pool=pool)
    speech = Speech(pool, lexicon.age_groups, lexicon.extras)
    axes = {**AXIS_VALUES, "context": lexicon.visit_contexts}
    scripts = compile_scripts(pools=pools, axes=axes, slots=visit_slots(), pool=pool)
    names = {axis: np.array(pool.add_all(texts)) for axis, texts in {**values, "verbosity": levels.names}.items()}
    return _Plan(
        lexicon=lexicon,
        tables=tables,
        levels=levels,
        speech=speech,
        scripts=scripts,
        pool=pool.freeze(),
        cells=np.array(at),
        conditions=np.array(conditions),
        n_conditions=np.array([len(cell.conditions) for cell in cells]),
        groups=np.array(groups),
        names=names,
    )


class SoapGenerator:
    """Makes dialogues between a clinician and a patient (or a carer), and the SOAP note of each.

    Row i is of the grid's cell ``order[i % cells]``, where the seed fixes the order; so every plausible cell occurs as
    soon as there are as many rows as cells.
    """

    def levels(self) -> tuple[str, ...]:
        """The verbosity levels, the shortest first."""
        return Levels().names

    def columns(
        self,
        *,
        seed: int,
        start: int,
        stop: int,
        verbosity: Mapping[str, float] | None = None,
        pools: Pools = "standard",
    ) -> Table:
        """Makes the rows ``start`` to ``stop - 1``.

        Args:
            seed: Fixes everything.
            start: The first row's index, at least 0.
            stop: The index after the last row's.
            verbosity: Share of the rows at each verbosity level; None for the standard mix.
            pools: ``held_out`` uses conditions, allergies and phrases that ``standard`` never uses.

        Returns:
            A table with ``id``, ``dialogue``, ``S``, ``O``, ``A``, ``P``, ``facts``, ``group``, and as metadata
            ``specialty``, ``condition_type``, ``age_group``, ``visit_context``, ``verbosity``, ``condition``.

        Raises:
            ConfigError: The range or the mix of levels makes no sense.
        """
        if not 0 <= start <= stop:
            raise ConfigError(f"There are no rows from {start} to {stop}.")
        plan = _plan(pools)
        weights = plan.levels.weights(verbosity)
        bounds = [*range(start, stop, _BLOCK), stop]
        blocks = [_block(plan, seed, low, high, weights, pools) for low, high in itertools.pairwise(bounds)]
        return arrow().concat_tables(blocks or [_block(plan, seed, 0, 1, weights, pools).slice(0, 0)])


def _block(plan: _Plan, seed: int, start: int, stop: int, weights: list[float], pools: Pools) -> Table:
    np = numpy()

    rows = np.arange(start, stop)
    draws = Draws(seed, rows)
    n_cells = len(plan.cells)
    cell = permutation(seed, "cells", n_cells)[rows % n_cells]
    # The conditions of a cell take turns, beginning with one that the seed fixes.
    turn = (rows // n_cells + Draws(seed, cell).below("first_condition", 1 << 20)) % plan.n_conditions[cell]
    condition = plan.conditions[cell, turn]
    patients = _patients(plan, draws, plan.cells[cell], condition, draws.weighted("verbosity", weights))
    ages = [group.name for group in plan.lexicon.age_groups]
    visits = draw_visits(draws, patients, tables=plan.tables, levels=plan.levels, speech=plan.speech, age_groups=ages)
    texts = {
        name: script.write(
            draws,
            present=visits.present,
            axes=visits.axes,
            slots=visits.said if name == "dialogue" else visits.written,
            pool=plan.pool,
        )
        for name, script in plan.scripts.items()
    }
    facts = fact_column(
        source="dialogue",
        said_in=texts["dialogue"],
        written_in={section: texts[section] for section in SECTIONS},
        kinds=KINDS,
        said=visits.said,
        written=visits.written,
        pool=plan.pool,
    )
    columns = {
        "id": _ids(seed, rows, pools),
        **{name: text.strings(plan.pool) for name, text in texts.items()},
        "facts": facts,
        "group": plan.pool.strings(plan.groups[cell, turn]),
        **{axis: plan.pool.strings(plan.names[axis][plan.cells[cell, k]]) for k, axis in enumerate(AXES)},
        "verbosity": plan.pool.strings(plan.names["verbosity"][patients.level]),
        "condition": plan.pool.strings(plan.tables.name[condition]),
    }
    return arrow().table(columns)


def _patients(plan: _Plan, draws: Draws, axes: Ints, condition: Ints, level: Ints) -> Patients:
    np = numpy()

    lexicon = plan.lexicon
    _, kind, group, context = axes.T
    spans = [(g.min_months, g.max_months) if g.in_months else (g.min_years, g.max_years) for g in lexicon.age_groups]
    low, high = np.array(spans)[group].T
    sexes = plan.tables.sexes

    def among(names: tuple[str, ...], of: tuple[str, ...], chosen: Ints) -> Ints:
        return np.array([name in names for name in of])[chosen]

    ages = tuple(g.name for g in lexicon.age_groups)
    return Patients(
        condition=condition,
        group=group,
        context=context,
        level=level,
        sex=sexes.take(condition, draws.below("sex", sexes.counts[condition])),
        age=draws.between("age", low, high),
        carer=among(_CARER, ages, group),
        remote=among(("telehealth",), lexicon.visit_contexts, context),
        discharged=among(("hospital discharge follow-up",), lexicon.visit_contexts, context),
        later=among(("follow-up", "hospital discharge follow-up"), lexicon.visit_contexts, context),
        preventive=among(("preventive",), lexicon.condition_types, kind),
    )


def _ids(seed: int, rows: Ints, pools: Pools) -> Table:
    pa, pc = arrow(), compute()
    numbers = pc.utf8_lpad(pa.array(rows).cast(pa.string()), width=8, padding="0")
    return pc.binary_join_element_wise(f"{seed}-" if pools == "standard" else f"{seed}-held-out-", numbers, "")
