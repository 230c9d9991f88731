"""An optional package is imported in one way, and its absence names the extra that brings it."""

import ast
import json
import sys
from pathlib import Path

import pytest

import soaptune
from soaptune.common.lazy import optional, require
from soaptune.errors import MissingExtraError

ROOT = Path(soaptune.__file__).parent


def test_a_module_that_is_there_is_given():
    assert optional("json", extra="train", what="A test") is json
    require("json", "sys", extra="train", what="A test")


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "nowhere.jobs", None)
    with pytest.raises(MissingExtraError) as caught:
        optional("nowhere.jobs", package="nowhere-sdk", extra="snowflake", what="A backend")
    wanted = "A backend needs the package 'nowhere-sdk'. Install it with: pip install 'soaptune[snowflake]'"
    assert str(caught.value) == wanted
    assert (caught.value.package, caught.value.extra) == ("nowhere-sdk", "snowflake")
    with pytest.raises(MissingExtraError, match="needs the package 'no_such_package'"):
        require("json", "no_such_package", extra="train", what="A test")


def test_the_error_for_a_missing_package_is_raised_in_one_place():
    """Runtime code runs where its packages are; the emulator imports nothing of the rest."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        where = file.relative_to(ROOT)
        if where.parts[0] in ("runtime", "testing"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Try) and any("MissingExtraError" in ast.dump(part) for part in node.handlers):
                found += [where.as_posix() for part in node.handlers if "Raise" in ast.dump(part)]
    assert found == ["common/lazy.py"]
