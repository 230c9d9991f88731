import pytest

from soaptune.deploy import Gates
from soaptune.errors import ConfigError
from soaptune.handles.report import EvalReport, Metric, ReportLineage


def report(*, evaluator=None, **metrics):
    return EvalReport(
        n=100,
        metrics={name: Metric(value=v, low=low, high=high, n=100) for name, (v, low, high) in metrics.items()},
        lineage=ReportLineage(
            model_fingerprint="sha256:m",
            data_fingerprint="sha256:d",
            split="test",
            task="t",
            task_fingerprint="sha256:t",
            evaluator=evaluator or {},
        ),
    )


def test_without_gates_every_report_passes():
    assert Gates().check(report()) == []


@pytest.mark.parametrize("name", ["schema_valid", "fact_recall", "fact_precision", "fact_f1"])
def test_the_lower_end_of_the_interval_counts_where_more_is_better(name):
    gates = Gates(**{name: 0.9})
    assert gates.check(report(**{name: (0.95, 0.9, 0.99)})) == []
    (finding,) = gates.check(report(**{name: (0.95, 0.8999, 0.99)}))
    assert (finding.path, finding.code, finding.level) == (f"require.{name}", "gate-failed", "error")
    assert name in finding.message
    assert "0.8999" in finding.message
    assert "at least 0.9 " in finding.message
    assert "more examples" in finding.hint


def test_the_upper_end_of_the_interval_counts_where_less_is_better():
    gates = Gates(invented_rate=0.05)
    assert gates.check(report(invented_rate=(0.01, 0.0, 0.05))) == []
    (finding,) = gates.check(report(invented_rate=(0.2, 0.1, 0.3)))
    assert "at most 0.05" in finding.message
    assert "0.1 to 0.3" in finding.message
    assert finding.hint == ""


def test_all_gates_that_fail_are_named():
    found = Gates(schema_valid=0.9, fact_f1=0.8, invented_rate=0.1).check(
        report(schema_valid=(0.5, 0.4, 0.6), fact_f1=(0.9, 0.85, 0.95), invented_rate=(0.5, 0.4, 0.6))
    )
    assert [finding.path for finding in found] == ["require.schema_valid", "require.invented_rate"]


def test_a_gate_without_a_figure_fails():
    (finding,) = Gates(fact_recall=0.0).check(report(schema_valid=(1, 1, 1)))
    assert (finding.code, finding.level) == ("gate-not-measured", "error")


def test_constrained_answers_say_nothing_about_the_schema():
    findings = Gates(schema_valid=0.9).check(report(schema_valid=(1, 0.97, 1), evaluator={"constrained": True}))
    assert [(finding.code, finding.level) for finding in findings] == [("constrained-report", "warning")]


def test_a_misspelt_gate_is_answered_with_the_right_one():
    with pytest.raises(ConfigError, match="did you mean 'schema_valid'"):
        Gates(schema_vaild=0.9)


@pytest.mark.parametrize("bound", [-0.1, 1.1, float("nan"), 95])
def test_a_bound_is_a_share(bound):
    with pytest.raises(ConfigError):
        Gates(schema_valid=bound)
