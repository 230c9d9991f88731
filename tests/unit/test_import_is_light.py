"""Importing soaptune, or any of its config-side modules, loads nothing heavy and needs none of the extras."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "peft",
    "safetensors",
    "arctic_training",
    "deepspeed",
    "pandas",
    "pyarrow",
    "numpy",
    "fastapi",
    "uvicorn",
    "httpx",
    "openai",
    "llguidance",
    "snowflake.ml",
    "snowflake.snowpark",
    "snowflake.connector",
]

# Every module but those that only ever run inside a job, or are the emulator.
ALL_MODULES = """
import importlib, pkgutil, soaptune
def walk(package):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if found.name != "soaptune.runtime" and not found.name.endswith(".__main__"):
            module = importlib.import_module(found.name)
            if found.ispkg and found.name != "soaptune.testing.snowflake":
                walk(module)
walk(soaptune)
"""
ALL_NAMES = "import soaptune\nfor name in soaptune.__all__: getattr(soaptune, name)"


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", ["import soaptune", ALL_NAMES, ALL_MODULES], ids=["package", "names", "modules"])
def test_no_heavy_module_is_loaded(code: str, tmp_path: Path):
    loaded = run(f"{code}\nimport json, sys\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))", tmp_path)
    assert json.loads(loaded) == []


@pytest.mark.parametrize("code", [ALL_NAMES, ALL_MODULES], ids=["names", "modules"])
def test_the_bare_install_is_enough(code: str, tmp_path: Path):
    # `None` in sys.modules makes an import fail as if the package were not installed.
    run(f"import sys\nfor m in {HEAVY!r}: sys.modules[m] = None\n{code}", tmp_path)
