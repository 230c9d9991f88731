"""Uncertainty: 95 % intervals for proportions and ratios, and for paired differences.

Sources:
    - Wilson score interval: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
      JASA 22 (1927); recommended by L. D. Brown, T. T. Cai, A. DasGupta, "Interval estimation for a binomial
      proportion", Statistical Science 16 (2001).
    - Percentile bootstrap: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. What is
      drawn again are whole examples (clusters), since the facts of one example are not independent: A. C. Davison,
      D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8. A difference of two models is drawn
      on the same examples for both (paired): P. Koehn, "Statistical significance tests for machine translation
      evaluation", EMNLP 2004.
    - Difference from two intervals, used where a bootstrap has no spread: R. G. Newcombe, "Interval estimation for the
      difference between independent proportions", Statistics in Medicine 17 (1998), method 10; generalised as MOVER by
      G. Y. Zou, A. Donner, Statistics in Medicine 27 (2008). It ignores the pairing, so it is rather too wide.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from soaptune.common.lazy import optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Interval", "Statistic", "bootstrap", "difference_of_intervals", "resampled", "wilson"]

_Z = 1.959963984540054
_CELLS_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """A two-sided 95 % interval."""

    low: float
    high: float


Statistic = Callable[["Floats"], "Floats"]
"""A number from column sums: takes shape (..., columns), gives shape (...), NaN where it is undefined."""


def wilson(hits: float, n: int) -> Interval:
    """The Wilson score interval of a proportion.

    Args:
        hits: How many of the trials succeeded.
        n: How many trials there were, at least 1.

    Returns:
        The interval, within 0 and 1.
    """
    share = hits / n
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    middle, scale = share + _Z**2 / (2 * n), 1 + _Z**2 / n
    low = 0.0 if hits <= 0 else (middle - spread) / scale
    high = 1.0 if hits >= n else (middle + spread) / scale
    return Interval(max(0.0, low), min(1.0, high))


def resampled(columns: Sequence[Sequence[float]], statistic: Statistic, *, resamples: int, seed: int) -> Floats:
    """Computes a statistic on examples drawn with replacement.

    The draws depend on the number of examples, `resamples` and `seed` alone: two calls on the same examples draw the
    same ones, so that the difference of their results is a paired difference.

    Args:
        columns: One row for each example (cluster), shape (examples, columns), such as hits and totals.
        statistic: What to compute from the columns' sums.
        resamples: How often to draw.
        seed: Where the draws start.

    Returns:
        The statistic of each resample, shape (resamples,).

    Raises:
        MissingExtraError: numpy is not installed.
    """
    np = _numpy()
    table: Floats = np.asarray(columns, dtype=np.float64)
    parts = [statistic(weights @ table) for weights in _weights(np, len(table), resamples, seed)]
    return np.concatenate(parts)


def bootstrap(
    columns: Sequence[Sequence[float]], statistic: Statistic, *, resamples: int, seed: int
) -> Interval | None:
    """The percentile bootstrap interval of a statistic, with whole examples drawn again.

    Args:
        columns: As in `resampled`.
        statistic: As in `resampled`.
        resamples: How often to draw, 1,000 or more for a 95 % interval.
        seed: Where the draws start.

    Returns:
        The interval, or None when the draws do not vary (a single example, or all examples alike) and so say nothing
        about the uncertainty.
    """
    return percentiles(resampled(columns, statistic, resamples=resamples, seed=seed))


def percentiles(draws: Floats) -> Interval | None:
    """The middle 95 % of draws; None when they do not vary or are all undefined."""
    np = _numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns when all draws are NaN
        low, high = (float(x) for x in np.nanpercentile(draws, [2.5, 97.5]))
    if math.isnan(low) or np.nanmax(draws) - np.nanmin(draws) < 1e-12:
        return None
    return Interval(low, high)


def difference_of_intervals(
    first: float, first_interval: Interval, second: float, second_interval: Interval
) -> Interval:
    """The interval of ``first - second`` from the intervals of both (MOVER)."""
    below = math.hypot(first - first_interval.low, second_interval.high - second)
    above = math.hypot(first_interval.high - first, second - second_interval.low)
    difference = first - second
    return Interval(difference - below, difference + above)


def _weights(np: Any, examples: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each example is drawn, shape (resamples, examples), in slices that fit into memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS_AT_ONCE // examples)
    shares = np.full(examples, 1 / examples)
    for start in range(0, resamples, rows):
        yield generator.multinomial(examples, shares, size=min(rows, resamples - start)).astype(np.float64)


def _numpy() -> Any:
    return optional("numpy", extra="train", what="an interval by bootstrap")
