"""What the end-to-end tests share: running an example as a user does, and models that are trained once for all tests.

Every start of ArcticTraining costs a dozen seconds, so one fixture trains what most tests look at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import soaptune as st
from tests.e2e.helpers import Run, Runs, fake_compilers, generate, python, small

Once = Callable[[str, Callable[[Path], None]], Path]


def pytest_runtest_setup() -> None:
    """Skips what needs to train where that is not installed."""
    if importlib.util.find_spec("arctic_training") is None:
        pytest.skip("needs the extra 'train'")


@pytest.fixture(scope="session")
def run_example(repo_root: Path) -> Callable[..., str]:
    """Runs an example of the repository; gives what it prints, and fails with it when the example fails."""

    def run(name: str, *options: str | Path, cwd: Path, umask: int = -1) -> str:
        done = python(repo_root / "examples" / name, *options, cwd=cwd, umask=umask, COLUMNS="120")
        assert done.returncode == 0, f"{name}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Fills a folder that all workers share: the first that needs it does, the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def filled(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> st.LocalBackend:
    return st.LocalBackend(tmp_path_factory.mktemp("e2e") / "runs")


@pytest.fixture(scope="session")
def runs(once: Once) -> Runs:
    folder = once("trained", train)
    backend = st.LocalBackend(folder / "runs")
    made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    found = {name: Run(st.Dataset.open(data), backend.job(job)) for name, (data, job) in made.items()}
    return Runs(**found, asked_compilers=folder / "asked")


def train(folder: Path) -> None:
    """Trains an adapter and, at the same time, all weights on a machine without a compiler."""
    backend = st.LocalBackend(folder / "runs")
    one, other = generate(backend, seed=1, rows=64), generate(backend, seed=2, rows=64)
    lora = st.Trainer(spec=small("tiny-lora", eval_interval=6)).submit(one, on=backend)
    with pytest.MonkeyPatch.context() as patch:
        programs = [fake_compilers(folder / "bin", folder / "asked"), Path(sys.executable).parent]
        patch.setenv("PATH", os.pathsep.join(map(str, programs)))
        for name in ("CC", "CXX", "CUDA_HOME"):
            patch.delenv(name, raising=False)
        full = st.Trainer(spec=small("tiny-full")).submit(other, on=backend)
    for job in (lora, full):
        job.wait(600)
    made = {"lora": [str(one.path), lora.id], "full": [str(other.path), full.id]}
    (folder / "made.json").write_text(json.dumps(made), encoding="utf-8")
