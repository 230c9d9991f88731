"""What the README and the pages of docs/ show works: every fenced block is executed or checked.

- The ``python`` blocks of a page run, in order, as one script in an empty folder. Warnings are errors.
- ``bash`` blocks may only name sessions, files and modules that exist.
- ``json`` and ``yaml`` blocks parse; ``text`` is what something prints. Another language is a mistake.

HTML comments right above a block steer its test, and do not show on the page:

- ``<!-- e2e -->``: its page trains or serves something, and belongs to the group of slow tests.
- ``<!-- replace: A -> B -->``: the test runs the block with B in place of A, which must occur in it (a smaller size).
- ``<!-- needs: MODULE -->``: its page is skipped where that module cannot be installed (the emulator on Python 3.10).
- ``<!-- no-run: REASON -->``: a Python block is only compiled. The reason must be one of `REASONS_NOT_TO_RUN`.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

REASONS_NOT_TO_RUN = {"needs the model hub", "needs a Snowflake account", "needs a GPU"}

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>[\w+-]*)")
COMMENT = re.compile(r"^\s*<!-- *(?P<word>e2e|replace|no-run|needs)(?:: *(?P<value>.*?))? *-->\s*$")


@dataclass
class Block:
    """A fenced block: where it starts (line index of its first line of code), what it is, and its comments."""

    start: int
    language: str
    code: str = ""
    comments: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def values(self, word: str) -> list[str]:
        return [value for name, value in self.comments if name == word]

    def reduced(self) -> str:
        """The code as the test runs it."""
        code = self.code
        for value in self.values("replace"):
            old, arrow, new = value.partition(" -> ")
            assert arrow, f"line {self.start}: write `replace: A -> B`"
            assert old in code, f"line {self.start}: {old!r} does not occur in the block below"
            code = code.replace(old, new)
        return code


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    comments: list[tuple[str, str]] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines()))
    for number, line in lines:
        if comment := COMMENT.match(line):
            comments.append((comment["word"], comment["value"] or ""))
        elif fence := FENCE.match(line):
            inside: list[str] = []
            for _, code_line in lines:
                if code_line.strip() == fence["fence"]:
                    break
                inside.append(code_line)
            else:
                pytest.fail(f"{page.name}: the block of line {number + 1} is not closed")
            found.append(Block(number + 1, fence["language"], textwrap.dedent("\n".join(inside)), comments))
            comments = []
        elif line.strip():
            comments = []
    return found


def of_language(language: str) -> list[object]:
    """One test case for each page with blocks of this language."""
    cases: list[object] = []
    for page in PAGES:
        chosen = [block for block in blocks(page) if block.language == language]
        if chosen:
            marks = [pytest.mark.e2e] if any(block.values("e2e") for block in chosen) else []
            needed = {module for block in chosen for module in block.values("needs")}
            missing = sorted(module for module in needed if importlib.util.find_spec(module) is None)
            if missing:
                marks.append(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))
            cases.append(pytest.param(page, chosen, id=page.relative_to(ROOT).as_posix(), marks=marks))
    return cases


@pytest.mark.parametrize(("page", "chosen"), of_language("python"))
def test_the_python_of_a_page_runs(page: Path, chosen: list[Block], tmp_path: Path):
    script: list[str] = []
    for block in chosen:
        if reasons := block.values("no-run"):
            assert set(reasons) <= REASONS_NOT_TO_RUN
            ast.parse(block.code)
            continue
        script += [""] * (block.start - len(script))  # so that a traceback's line numbers are those of the page
        script += block.reduced().splitlines()
    path = tmp_path / f"{page.stem}.py"
    path.write_text("\n".join(script) + "\n", encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], cwd=work, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"


def test_the_data_on_all_pages_parses():
    parsers = {"json": json.loads, "yaml": yaml.safe_load}
    for page in PAGES:
        for block in blocks(page):
            parsers.get(block.language, str)(block.code)


@pytest.mark.parametrize(("page", "chosen"), of_language("bash"))
def test_the_commands_of_a_page_exist(page: Path, chosen: list[Block]):
    for block in chosen:
        for line in block.code.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\||;", line):
                words = shlex.split(command, comments=True)
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words = words[1:]  # an environment variable for this command alone
                assert not words or command_exists(words), f"{page.name}, line {block.start}: {command.strip()}"


def command_exists(words: list[str]) -> bool:
    match words:
        case ["python" | ".venv/bin/python", "-m", "pip", "install", *what]:
            return pip_finds(what)
        case ["pip", "install", *what]:
            return pip_finds(what)
        case ["python", "-m", "nox", "-s", *rest]:
            sessions = set(re.findall(r"@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8")))
            named = rest[: rest.index("--")] if "--" in rest else rest
            return bool(named) and set(named) <= sessions
        case ["python", "-m", "nox", "-l"]:
            return True
        case ["python", "-m", "venv" | "http.server" | "json.tool", *_]:
            return True
        case ["python", "-m", module, *_]:
            place = ROOT.joinpath(*module.split("."))
            return any(p.exists() for p in (place.with_suffix(".py"), place / "__main__.py"))
        case ["python" | "bash", script, *_]:
            return (ROOT / script).is_file()
        case [program, *_]:
            return program in {"git", "cd", "ls", "cat", "curl", "export", "pytest", "ruff", "pyright", "lint-imports"}
        case _:
            return False


def pip_finds(what: list[str]) -> bool:
    """Whether the extras of soaptune and the files that a ``pip install`` names exist."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    known = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    extras = {extra for word in what for found in re.findall(r"\[([\w,]+)\]", word) for extra in found.split(",")}
    files = [value for flag, value in itertools.pairwise(what) if flag in {"-c", "-r"}]
    return extras <= known and all((ROOT / name).is_file() for name in files)


def test_every_block_is_of_a_language_that_is_checked():
    known = {"python", "bash", "json", "yaml", "text", "toml"}
    strangers = [
        f"{page.relative_to(ROOT)}:{block.start}: {block.language or '(none)'}"
        for page in PAGES
        for block in blocks(page)
        if block.language not in known
    ]
    assert not strangers


def test_every_page_of_the_site_is_in_its_navigation():
    named = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert set(named) == there
    assert len(named) == len(set(named))
