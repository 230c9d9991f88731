"""What all tests share: no network, no traces in the home folder, one worker for each core, and where things lie.

Every fixture gives absolute paths, so that the tests run from any working directory.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_WORKERS = 4
"""A worker holds PyTorch and the jobs that its tests start: a gigabyte and more."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--soak``."""
    parser.addoption("--soak", action="store_true", help="run the tests marked as soak, and no others")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """What ``-n logical``, the default, means: a worker for each core; none for a run of single files or tests."""
    if config.option.numprocesses != "logical":
        return None
    if config.args and all(".py" in argument for argument in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS) if cores > 1 else 0


def pytest_configure() -> None:
    """Sets the environment before any test module, and with it a library that reads it once, is imported."""
    caches = tempfile.mkdtemp(prefix="soaptune-tests-")
    # A worker does not always get to pytest's own cleanup.
    atexit.register(shutil.rmtree, caches, ignore_errors=True)
    os.environ.update(
        HF_HUB_OFFLINE="1",
        HF_HOME=caches,
        XDG_CACHE_HOME=str(Path(caches) / "cache"),
        TOKENIZERS_PARALLELISM="false",
        WANDB_MODE="disabled",
    )
    if os.environ.get("PYTEST_XDIST_WORKER"):
        # Workers and their children share the cores: with threads of their own each would wait for the others.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks tests by their folder, chooses between what soaks and the rest, and puts what takes minutes first.

    At the end of a run the workers share what is left: there it should be short tests, and no module whose model
    would then be trained by both.
    """
    for item in items:
        parts = item.path.relative_to(ROOT).parts
        for marker in ("contract", "e2e"):
            if parts[:2] == ("tests", marker):
                item.add_marker(marker)
    soak = bool(config.option.soak)
    left_out = [item for item in items if (item.get_closest_marker("soak") is not None) != soak]
    if left_out:
        items[:] = [item for item in items if (item.get_closest_marker("soak") is not None) == soak]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of large inputs that are not part of the repository; tests that need it are skipped without it."""
    value = os.environ.get("SOAPTUNE_SHARED", "")
    if not value:
        pytest.skip("SOAPTUNE_SHARED is not set: it names a folder of data that the repository does not carry")
    return Path(value).resolve(strict=True)
