"""What the parts of the package must not know of each other, looked for in their source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import soaptune

PACKAGE = Path(soaptune.__file__).parent
STEPS = ("data", "train", "evaluate", "deploy")


def found(pattern: str, folders: tuple[str, ...], *, but: tuple[str, ...] = ()) -> list[str]:
    """Each place in the source, ``file:line: text``, that a pattern is found in."""
    files = [file for folder in folders for file in sorted((PACKAGE / folder).rglob("*.py"))]
    assert files, "there is something to look at"
    return [
        f"{file.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for file in files
        if file.relative_to(PACKAGE).parts[0] not in but
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\bsoaptune\.(snowflake|local)\b",
        r"from soaptune import .*\b(snowflake|local)\b",
        r"\bon\.name\b",
        r"getattr\(on\b",
    ],
)
def test_no_step_asks_which_backend_it_is_on(pattern: str) -> None:
    assert found(pattern, STEPS) == []


def test_only_snowflake_and_its_jobs_know_of_addresses_of_tables() -> None:
    assert found(r"""["']tables:["']""", ("",), but=("snowflake", "runtime")) == []


def test_no_preflight_parses_a_payload() -> None:
    where = ("snowflake/preflight", "local")
    assert found(r"loads?\(spec\.files|spec\.files\[|\bimport yaml\b|\byaml\.", where) == []


def test_nothing_below_the_snowflake_backend_knows_it() -> None:
    below = ("snowflake/jobs", "snowflake/handles", "snowflake/tables", "snowflake/preflight")
    pattern = r"soaptune\.snowflake\.backend import|soaptune\.snowflake import .*\bbackend\b"
    assert found(pattern, below) == []
    assert found(pattern, ("",))


def test_what_is_looked_for_would_be_found() -> None:
    assert found(r"\bsoaptune\.local\b", ("local",))
    assert found(r"\byaml\.", ("train",))
