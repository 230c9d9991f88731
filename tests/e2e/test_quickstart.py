"""The quickstart as a script, at reduced size. The notebook makes the same calls, and runs each time."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import soaptune as st
from tests.e2e.helpers import check_report, open_to_others


def answers_at(url: str) -> bool:
    where = urlsplit(url)
    try:
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.soak
def test_the_quickstart_leaves_a_report_and_nothing_running(run_example: Callable[..., str], tmp_path: Path) -> None:
    sizes = ("--train", "48", "--test", "8", "--max-steps", "4", "--min-valid", "0")
    # Data, training, evaluation and endpoint with an umask that takes nothing away.
    printed = run_example("quickstart.py", *sizes, cwd=tmp_path, umask=0)

    check_report(tmp_path / "quickstart" / "report.json", n=8)
    unseen = st.EvalReport.open(tmp_path / "quickstart" / "report-unseen.json")
    assert unseen.n == 8
    assert not unseen.comparison

    url = re.search(r"http://127\.0\.0\.1:\d+", printed)
    assert url, printed
    assert not answers_at(url.group())
    note = printed.split("its note:")[1]
    assert [line.split()[0] for line in note.splitlines() if re.match(r"  [SOAP] ", line)] == list("SOAP")

    jobs = st.LocalBackend(tmp_path / "quickstart" / "runs").jobs()
    assert sorted(job.spec.kind for job in jobs) == ["data", "data", "endpoint", "model", "report", "report"]
    for job in jobs:
        assert job.status == ("cancelled" if job.spec.kind == "endpoint" else "done")
        assert not (job.stage / "cache").exists()
    assert open_to_others(tmp_path / "quickstart" / "runs") == []
    assert {path.name for path in tmp_path.iterdir()} == {"quickstart"}
