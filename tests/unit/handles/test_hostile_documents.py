"""Manifests and records with anything in any of their fields: what opens them succeeds or raises an error of ours."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soaptune.errors import DataError, SoaptuneError
from soaptune.handles import open_handle
from soaptune.handles.dataset import Dataset
from soaptune.handles.manifests import open_manifest
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.report import EvalReport
from soaptune.handles.storage import FolderFiles
from soaptune.jobs.place import Place
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.handles.service import ServiceManifest
from soaptune.snowflake.jobs.records import Record
from soaptune.snowflake.tables.spec import read_tables
from soaptune.tasks.spec import TaskSpec
from tests.unit.handles.file_fuzz import SPEC

HOSTILE = [
    None, True, -5, 10**18, 10**400, 1e308, -0.0, "", "x" * 10_000, "../../etc", "\0", "\u202e", [], [[]], ["a"] * 100,
    {}, {"": None}, {"kind": "dataset"}, {"kind": []}, "$$", "'; DROP TABLE x; --", '"', "sha256:zz", [None], [{}],
]  # fmt: skip
TEXTS = [
    "", "[", "null", "[]", "{", "{}", '"text"', "9" * 6_000, '{"a":' * 3_000, "[" * 300 + "]" * 300, "NaN",
    '{"kind": "dataset", "kind": "model"}', '{"counts": Infinity}', '{"a": "\\ud800"}', "\ufeff{}",
]  # fmt: skip

MODEL = {
    "method": "lora", "base": {"name": "a/b", "revision": "x"}, "task": SPEC, "data_fingerprint": "sha256:0",
    "synthetic": True, "spec": {"a": {"b": 1}}, "spec_fingerprint": "x", "yaml_fingerprint": "y",
    "fingerprint": "sha256:" + "0" * 64,
    "training": {"loss": 1.5}, "versions": {"a": "1"}, "kind": "model", "format_version": 1,
}  # fmt: skip
REPORT = {
    "kind": "report", "format_version": 1, "n": 3,
    "metrics": {"fact_f1": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}},
    "comparison": [{"metric": "m", "base": 0, "tuned": 1, "diff": 1, "low": 0, "high": 1, "n": 3}],
    "lineage": {"model_fingerprint": "a", "data_fingerprint": "b", "split": "test", "task": "t",
                "task_fingerprint": "x"},
}  # fmt: skip
PLACE = {
    "kind": "model", "plan": "p", "backend": "snowflake", "inputs": {"data": {"kind": "folder", "path": "/x"}},
    "keeps": {"a": {"kind": "stage", "stage": ["a", "b", "c"], "path": "x"}},
    "account": {"database": "D", "db_schema": "S", "compute_pool": "P"},
}  # fmt: skip
SERVICE = {
    "kind": "endpoint", "task": SPEC, "service": ["a", "b", "c"], "model_fingerprint": "f",
    "registry_model": "M", "registry_version": "V1", "url": "https://a.example", "name": "m",
    "engine": "vllm", "max_new_tokens": 5, "synthetic": True,
}  # fmt: skip


def record() -> dict[str, Any]:
    spec = JobSpec(name="train", entrypoint=("python", "-m", "x")).model_dump(mode="json")
    return {"job": "SOAPTUNE_A_0", "time": "2026-01-01T00:00:00+00:00", "settings": {}, "spec": spec}


def dataset(folder: Path) -> dict[str, Any]:
    made = Dataset.load([{"ticket": "a", "title": "b", "urgency": 1}], task=TaskSpec(**SPEC), into=folder)
    return made.manifest.model_dump(mode="json")


def tables(folder: Path) -> dict[str, Any]:
    split = {"table": ["D", "S", "T"], "columns": {"id": "ID", "ticket": "T"}, "absent": {}}
    return {"database": "D", "db_schema": "S", "name": "N", "splits": {"train": split}, "manifest": dataset(folder)}


def look_at_dataset(folder: Path) -> None:
    found = open_handle(folder)
    repr(found), found._repr_html_(), found.columns("train"), found.table("train"), found.ledger.counts()
    found.verify()


def look_at_model(folder: Path) -> None:
    found = open_manifest(FolderFiles(folder), ModelManifest)
    repr(found), found.model_dump_json()
    open_handle(folder)


def look_at_report(folder: Path) -> None:
    found = EvalReport.open(folder / "manifest.json")
    str(found), repr(found), found._repr_html_(), found.base(), found.fingerprint, found.predictions_path


KINDS: dict[str, tuple[Callable[[Path], dict[str, Any]], Callable[[Path], object]]] = {
    "dataset": (dataset, look_at_dataset),
    "model": (lambda _: MODEL, look_at_model),
    "report": (lambda _: REPORT, look_at_report),
    "place": (lambda _: PLACE, lambda folder: Place.read(folder)),
    "service": (lambda _: SERVICE, lambda folder: open_manifest(FolderFiles(folder), ServiceManifest)),
    "record": (
        lambda _: record(),
        lambda folder: Record.from_json((folder / "manifest.json").read_text(), job="SOAPTUNE_A_0"),
    ),
    "tables": (tables, lambda folder: read_tables((folder / "manifest.json").read_text())),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


def changed(document: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    if not path:
        return value
    made = copy.deepcopy(document)
    at = made
    for part in path[:-1]:
        at = at[part]
    if remove:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Any]:
    folder = tmp_path_factory.mktemp("documents") / "handle"
    make, look = KINDS[request.param]
    document = make(folder)
    folder.mkdir(exist_ok=True)
    return json.loads(json.dumps(document)), folder, look


def opened(folder: Path, text: str, look: Callable[[Path], object]) -> None:
    for name in ("manifest.json", "place.json"):
        (folder / name).write_text(text, encoding="utf-8")
    with contextlib.suppress(SoaptuneError):
        look(folder)


def test_every_field_with_anything_in_it(kind: tuple[Any, Path, Any]) -> None:
    document, folder, look = kind
    draw = random.Random(13)
    found = places(document)
    for path in draw.sample(found, min(len(found), 40)):
        opened(folder, json.dumps(changed(document, path, None, remove=True) if path else {}), look)
        for value in draw.sample(HOSTILE, 3):
            text = json.dumps(changed(document, path, value, remove=False), ensure_ascii=True)
            opened(folder, text, look)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_texts_that_are_no_manifest(kind: tuple[Any, Path, Any], text: str) -> None:
    _, folder, look = kind
    opened(folder, text, look)


@pytest.mark.soak
@settings(max_examples=2_000, deadline=None)
@given(data=st.data())
def test_any_json_in_any_field(kind: tuple[Any, Path, Any], data: st.DataObject) -> None:
    document, folder, look = kind
    anything = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text()
        | st.sampled_from(HOSTILE[:5]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
    path = data.draw(st.sampled_from(places(document)))
    made = changed(document, path, data.draw(anything), remove=False)
    opened(folder, json.dumps(made), look)


def test_the_documents_open_as_they_are(kind: tuple[Any, Path, Any]) -> None:
    document, folder, look = kind
    for name in ("manifest.json", "place.json"):
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    if document.get("kind") == "model" and "method" in document:
        open_manifest(FolderFiles(folder), ModelManifest)  # there are no weights
    else:
        look(folder)


@pytest.mark.parametrize("count", [-5, 10**18])
def test_a_count_is_that_of_the_rows(tmp_path: Path, count: int) -> None:
    document = dataset(tmp_path / "made")
    (tmp_path / "made" / "manifest.json").write_text(json.dumps({**document, "counts": {"train": count}}))
    with pytest.raises(DataError, match=r"counts|manifest says"):
        Dataset.open(tmp_path / "made").table("train")
