"""A task is defined in a script, in a module or in a notebook, and works in a job that has neither."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEFINITION = """
from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from soaptune.tasks import Task


class Guest(BaseModel):
    name: str


class Booking(BaseModel):
    guests: list[Guest]
    meal: Literal["lunch", "dinner"]


TASK = Task(
    name="bookings",
    system_prompt="Answer.",
    user_template="Request: {request}",
    output=Booking,
    rubric={"guests": "All of them.", "meal": "The right one."},
)
"""

SAVE = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text(TASK.spec().model_dump_json())
"""

JOB = """
import json, pathlib, sys
from soaptune.errors import AnswerError
from soaptune.tasks.spec import TaskSpec
from soaptune.tasks import Task

task = Task.from_spec(TaskSpec.model_validate_json(pathlib.Path(sys.argv[1]).read_text()))
good = {"guests": [{"name": "A"}], "meal": "lunch"}
try:
    task.parse(json.dumps({**good, "meal": "tea"}))
except AnswerError as error:
    code = error.code
text = task.answer(good)
print(json.dumps([task.messages({"request": "{x}"})[1]["content"], text, task.parse(text), code]))
"""


def run(*arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_works_in_a_job(folder: Path, spec: Path) -> None:
    job = folder / "job"
    job.mkdir()
    (job / "job.py").write_text(JOB)
    text = '{"guests": [{"name": "A"}], "meal": "lunch"}'
    assert json.loads(run("-W", "error", "job.py", spec, cwd=job)) == [
        "Request: {x}",
        text,
        json.loads(text),
        "invalid-value",
    ]


def test_a_task_of_a_script_travels(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(DEFINITION + SAVE)
    run("-W", "error", "script.py", tmp_path / "spec.json", cwd=tmp_path)
    assert_works_in_a_job(tmp_path, tmp_path / "spec.json")


def test_a_task_of_a_module_travels_and_is_the_same_as_that_of_a_script(tmp_path: Path) -> None:
    (tmp_path / "mytasks.py").write_text(DEFINITION)
    (tmp_path / "main.py").write_text("from mytasks import TASK\n" + SAVE)
    (tmp_path / "script.py").write_text(DEFINITION + SAVE)
    run("main.py", tmp_path / "spec.json", cwd=tmp_path)
    run("script.py", tmp_path / "script.json", cwd=tmp_path)
    assert (tmp_path / "spec.json").read_text() == (tmp_path / "script.json").read_text()
    assert_works_in_a_job(tmp_path, tmp_path / "spec.json")


@pytest.mark.filterwarnings("default")  # the kernel's client is not ours to mend
def test_a_task_of_a_notebook_travels(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    save = f"import pathlib; pathlib.Path({str(tmp_path / 'spec.json')!r}).write_text(TASK.spec().model_dump_json())"
    cells = [nbformat.v4.new_code_cell(text) for text in (DEFINITION, "assert __name__ == '__main__'", save)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    assert_works_in_a_job(tmp_path, tmp_path / "spec.json")


def test_a_task_of_a_function_travels(tmp_path: Path) -> None:
    body = "\n".join(
        "    " + line for line in DEFINITION.replace("from __future__ import annotations", "").splitlines()
    )
    script = f"def make():\n{body}\n    return TASK\n\nTASK = make()\n"
    (tmp_path / "script.py").write_text(script + SAVE)
    run("script.py", tmp_path / "spec.json", cwd=tmp_path)
    assert_works_in_a_job(tmp_path, tmp_path / "spec.json")
