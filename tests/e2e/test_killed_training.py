"""Real training with ArcticTraining: its processes are killed alone and in pairs, at the start, amid it, at the end.

`tests/contract/test_killed_jobs.py` is the fast counterpart, with a stand-in for training.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import soaptune as st
from tests.contract.killing import RIGHT_WITHIN, VICTIMS, Nursery, expect_the_end, kill, watchers
from tests.e2e.helpers import generate, small

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

PATIENCE = 300.0
DEEPSPEED = 5.5
"""Seconds that DeepSpeed's runner goes on after its launcher was killed: 5.2 measured, and 0.6 for what was left."""
MOMENTS = ("start", "training", "end")
ENDING = [victims for victims in VICTIMS if victims != ("guard",)]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> st.Dataset:
    return generate(st.LocalBackend(tmp_path_factory.mktemp("data") / "runs"), seed=1, rows=64)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still waiting until {what}"
        time.sleep(0.005)


def processes(stage: Path) -> dict[str, int]:
    """The runner, the launcher and the rank, as far as they are there: each started the next."""
    found: dict[str, int] = {}
    runner = json.loads((stage / "state.json").read_text()).get("group", 0)
    if not runner:
        return found
    found["runner"] = runner
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if b"python" in (entry / "cmdline").read_bytes():
                parents.setdefault(parent, []).append(int(entry.name))
        except OSError:
            continue
    at = runner
    while children := parents.get(at):
        at = children[0]
        command = Path(f"/proc/{at}/cmdline").read_bytes()
        if b"deepspeed.launcher.launch" in command:
            found["launcher"] = at
        elif "launcher" in found:
            found["rank"] = at
            break
    return found


def reached(stage: Path, moment: str) -> bool:
    if not (stage / "state.json").exists() or "rank" not in processes(stage):
        return False
    if moment == "start":
        return True
    progress = stage / "output" / "progress.jsonl"
    lines = progress.read_text().splitlines() if progress.exists() else []
    return len(lines) >= (1 if moment == "training" else 12)


@pytest.mark.timeout(PATIENCE * 3)
@pytest.mark.parametrize(("moment", "victims"), list(itertools.product(MOMENTS, ENDING)), ids=str)
def test_training_ends_with_whoever_is_killed(
    nursery: Nursery, data: st.Dataset, tmp_path: Path, moment: str, victims: tuple[str, ...]
) -> None:
    backend = st.LocalBackend(tmp_path)
    trainer = st.Trainer(spec=small("tiny-lora"))
    submitted = nursery.submit(trainer.compile(data, on=backend), tmp_path, "k")
    stage = tmp_path / "jobs" / submitted["job"]
    until(lambda: reached(stage, moment), f"it has come to the {moment}")
    pids = {"submitter": submitted["pid"], **watchers(stage), **processes(stage)}
    kill({name: pids[name] for name in victims})
    within = RIGHT_WITHIN + (DEEPSPEED if "launcher" in victims else 0.0)
    expect_the_end(nursery, tmp_path, "k", victims, stage, within=within)

    model = trainer.run(data, on=backend, key="k", retry=True)
    assert model.manifest.data_fingerprint == data.fingerprint
    assert len(backend.jobs()) == 2
