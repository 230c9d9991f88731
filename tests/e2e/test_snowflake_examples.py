"""The Snowflake examples as scripts, as far as they go without an account."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

if importlib.util.find_spec("fakesnow") is None:
    pytest.skip("needs the extra 'testing'", allow_module_level=True)


def test_the_walkthrough_prints_the_administrators_script(run_example: Callable[..., str], tmp_path: Path) -> None:
    printed = run_example("snowflake.py", "--setup-for", "ENGINEER", cwd=tmp_path)
    assert 'CREATE COMPUTE POOL IF NOT EXISTS "GPU_POOL"' in printed
    assert 'TO ROLE "ENGINEER"' in printed


@pytest.mark.parametrize(
    ("parts", "observations"),
    [(["job", "failure"], 12), pytest.param(["job", "failure", "generate"], 18, marks=pytest.mark.soak)],
)
def test_the_emulator_does_not_differ_from_itself(
    run_example: Callable[..., str], tmp_path: Path, parts: list[str], observations: int
) -> None:
    printed = run_example("live_smoke.py", "--rehearse", "--only", *parts, cwd=tmp_path)
    assert f"Nothing differed in {observations} observations" in printed
