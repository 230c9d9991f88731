"""Import paths in received files: what they name runs only if the caller allows its module, and nothing else looks."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import soaptune as st
from soaptune.data import DataGenerator
from soaptune.data.payload import GeneratePayload
from soaptune.errors import CheckFailed, ConfigError
from soaptune.evaluate.evaluator import EvalPayload, Evaluator
from soaptune.handles.dataset import Dataset
from soaptune.tasks import SOAP, Task, load_hook
from soaptune.tasks.code import allowed_hook, check_allowed
from soaptune.tasks.hooks import load_lexicon
from soaptune.tasks.spec import TaskSpec
from tests.unit.backends import ACCOUNT, Elsewhere
from tests.unit.evaluate.test_evaluator import make_model

HERE: Any = Elsewhere()
SNOW: Any = Elsewhere(capabilities=ACCOUNT, name="snowflake")
ECHO = TaskSpec(
    name="echo",
    system_prompt="",
    user_template="{text}",
    output_schema={"type": "object", "properties": {"out": {"type": "string"}}, "required": ["out"]},
    output_fields=("out",),
    input_fields=("text",),
)
PLANTED = ["os:abort", "soaptune.runtime.__main__:main", "planted:leave", "planted.deep:leave", "sys:exit"]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that can be imported and leaves a file when it is; gives the file."""
    trace = tmp_path / "trace"
    folder = tmp_path / "site" / "planted"
    folder.mkdir(parents=True)
    code = f"import pathlib\npathlib.Path({str(trace)!r}).write_text('ran')\ndef leave():\n    return ['term']\n"
    for name in ("__init__.py", "deep.py"):
        (folder / name).write_text(code)
    monkeypatch.syspath_prepend(str(folder.parent))
    for name in ("planted", "planted.deep"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return trace


def data_of(folder: Path, **hooks: str) -> Dataset:
    table = pa.table({"id": [f"{i}" for i in range(40)], "text": ["x"] * 40, "out": ["y"] * 40})
    return Dataset.write(folder, {"test": table}, task=ECHO.replace(hooks=hooks), how={})


def lexicon_of(step: Evaluator, model: Any, data: Any, on: Any = HERE) -> Any:
    return EvalPayload.model_validate_json(step.plan(model, data, given=on.capabilities).files["step.json"]).lexicon


@pytest.mark.parametrize("path", PLANTED)
def test_what_nobody_allows_is_not_imported(path: str, planted: Path) -> None:
    for load in (load_hook, load_lexicon, lambda p: allowed_hook(p)):
        with pytest.raises(ConfigError, match=r"nobody here has allowed.*allow_code=\("):
            load(path)
    assert not planted.exists()


def test_what_the_caller_names_is_imported(planted: Path) -> None:
    assert load_lexicon("planted.deep:leave", allow_code=("planted",)) == ("term",)
    assert planted.exists()


@pytest.mark.parametrize("names", [("plant",), ("planted.dee",), ("planted.deep.er",), ("",)])
def test_a_name_allows_its_module_and_those_below_and_no_other(names: tuple[str, ...], planted: Path) -> None:
    assert check_allowed("planted.deep:leave", at="", allow_code=names)
    assert not planted.exists()


def test_the_hooks_of_soaptunes_tasks_are_its_own_and_other_functions_of_it_are_not() -> None:
    assert [check_allowed(path, at="") for path in SOAP.hooks.values()] == [[], []]
    assert check_allowed("soaptune.local.processes:kill", at="")
    assert check_allowed("soaptune.tasks.hooks:importlib", at="")


def test_code_in_the_callers_folders_is_the_callers(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "words.py").write_text("")
    (tmp_path / "os.py").write_text("")
    folders = (str(tmp_path),)
    assert check_allowed("mine.words:terms", at="", code_paths=folders) == []
    assert check_allowed("mine:terms", at="", code_paths=folders) == []
    assert check_allowed("mine.other:terms", at="", code_paths=folders)
    # A job finds the standard library's own first, whatever lies in the folder.
    assert check_allowed("os:abort", at="", code_paths=folders)


@pytest.mark.parametrize("on", [HERE, SNOW], ids=["here", "snowflake"])
@pytest.mark.parametrize("whose", ["model", "data"])
def test_an_evaluation_of_what_names_foreign_code_says_how_to_allow_it(
    on: Any, whose: str, planted: Path, tmp_path: Path
) -> None:
    hooks = {"lexicon": "planted.deep:leave"}
    data = data_of(tmp_path / "data", **(hooks if whose == "data" else {}))
    model = make_model(tmp_path / "model", task=ECHO.replace(hooks=hooks if whose == "model" else {}))
    step = Evaluator(resamples=1000)
    (found,) = [each for each in step.preflight(model, data, on=on) if each.level == "error"]
    assert (found.path, found.code) == ("task.lexicon", "code-not-allowed")
    with pytest.raises(CheckFailed, match=r"allow_code=\('planted',\)"):
        step.compile(model, data, on=on)
    allowed = lexicon_of(step.replace(allow_code=("planted",)), model, data, on)
    assert allowed.path == "planted.deep:leave"
    assert lexicon_of(step.replace(allow_code=()), model, data, on) is None
    assert not planted.exists()


def test_the_models_lexicon_counts_before_the_datas_and_soaptunes_own_needs_no_permission(tmp_path: Path) -> None:
    data = data_of(tmp_path / "data", lexicon="os:abort")
    model = make_model(tmp_path / "model", task=ECHO.replace(hooks={"lexicon": SOAP.hooks["lexicon"]}))
    found = lexicon_of(Evaluator(), model, data)
    assert (found.path, found.code) == (SOAP.hooks["lexicon"], f"soaptune {st.__version__}")


def test_a_generator_out_of_a_manifest_needs_permission(planted: Path, tmp_path: Path) -> None:
    spec = data_of(tmp_path / "data", generator="planted:leave").task
    for task in (spec, Task.from_spec(spec)):
        step = DataGenerator(task=task)  # type: ignore[arg-type]
        (found,) = step.preflight(on=HERE)
        assert (found.path, found.code) == ("task.generator", "code-not-allowed")
        with pytest.raises(ConfigError, match=r"allow_code=\('planted',\)"):
            step.compile(on=HERE)
    assert not planted.exists()
    allowed = DataGenerator(task=Task.from_spec(spec), allow_code=("planted",)).compile(on=HERE)
    assert GeneratePayload.model_validate_json(allowed.files["step.json"]).hook.module == "planted"


def test_the_hook_of_a_task_that_the_caller_has_made_is_named_by_them() -> None:
    class Out(st.config.Config):
        out: str

    made = Task(name="t", system_prompt="", user_template="{text}", output=Out, rubric={}, generator="mine:G")
    for task in (made, Task.from_spec(ECHO, generator="mine:G")):
        step = DataGenerator(task=task)
        assert step.plan(given=HERE.capabilities)
        # A config is the user's own: what it names is named.
        assert DataGenerator.model_validate_json(step.model_dump_json()).plan(given=HERE.capabilities)
    received = Task.from_spec(made.spec()).bind(Out)
    with pytest.raises(ConfigError, match="nobody here has allowed"):
        DataGenerator(task=received).plan(given=HERE.capabilities)


def test_a_plan_with_other_code_is_another_plan(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    for name, text in {"__init__.py": "", "words.py": "def terms(): return WORDS", "more.py": "WORDS = ['a']"}.items():
        (package / name).write_text(text)
    data = data_of(tmp_path / "data", lexicon="mine.words:terms", generator="mine.words:Generator")
    model = make_model(tmp_path / "model", task=data.task)
    evaluator = Evaluator(code_paths=(str(tmp_path),))
    generator = DataGenerator(task=Task.from_spec(data.task), code_paths=(str(tmp_path),))

    def fingerprints() -> set[str]:
        return {
            evaluator.plan(model, data, given=HERE.capabilities).fingerprint,
            generator.plan(given=HERE.capabilities).fingerprint,
        }

    first = fingerprints()
    assert first == fingerprints()
    for name, text in {"words.py": "def terms(): return []", "more.py": "WORDS = ['b']"}.items():
        (package / name).write_text(text)
        second = fingerprints()
        assert not first & second
        first = second
    moved = tmp_path / "moved"
    moved.mkdir()
    package.rename(moved / "mine")
    there = evaluator.replace(code_paths=(str(moved),)).plan(model, data, given=HERE.capabilities)
    assert there.fingerprint in first, "where the code lies is no part of what it is"


def test_the_code_of_an_installed_package_is_read_and_not_run(planted: Path) -> None:
    first = allowed_hook("planted.deep:leave", allow_code=("planted",)).code
    assert first.startswith("sha256:")
    source = planted.parent / "site" / "planted" / "deep.py"
    source.write_text(source.read_text() + "\n")
    assert allowed_hook("planted.deep:leave", allow_code=("planted",)).code != first
    assert not planted.exists()
    assert allowed_hook("nowhere.at_all:x", allow_code=("nowhere",)).code == ""


def test_a_manifest_that_names_os_abort_ends_no_process(tmp_path: Path) -> None:
    """In a process of its own: before, it died of SIGABRT."""
    data = data_of(tmp_path / "data", lexicon="os:abort", generator="os:abort")
    program = f"""
        import soaptune as st
        from soaptune.errors import ConfigError
        from soaptune.tasks.hooks import load_lexicon
        data = st.Dataset.open({str(data.path)!r})
        step = st.DataGenerator(task=data.task)
        for use in (lambda: step.run(on=st.LocalBackend({str(tmp_path / "runs")!r})), step.check,
                    lambda: load_lexicon(data.task.hooks["lexicon"]), lambda: st.tasks.load_hook("os:abort")()):
            try:
                use()
            except ConfigError as error:
                assert "allow_code" in str(error)
        print("alive")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr
    assert "os:abort" in json.dumps(data.task.hooks)
