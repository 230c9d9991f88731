"""The backend without processes, as a fixture: the test folders are no packages that could import each other."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def memory():
    """The module with `MemoryJob` and `MemoryBackend`."""
    spec = importlib.util.spec_from_file_location("soaptune_tests_memory", Path(__file__).with_name("memory.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
