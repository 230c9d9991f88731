"""What all tests share: no network, no traces in the home folder, and where things lie.

Every fixture gives absolute paths, so that the tests run from any working directory.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Sets the environment before any test module, and with it a library that reads it once, is imported."""
    caches = tempfile.TemporaryDirectory(prefix="soaptune-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(caches.cleanup)
    os.environ.update(
        HF_HUB_OFFLINE="1",
        HF_HOME=caches.name,
        TOKENIZERS_PARALLELISM="false",
        WANDB_MODE="disabled",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of tests/contract and tests/e2e by the folder they lie in."""
    for item in items:
        parts = item.path.relative_to(ROOT).parts
        for marker in ("contract", "e2e"):
            if parts[:2] == ("tests", marker):
                item.add_marker(marker)


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
