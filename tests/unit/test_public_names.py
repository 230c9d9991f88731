"""The public names are few, fixed, and what type checkers believe they are."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import soaptune

PUBLIC = [
    "DataGenerator",
    "Dataset",
    "Deployer",
    "Endpoint",
    "EvalReport",
    "Evaluator",
    "Gates",
    "Job",
    "JobSpec",
    "LocalBackend",
    "Metric",
    "Model",
    "ServiceOptions",
    "SnowflakeBackend",
    "SoaptuneError",
    "Task",
    "TrainSpec",
    "Trainer",
    "Violation",
    "engines",
    "judges",
    "tasks",
]


def typed_imports() -> dict[str, str]:
    """Public name -> the module from which type checkers take it."""
    tree = ast.parse(Path(soaptune.__file__).read_text(encoding="utf-8"))
    return {
        alias.name: str(node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_public_names_are_these():
    assert soaptune.__all__ == PUBLIC


def test_there_are_at_most_25_of_them():
    assert len(soaptune.__all__) <= 25


@pytest.mark.parametrize("name", PUBLIC)
def test_each_of_them_is_what_the_type_checker_believes(name: str):
    module = importlib.import_module(typed_imports()[name])
    expected = getattr(module, name, None)
    if expected is None:  # a submodule is an attribute of its package only once it is imported
        expected = importlib.import_module(f"{module.__name__}.{name}")
    assert getattr(soaptune, name) is expected


@pytest.mark.parametrize("name", PUBLIC)
def test_each_of_them_has_a_docstring_of_its_own(name: str):
    assert inspect.cleandoc(vars(getattr(soaptune, name)).get("__doc__") or "")


def test_they_are_offered_for_completion():
    assert set(PUBLIC) <= set(dir(soaptune))


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Trianer"):
        _ = soaptune.Trianer


def test_a_star_import_gives_exactly_them():
    names: dict[str, object] = {}
    exec("from soaptune import *", names)
    assert set(names) - {"__builtins__"} == set(PUBLIC)
