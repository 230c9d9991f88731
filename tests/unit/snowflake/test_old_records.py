"""What the first release wrote down about jobs and services opens: there places were texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from soaptune.errors import BackendError
from soaptune.handles.location import Folder, StagePath
from soaptune.snowflake.jobs.records import Record
from tests.unit.snowflake.test_steps_on_snowflake import tables

TIME = "2026-10-30T12:00:00.000+00:00"


def record_of(inputs: Any) -> str:
    """A record with the fields, and the texts as inputs, that the first release wrote."""
    spec = {
        "name": "train",
        "kind": "model",
        "files": {"config.yaml": "type: soaptune_sft\n"},
        "entrypoint": ["arctic_training", "config.yaml"],
        "env": {},
        "secrets": {"HF_TOKEN": "HF_TOKEN"},
        "inputs": inputs,
        "code_paths": [],
        "resources": {"cpus": None, "gpus": None},
        "detach": False,
    }
    settings = {"compute_pool": "POOL", "target_instances": 1}
    return json.dumps({"job": "SOAPTUNE_TRAIN_0", "time": TIME, "settings": settings, "spec": spec})


def test_a_text_is_read_as_the_folder_stage_or_tables_that_it_names() -> None:
    address = tables().source.model_dump(mode="json", exclude_defaults=True)
    inputs = {
        "base": "/models/qwen",
        "model": '@"LLM_DEMO"."PUBLIC"."my ""stage"""/SOAPTUNE_TRAIN_1/output',
        "data": "tables:" + json.dumps(address),
    }
    record = Record.from_json(record_of(inputs), job="SOAPTUNE_TRAIN_0")
    assert record.spec.inputs == {
        "base": Folder(path="/models/qwen"),
        "model": StagePath(stage=("LLM_DEMO", "PUBLIC", 'my "stage"'), path="SOAPTUNE_TRAIN_1/output"),
        "data": tables().source,
    }
    assert record.time.isoformat(timespec="milliseconds") == TIME
    assert record.spec.needs is None  # nobody has stated them


def test_what_is_written_today_comes_back_as_it_was() -> None:
    record = Record.from_json(record_of({"data": "/data"}), job="SOAPTUNE_TRAIN_0")
    assert Record.from_json(record.to_json(), job=record.job) == record


@pytest.mark.parametrize("place", ["tables:{}", "tables:", "@nowhere", "@DB.S.STAGE/x"])
def test_a_text_that_names_no_place_makes_the_record_damaged(place: str) -> None:
    with pytest.raises(BackendError, match="the record of the job SOAPTUNE_TRAIN_0"):
        Record.from_json(record_of({"data": place}), job="SOAPTUNE_TRAIN_0")
