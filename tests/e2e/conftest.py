"""What the end-to-end tests share: running an example as a user does, and models that are trained once for all tests.

Every start of ArcticTraining costs a dozen seconds, so one fixture trains what most tests look at.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import soaptune as st
from tests.e2e.helpers import Run, Runs, fake_compilers, generate, python, small


def pytest_runtest_setup() -> None:
    """Skips what needs to train where that is not installed."""
    if importlib.util.find_spec("arctic_training") is None:
        pytest.skip("needs the extra 'train'")


@pytest.fixture(scope="session")
def run_example(repo_root: Path) -> Callable[..., str]:
    """Runs an example of the repository; gives what it prints, and fails with it when the example fails."""

    def run(name: str, *options: str | Path, cwd: Path) -> str:
        done = python(repo_root / "examples" / name, *options, cwd=cwd, COLUMNS="120")
        assert done.returncode == 0, f"{name}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> st.LocalBackend:
    return st.LocalBackend(tmp_path_factory.mktemp("e2e") / "runs")


@pytest.fixture(scope="session")
def runs(backend: st.LocalBackend, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    one, other = generate(backend, seed=1, rows=64), generate(backend, seed=2, rows=64)
    lora = st.Trainer(spec=small("tiny-lora", eval_interval=6)).submit(one, on=backend)
    folder = tmp_path_factory.mktemp("no-compiler")
    asked = folder / "asked"
    with pytest.MonkeyPatch.context() as patch:
        programs = [fake_compilers(folder / "bin", asked), Path(sys.executable).parent]
        patch.setenv("PATH", os.pathsep.join(map(str, programs)))
        for name in ("CC", "CXX", "CUDA_HOME"):
            patch.delenv(name, raising=False)
        full = st.Trainer(spec=small("tiny-full")).submit(other, on=backend)
    for job in (lora, full):
        job.wait(600)
    return Runs(lora=Run(one, lora), full=Run(other, full), asked_compilers=asked)
