"""Intervals against published values, and bootstrap against what theory says."""

import math
import random

import pytest

from soaptune.evaluate.intervals import Interval, bootstrap, difference_of_intervals, resampled, wilson


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_newcombe_1998_statistics_in_medicine_17_857_table_1(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_stays_inside_0_and_1():
    assert wilson(20, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)
    assert wilson(20, 20).high == 1.0
    assert wilson(0, 1).low == 0.0


def test_difference_agrees_with_newcombe_1998_statistics_in_medicine_17_873_method_10():
    found = difference_of_intervals(56 / 70, wilson(56, 70), 48 / 80, wilson(48, 80))
    assert found == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_bootstrap_of_a_mean_has_the_width_that_the_normal_approximation_says():
    columns = [(float(i % 2), 1.0) for i in range(400)]
    found = bootstrap(columns, ratio, resamples=4000, seed=1)
    half = 1.96 * math.sqrt(0.25 / 400)
    assert found == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)


def test_bootstrap_draws_examples_and_not_the_facts_inside_them():
    # 20 examples whose 50 facts are all right or all wrong carry no more information than 20 coin flips.
    clustered = bootstrap([(50.0 * (i % 2), 50.0) for i in range(20)], ratio, resamples=2000, seed=0)
    single = bootstrap([(float(i % 2), 1.0) for i in range(20)], ratio, resamples=2000, seed=0)
    assert clustered == single


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(200):
        draw = random.Random(seed)
        columns = [(float(draw.random() < 0.3), 1.0) for _ in range(100)]
        found = bootstrap(columns, ratio, resamples=1000, seed=seed)
        inside += found is not None and found.low <= 0.3 <= found.high
    assert 180 <= inside <= 198


def test_bootstrap_is_the_same_for_the_same_seed_and_another_for_another():
    columns = [(float(i % 3), 3.0) for i in range(50)]
    assert bootstrap(columns, ratio, resamples=1000, seed=3) == bootstrap(columns, ratio, resamples=1000, seed=3)
    assert bootstrap(columns, ratio, resamples=1000, seed=3) != bootstrap(columns, ratio, resamples=1000, seed=4)


def test_bootstrap_says_nothing_when_all_examples_are_alike():
    assert bootstrap([(2.0, 2.0)] * 30, ratio, resamples=1000, seed=0) is None


def test_paired_draws_take_the_same_examples_for_both_models():
    columns = [(float(i), 10.0) for i in range(10)]
    shifted = [(i + 1.0, 10.0) for i in range(10)]
    difference = resampled(shifted, ratio, resamples=1000, seed=0) - resampled(columns, ratio, resamples=1000, seed=0)
    assert difference == pytest.approx(0.1)


def test_large_samples_are_drawn_in_slices_without_a_change_of_shape():
    columns = [(float(i % 2), 1.0) for i in range(9000)]
    draws = resampled(columns, ratio, resamples=1000, seed=0)
    assert draws.shape == (1000,)
    assert isinstance(wilson(1, 2), Interval)
