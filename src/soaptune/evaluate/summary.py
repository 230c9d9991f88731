"""From the counts of single examples to metrics with intervals, and to the paired comparison of two models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soaptune.evaluate.examples import Count, Scores
from soaptune.evaluate.intervals import (
    Interval,
    Statistic,
    bootstrap,
    difference_of_intervals,
    percentiles,
    resampled,
    wilson,
)
from soaptune.handles.report import Difference, Metric

if TYPE_CHECKING:
    from soaptune.evaluate.intervals import Floats

__all__ = ["compare", "summarise"]

_UNBOUNDED = "perplexity"
_NONE = Count(0.0, 0.0)
Columns = list[tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a metric follows from counts: which ones it sums, and what it makes of the sums."""

    counts: tuple[str, ...]
    statistic: Statistic


def summarise(scores: Sequence[Scores], *, resamples: int, seed: int) -> dict[str, Metric]:
    """Sums counts into metrics.

    Args:
        scores: The counts of each example by metric name.
        resamples: How often the bootstrap draws.
        seed: Where its draws start.

    Returns:
        The metrics with 95 % intervals: Wilson's for ``schema_valid``, otherwise a bootstrap over examples. ``n`` is
        the number of examples that the metric was asked of. A metric without a single count (0 of 0) is absent.
    """
    metrics: dict[str, Metric] = {}
    for name in _names(scores):
        plan = _plan(name)
        columns = _columns(scores, plan)
        value = _value(columns, plan)
        if value is not None:
            low, high = _interval(name, value, columns, plan, resamples=resamples, seed=seed)
            metrics[name] = Metric(value=value, low=low, high=high, n=len(columns))
    return metrics


def compare(base: Sequence[Scores], tuned: Sequence[Scores], *, resamples: int, seed: int) -> tuple[Difference, ...]:
    """Compares two models on the same examples.

    Args:
        base: The counts of each example for the model to compare with.
        tuned: The counts of each example, in the same order, for the model in question.
        resamples: How often the bootstrap draws.
        seed: Where its draws start.

    Returns:
        For each metric that both have the difference ``tuned - base`` with its paired 95 % interval.
    """
    rows: list[Difference] = []
    for name in _names(tuned):
        plan = _plan(name)
        both = [(b, t) for b, t in zip(base, tuned, strict=True) if _has(b, plan) and _has(t, plan)]
        before, after = _columns([b for b, _ in both], plan), _columns([t for _, t in both], plan)
        old, new = _value(before, plan), _value(after, plan)
        if old is None or new is None:
            continue
        draws_after = resampled(after, plan.statistic, resamples=resamples, seed=seed)
        draws_before = resampled(before, plan.statistic, resamples=resamples, seed=seed)
        found = percentiles(draws_after - draws_before)
        if found is None:
            found = difference_of_intervals(
                new,
                _interval(name, new, after, plan, resamples=resamples, seed=seed),
                old,
                _interval(name, old, before, plan, resamples=resamples, seed=seed),
            )
        rows.append(
            Difference(metric=name, base=old, tuned=new, diff=new - old, low=found.low, high=found.high, n=len(both))
        )
    return tuple(rows)


def _interval(name: str, value: float, columns: Columns, plan: _Plan, *, resamples: int, seed: int) -> Interval:
    if name == "schema_valid":
        return wilson(sum(row[0] for row in columns), len(columns))
    found = bootstrap(columns, plan.statistic, resamples=resamples, seed=seed)
    if found is not None:
        return found
    # No spread between the examples: all of them right, or none. The examples, not the facts, are then the trials.
    if name == _UNBOUNDED:
        return Interval(value, value)
    return wilson(value * len(columns), len(columns))


def _names(scores: Iterable[Scores]) -> list[str]:
    """The metrics in the order in which they are reported: F1 right behind the precision that it needs."""
    names = list(dict.fromkeys(name for row in scores for name in row))
    whole: list[str] = []
    for name in names:
        whole.append(name)
        recall = name.replace("fact_precision", "fact_recall", 1)
        if name.startswith("fact_precision") and recall in names:
            whole.append(name.replace("fact_precision", "fact_f1", 1))
    return sorted(whole, key=lambda name: "/" in name)


def _plan(name: str) -> _Plan:
    if name.startswith("fact_f1"):
        other = name[len("fact_f1") :]
        return _Plan((f"fact_recall{other}", f"fact_precision{other}"), _f1)
    return _Plan((name,), _exp_ratio if name == _UNBOUNDED else _ratio)


def _has(row: Scores, plan: _Plan) -> bool:
    return any(name in row for name in plan.counts)


def _columns(scores: Sequence[Scores], plan: _Plan) -> Columns:
    rows: Columns = []
    for row in scores:
        if _has(row, plan):
            counts = [row.get(name, _NONE) for name in plan.counts]
            rows.append(tuple(number for count in counts for number in count))
    return rows


def _value(columns: Columns, plan: _Plan) -> float | None:
    if not columns or not any(row[1] for row in columns):
        return None
    import numpy as np

    value = float(plan.statistic(np.asarray(columns, dtype=np.float64).sum(axis=0)))
    return value if math.isfinite(value) else None


def _ratio(sums: Floats) -> Floats:
    import numpy as np

    hits, total = sums[..., 0], sums[..., 1]
    return np.divide(hits, total, out=np.full_like(total, np.nan), where=total > 0)


def _exp_ratio(sums: Floats) -> Floats:
    import numpy as np

    return np.exp(_ratio(sums))


def _f1(sums: Floats) -> Floats:
    """Harmonic mean of recall and precision; 0 where no fact was found or nothing checkable was written."""
    import numpy as np

    recall, precision = _ratio(sums[..., :2]), np.nan_to_num(_ratio(sums[..., 2:]))
    both = recall + precision
    zero = np.where(np.isnan(recall), np.nan, 0.0)
    return np.divide(2 * recall * precision, both, out=zero, where=both > 0)
