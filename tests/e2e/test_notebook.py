"""The quickstart as a notebook, at reduced size: every cell is executed."""

from __future__ import annotations

from pathlib import Path

import pytest

import soaptune as st
from tests.e2e.helpers import SOURCE, check_report

pytest.importorskip("ipykernel", reason="needs the dependency group 'test'")
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

SMALL = {"TRAIN": "48", "TEST": "8", "MAX_STEPS": "4", "MIN_VALID": "0"}


def test_the_notebook_runs_from_top_to_bottom(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setenv(f"SOAPTUNE_QUICKSTART_{name}", value)
    # The kernel's own files; and the sources, where soaptune is not installed.
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONPATH", SOURCE)

    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(repo_root / "examples" / "quickstart.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    )
    client.execute()

    check_report(work / "quickstart" / "report.json", n=8)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in shown if output.output_type == "error"]
    html = "".join(output.data.get("text/html", "") for output in shown if output.output_type == "execute_result")
    for part in ("LoRA adapter", "schema_valid", "Synthetic text"):
        assert part in html
    assert all(job.status in ("done", "cancelled") for job in st.LocalBackend(work / "quickstart" / "runs").jobs())


def test_the_notebook_is_committed_without_outputs(repo_root: Path) -> None:
    notebook = nbformat.read(repo_root / "examples" / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
