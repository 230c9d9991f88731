"""An error that crosses a process's border arrives as it was raised."""

import ast
import builtins
import copy
import importlib
import pickle
from pathlib import Path

import pytest

import soaptune
from soaptune.errors import CheckFailed, SoaptuneError, Violation

ROOT = Path(soaptune.__file__).parent

WORDS = {
    "AnswerError": (("missing-field", "the answer lacks it"), {"field": "title"}),
    "ApiError": ((404, "no-such-model", "there is none of that name"), {"param": "model"}),
    "CheckFailed": (("Trainer", [Violation(path="lora.r", code="rank", message="too small", hint="Raise it.")]), {}),
    "JobCancelled": (("it was cancelled",), {"job_id": "a-1", "log_tail": ["bye"], "hint": "Start it again."}),
    "JobFailed": (("it failed",), {"job_id": "a-1", "log_tail": ["one", "two"], "hint": "Mend it."}),
    "MissingExtraError": (("numpy",), {"extra": "train", "what": "A count"}),
    "RequestError": (("refused",), {"status": 429, "code": "overloaded"}),
    "SqlError": ((2003, "it does not exist", "02000"), {}),
    "Unreadable": ((ValueError("no such table"),), {}),
}
"""What a class is called with whose constructor takes more than a message."""


def error_classes():
    """All exceptions that the package defines, by reading it: importing everything would load torch."""
    bases = {}
    for file in sorted(ROOT.rglob("*.py")):
        if file.parent.name == "container":  # programs that run in an emulated container, each in its own process
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                module = ".".join(("soaptune", *file.relative_to(ROOT).with_suffix("").parts))
                bases[node.name] = (module, [base.id for base in node.bases if isinstance(base, ast.Name)])

    def is_error(name):
        known = getattr(builtins, name, None)
        if isinstance(known, type):
            return issubclass(known, BaseException)
        return name in bases and any(is_error(base) for base in bases[name][1])

    return sorted((module, name) for name, (module, _) in bases.items() if is_error(name))


def test_the_search_finds_them():
    names = {name for _, name in error_classes()}
    assert len(names) >= 20
    assert {"CheckFailed", "ApiError", "SqlError", "Overloaded", "Unanswered", "JobTimeout"} <= names


@pytest.mark.parametrize(("module", "name"), error_classes(), ids=lambda value: value)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_every_error_survives_pickling_and_copying(module, name, again):
    args, options = WORDS.get(name, (("a message",), {}))
    error = getattr(importlib.import_module(module), name)(*args, **options)
    error.add_note("of the caller's") if hasattr(error, "add_note") else None
    found = again(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.args == error.args or name == "Unreadable"
    assert vars(found) == vars(error)


def test_none_of_ours_is_missing_from_the_search():
    def walk(kind):
        for sub in kind.__subclasses__():
            yield sub
            yield from walk(sub)

    found = {name for _, name in error_classes()}
    assert {kind.__name__ for kind in walk(SoaptuneError) if kind.__module__.startswith("soaptune")} <= found


def test_a_failed_check_brings_its_findings_through_a_pool():
    found = pickle.loads(pickle.dumps(CheckFailed("Trainer", [Violation(path="a", code="b", message="c")])))
    assert [violation.code for violation in found.violations] == ["b"]
