"""Handles carry their location, and move only when they are asked to."""

import pyarrow as pa
import pytest

from soaptune.errors import CheckFailed
from soaptune.handles.dataset import Dataset
from soaptune.handles.folder_dataset import FolderDataset
from soaptune.handles.location import Folder, StagePath, misplaced
from soaptune.local.backend import LocalBackend
from soaptune.tasks.spec import TaskSpec

TASK = TaskSpec(
    name="t",
    system_prompt="s",
    user_template="{x}",
    output_schema={"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]},
    output_fields=("y",),
    input_fields=("x",),
    rubric={"y": "r"},
)


@pytest.fixture
def data(tmp_path):
    table = pa.table({"id": ["1", "2"], "x": ["a", "b"], "y": ["c", None]})
    return Dataset.write(tmp_path / "data", {"train": table.slice(0, 1)}, task=TASK, how={"step": "test"})


class Elsewhere(FolderDataset):
    """A dataset that another backend's jobs read."""

    @property
    def location(self):
        return StagePath(stage=("DB", "S", "FILES"), path="data")


def test_a_local_handle_lies_where_its_folder_is(data):
    assert data.location == Folder(path=str(data.path))
    assert str(data.location) == str(data.path)


def test_a_handle_of_another_backend_is_a_finding_that_names_the_way_over(data):
    (finding,) = misplaced((data,), reads={"stage", "tables"})
    assert (finding.path, finding.code) == ("inputs[0]", "other-backend")
    assert "The Dataset lies in a folder of this machine" in finding.message
    assert "copy_to(backend)" in finding.hint
    assert misplaced((data, None, "text"), reads={"folder"}) == []


def test_a_step_refuses_a_handle_of_another_backend(data, tmp_path):
    from soaptune import Trainer, TrainSpec

    far = Elsewhere(data.path, data.manifest)
    with pytest.raises(CheckFailed, match="The Dataset lies on a stage in Snowflake"):
        Trainer(spec=TrainSpec.preset("tiny-lora")).submit(far, on=LocalBackend(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_copy_to_the_same_backend_copies_nothing(data, tmp_path):
    backend = LocalBackend(tmp_path / "runs")
    assert data.copy_to(backend) is data
    assert not (tmp_path / "runs").exists()


def test_copy_to_this_machine_brings_the_same_rows_once(data, tmp_path):
    backend = LocalBackend(tmp_path / "runs")
    far = Elsewhere(data.path, data.manifest)
    here = far.copy_to(backend)
    assert here.location.kind == "folder"
    assert here.fingerprint == data.fingerprint
    assert here.table("train").equals(data.table("train"))
    assert here.manifest.how == data.manifest.how
    assert far.copy_to(backend).path == here.path
