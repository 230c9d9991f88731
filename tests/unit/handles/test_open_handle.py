from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import soaptune as st
from soaptune.common.files import write_json
from soaptune.errors import DataError
from soaptune.handles import open_handle
from soaptune.handles.dataset import Dataset
from soaptune.tasks.spec import TaskSpec


def test_a_folder_opens_as_what_its_manifest_says(tmp_path: Path, task: TaskSpec) -> None:
    table = pa.table({"id": ["a"], "ticket": ["x"], "title": ["y"], "urgency": ["1"]})
    Dataset.write(tmp_path / "data", {"train": table}, task=task, how={})
    handle = open_handle(tmp_path / "data")
    assert isinstance(handle, Dataset)
    assert handle.splits == ("train",)


def test_other_folders_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json does not exist"):
        open_handle(tmp_path)
    write_json(tmp_path / "manifest.json", {"kind": "cake"})
    with pytest.raises(DataError, match="'cake'; this soaptune knows dataset, model"):
        open_handle(tmp_path)
    write_json(tmp_path / "manifest.json", [])
    with pytest.raises(DataError, match="is not a JSON object"):
        open_handle(tmp_path)


def test_a_job_s_folder_stands_for_its_output_and_a_folder_without_says_what_to_do(
    tmp_path: Path, task: TaskSpec
) -> None:
    table = pa.table({"id": ["a"], "ticket": ["x"], "title": ["y"], "urgency": ["1"]})
    written = Dataset.write(tmp_path / "job" / "output", {"train": table}, task=task, how={})
    assert Dataset.open(tmp_path / "job").path == written.path
    with pytest.raises(DataError, match=r"nowhere is not a report: it has no report\.json\. An Evaluator leaves one"):
        st.EvalReport.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no manifest\.json\. A Trainer leaves one .*TrainSpec\(model="):
        st.Model.open("Qwen/Qwen3-1.7B")
