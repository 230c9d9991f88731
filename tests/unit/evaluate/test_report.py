"""The report as a file, as a table and as HTML."""

import io
import json
import re

import pytest
from rich.console import Console

from soaptune.errors import ConfigError, DataError
from soaptune.handles.report import Difference, EvalReport, Metric, ReportLineage


def make(**changes):
    values = {
        "n": 20,
        "metrics": {
            "schema_valid": Metric(value=0.95, low=0.76, high=0.99, n=20),
            "perplexity": Metric(value=1.5, low=1.4, high=1.6, n=20),
            "base/schema_valid": Metric(value=0.0, low=0.0, high=0.16, n=20),
        },
        "comparison": (
            Difference(metric="schema_valid", base=0.0, tuned=0.95, diff=0.95, low=0.7, high=0.99, n=20),
            Difference(metric="perplexity", base=1.6, tuned=1.5, diff=-0.1, low=-0.3, high=0.1, n=20),
        ),
        "errors": {"model": {"not-json": 1}, "base": {"empty": 20}},
        "notes": ("A note.",),
        "synthetic": True,
        "lineage": ReportLineage(
            model_fingerprint="sha256:m",
            data_fingerprint="sha256:d",
            split="test",
            task="t",
            task_fingerprint="sha256:t",
        ),
        "predictions": "predictions.parquet",
    }
    return EvalReport(**{**values, **changes})


def test_a_report_round_trips_through_its_file(tmp_path):
    file = make().save(tmp_path / "deep" / "report.json")
    assert EvalReport.open(file) == make()
    assert EvalReport.open(file.parent) == make()


def test_the_file_has_the_metrics_on_top_for_readers_without_the_library(tmp_path):
    found = json.loads(make().save(tmp_path / "report.json").read_text())
    assert found["metrics"]["schema_valid"] == {"value": 0.95, "low": 0.76, "high": 0.99, "n": 20}
    assert (found["kind"], found["format_version"]) == ("report", 1)


def test_a_copy_still_finds_the_table_of_answers(tmp_path):
    report = EvalReport.open(make().save(tmp_path / "job" / "report.json"))
    copy = EvalReport.open(report.save(tmp_path / "report.json"))
    assert copy.predictions_path == tmp_path / "job" / "predictions.parquet"
    # No report is followed out of its folder, so a copy elsewhere does not name the table.
    assert EvalReport.open(report.save(tmp_path / "quickstart" / "report.json")).predictions_path is None
    assert report.predictions_path == tmp_path / "job" / "predictions.parquet"
    assert make().predictions_path is None


def test_the_fingerprint_is_of_what_the_report_says(tmp_path):
    report = make()
    moved = EvalReport.open(report.save(tmp_path / "report.json"))
    assert moved.fingerprint == report.fingerprint
    assert report.replace(n=21).fingerprint != report.fingerprint


def test_a_metric_is_never_nan():
    with pytest.raises(ConfigError, match="finite"):
        Metric(value=float("nan"), low=0, high=1, n=3)


@pytest.mark.parametrize("content", ["{", "{}", '{"kind": "model"}', "[]"])
def test_what_is_not_a_report_is_refused_with_the_file_named(tmp_path, content):
    file = tmp_path / "report.json"
    file.write_text(content)
    with pytest.raises(DataError, match=r"report\.json"):
        EvalReport.open(file)


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(DataError, match="no report"):
        EvalReport.open(tmp_path)


def test_printing_shows_value_interval_base_difference_and_notes():
    text = str(make())
    assert "schema_valid" in text
    assert "95.0%" in text
    assert "76.0% – 99.0%" in text
    assert "+95.0% [+70.0% … +99.0%]" in text
    assert "ns" in text
    assert "not-json 1" in text
    assert "A note." in text
    assert "generated examples" in text
    assert "\x1b" not in text


def test_a_narrow_terminal_cuts_no_figure():
    out = io.StringIO()
    Console(file=out, width=72, color_system=None).print(make())
    assert "…" not in out.getvalue().replace(" … ", " ")
    figures = set(re.findall(r"[+-]?\d+\.\d%", str(make())))
    assert figures
    assert figures == set(re.findall(r"[+-]?\d+\.\d%", out.getvalue()))


def test_the_base_models_metrics_have_their_plain_names():
    assert make().base()["schema_valid"].value == 0.0


def test_html_is_inert_and_needs_nothing_from_outside():
    html = make(notes=("<script>alert(1)</script>",))._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "http" not in html
    assert "<table" in html


def test_repr_is_short():
    assert repr(make()) == "EvalReport(n=20, schema_valid=0.950)"
