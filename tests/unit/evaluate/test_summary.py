"""From counts to metrics: definitions, intervals and the paired comparison."""

import math

import pytest

from soaptune.evaluate.examples import Count
from soaptune.evaluate.intervals import wilson
from soaptune.evaluate.summary import compare, summarise

HOW = {"resamples": 1000, "seed": 0}


def test_ratios_are_sums_over_sums_and_not_means_of_shares():
    metrics = summarise([{"fact_recall": Count(1, 1)}, {"fact_recall": Count(0, 3)}], **HOW)
    assert metrics["fact_recall"].value == pytest.approx(0.25)
    assert metrics["fact_recall"].n == 2


def test_f1_is_the_harmonic_mean_of_recall_and_precision():
    rows = [{"fact_recall": Count(2, 4), "fact_precision": Count(3, 4)}] * 2
    assert summarise(rows, **HOW)["fact_f1"].value == pytest.approx(2 * 0.5 * 0.75 / 1.25)


def test_f1_is_zero_where_nothing_checkable_was_written_and_precision_is_absent():
    metrics = summarise([{"fact_recall": Count(0, 4), "fact_precision": Count(0, 0)}] * 3, **HOW)
    assert metrics["fact_f1"].value == 0
    assert "fact_precision" not in metrics


def test_perplexity_is_the_exponential_of_the_loss_per_token():
    metrics = summarise([{"perplexity": Count(10.0, 5)}, {"perplexity": Count(2.0, 7)}], **HOW)
    assert metrics["perplexity"].value == pytest.approx(math.e)
    assert metrics["perplexity"].low <= math.e <= metrics["perplexity"].high


def test_the_schema_valid_rate_has_a_wilson_interval():
    rows = [{"schema_valid": Count(float(i > 0), 1)} for i in range(20)]
    metric = summarise(rows, **HOW)["schema_valid"]
    assert (metric.low, metric.high) == pytest.approx(wilson(19, 20))


def test_a_perfect_ratio_has_an_interval_all_the_same():
    metric = summarise([{"fact_recall": Count(5, 5)}] * 20, **HOW)["fact_recall"]
    assert (metric.value, metric.high) == (1.0, 1.0)
    assert metric.low == pytest.approx(wilson(20, 20).low)


def test_nothing_to_count_is_absent_and_never_nan():
    assert summarise([{"invented_rate": Count(0, 0)}] * 4, **HOW) == {}
    assert summarise([], **HOW) == {}


def test_whole_answers_come_before_single_fields():
    rows = [{"fact_recall": Count(1, 2), "fact_recall/S": Count(1, 2), "rouge_l": Count(1, 1)}]
    assert list(summarise(rows, **HOW)) == ["fact_recall", "rouge_l", "fact_recall/S"]


def test_a_constant_improvement_has_a_narrow_paired_interval():
    base = [{"rouge_l": Count(i / 100, 1)} for i in range(50)]
    tuned = [{"rouge_l": Count(i / 100 + 0.1 + 0.001 * (i % 2), 1)} for i in range(50)]
    (row,) = compare(base, tuned, **HOW)
    assert row.diff == pytest.approx(0.1005)
    assert row.low > 0.0995
    assert row.high < 0.1015
    assert row.significant


def test_no_difference_is_not_significant():
    base = [{"schema_valid": Count(float(i % 2), 1)} for i in range(40)]
    tuned = [{"schema_valid": Count(float((i + 1) % 2), 1)} for i in range(40)]
    (row,) = compare(base, tuned, **HOW)
    assert row.diff == 0
    assert not row.significant


def test_all_against_nothing_keeps_its_uncertainty():
    base, tuned = [{"schema_valid": Count(0, 1)}] * 10, [{"schema_valid": Count(1, 1)}] * 10
    (row,) = compare(base, tuned, **HOW)
    assert row.diff == 1.0
    assert 0.5 < row.low < 0.9
    assert row.high == pytest.approx(1.0)


def test_only_examples_that_both_models_have_a_count_for_are_compared():
    base = [{"perplexity": Count(4, 2)}, {}]
    tuned = [{"perplexity": Count(2, 2)}, {"perplexity": Count(9, 1)}]
    (row,) = compare(base, tuned, **HOW)
    assert row.n == 1
    assert row.tuned == pytest.approx(math.e)
