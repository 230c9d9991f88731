"""JSON that comes back from a file, a table or a stage is read in one place, which knows what can be wrong with it."""

from __future__ import annotations

import ast
from pathlib import Path

import soaptune

ROOT = Path(soaptune.__file__).parent

ALLOWED = {
    "common/json_text.py": "the reader",
    "tasks/parsing.py": "a model's answers, read as strictly, with codes of their own",
    "tasks/task.py": "a copy of a schema that this process has written",
    "tasks/validation.py": "the key of a cache, which this process has written",
    "soap/vocabulary.py": "data of the package itself",
    "local/supervisor.py": "the supervisor loads the standard library alone",
    "local/states.py": "the supervisor loads the standard library alone",
    "local/job.py": "the lines of a growing record, of which a damaged one is passed over",
    "runtime/snowflake/start.py": "a job's start loads the standard library alone, and reads its own submission",
    "runtime/probe.py": "a question of the parent process",
    "config.py": "the definition",
}


def calls_in(file: Path) -> list[int]:
    """The lines on which a file reads JSON by itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {"loads", "load", "JSONDecoder"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {f"json.{name}" for name in names}:
            found.append(node.lineno)
        if isinstance(node, ast.Attribute) and node.attr == "model_validate_json":
            found.append(node.lineno)
        if isinstance(node, ast.ImportFrom) and node.module == "json" and names & {name.name for name in node.names}:
            found.append(node.lineno)
    return found


def test_nobody_else_reads_json() -> None:
    found = {file.relative_to(ROOT).as_posix(): calls_in(file) for file in ROOT.rglob("*.py")}
    others = {name: lines for name, lines in found.items() if lines and not name.startswith("testing/")}
    assert {name: lines for name, lines in others.items() if name not in ALLOWED} == {}
    assert len(others) > 3


def test_nobody_else_opens_parquet_and_arrow_files() -> None:
    readers = ("ParquetFile(", "read_table(", "open_file(", "open_stream(", "memory_map(", "read_schema(")
    found = {
        file.relative_to(ROOT).as_posix()
        for file in ROOT.rglob("*.py")
        if any(f".{word}" in file.read_text(encoding="utf-8") for word in readers)
    }
    # A manifest's schema has no buffers; the emulated account reads what it has itself been given.
    assert {name for name in found if not name.startswith("testing/")} == {
        "common/columnar.py",
        "snowflake/tables/spec.py",
    }
