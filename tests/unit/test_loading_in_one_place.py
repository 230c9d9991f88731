"""Models are read in one place, without code of their own: in the source, for whoever adds a second."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import soaptune
from soaptune.engines import VLLM
from soaptune.errors import ConfigError

SOURCE = Path(soaptune.__file__).parent
ONE_PLACE = SOURCE / "runtime" / "engines" / "pretrained.py"
READERS = {"from_pretrained", "from_config", "pipeline", "load_adapter", "get_kernel"}
PICKLES = {("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("joblib", "load"), ("numpy", "load")}


def calls(file: Path) -> list[tuple[str, ast.Call]]:
    found: list[tuple[str, ast.Call]] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.append((node.func.attr, node))
    return found


def files() -> list[Path]:
    return [file for file in SOURCE.rglob("*.py") if "testing" not in file.relative_to(SOURCE).parts]


def test_nothing_but_one_module_has_a_library_read_a_model() -> None:
    seen = {file.relative_to(SOURCE).as_posix() for file in files() for name, _ in calls(file) if name in READERS}
    assert seen == {ONE_PLACE.relative_to(SOURCE).as_posix()}


def test_each_such_call_says_that_no_code_is_trusted() -> None:
    for name, call in calls(ONE_PLACE):
        if name in READERS:
            given = {each.arg: each.value for each in call.keywords}
            of_peft = ast.unparse(call.func) == "peft.PeftModel.from_pretrained"  # which knows no such option
            assert of_peft or ast.unparse(given["trust_remote_code"]) == "False", ast.unparse(call)


def test_nothing_trusts_code_and_nothing_reads_pickles() -> None:
    for file in files():
        text = file.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, file
        for name, call in calls(file):
            owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
            assert (owner, name) not in PICKLES, f"{file}: {owner}.{name}"


@pytest.mark.parametrize(
    "argument",
    ["--trust-remote-code", "--trust_remote_code", "--trust-remote-code=true", "--trust", "--load-format=pt", "--tr"],
)
def test_a_vllm_is_not_told_to_run_code_either(argument: str) -> None:
    with pytest.raises(ConfigError, match="no code out of a model's folder"):
        VLLM(args=(argument,))
    assert VLLM(args=("--max-model-len=8192", "--tensor-parallel-size", "2")).args
