"""What jobs ask for is what the package itself declares: one set of bounds, in two places that must agree."""

import re
from pathlib import Path

import pytest

from soaptune.jobs.requirements import BOUNDS, PACKAGES, requirements

tomllib = pytest.importorskip("tomllib", reason="in the standard library from Python 3.11 on")
LINE = re.compile(r"([A-Za-z0-9_.-]+)(.*)")


@pytest.fixture(scope="module")
def project():
    file = Path(__file__).parents[3] / "pyproject.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))["project"]


def bounds(lines):
    return {found[1]: found[2] for line in lines if (found := LINE.fullmatch(line))}


def test_the_bounds_are_those_of_the_package(project):
    extras = project["optional-dependencies"]
    assert bounds([*project["dependencies"], *extras["train"], *extras["serve"]]) == dict(BOUNDS)


@pytest.mark.parametrize(("step", "extras"), [("data", "train"), ("evaluate", "train"), ("train", "train")])
def test_a_job_needs_no_more_than_its_extra_brings(project, step, extras):
    brought = bounds([*project["dependencies"], *project["optional-dependencies"][extras]])
    assert set(PACKAGES[step]) <= set(brought)


@pytest.mark.parametrize("step", PACKAGES)
def test_a_job_asks_for_all_that_soaptune_itself_needs(project, step):
    assert set(bounds(project["dependencies"])) <= set(PACKAGES[step])
    lines = requirements(step).splitlines()
    assert lines == list(dict.fromkeys(lines)), "each package once"
    assert bounds(lines) == {name: BOUNDS[name] for name in PACKAGES[step]}
