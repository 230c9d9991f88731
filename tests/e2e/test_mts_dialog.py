"""The example on real text, at reduced size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import soaptune as st


def test_mts_dialog_trains_on_csv_files_and_reports_what_leaks(
    run_example: Callable[..., str], shared_dir: Path, tmp_path: Path
) -> None:
    folder = shared_dir / "data" / "mts-dialog"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    options = ("--data", folder, "--max-rows", "8", "--max-steps", "2", "--out", "out")
    printed = run_example("mts_dialog.py", *options, cwd=tmp_path)

    assert "{'train': 1201, 'validation': 100}" in printed
    assert "2 validation dialogues stand in training as well: validation-4, validation-58" in printed
    assert "RowLedger(1301 rows" in printed, "every row of the two files is accounted for"
    report = st.EvalReport.open(tmp_path / "out" / "report.json")
    assert report.n == 8
    assert report.lineage.split == "validation"
    assert not report.synthetic
    assert {"rouge_l", "base/rouge_l", "perplexity"} <= set(report.metrics)
    assert not [name for name in report.metrics if name.startswith("fact_")], "the data carries no facts"
