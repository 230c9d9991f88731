"""What can be done with a checkout, each in an environment of its own: ``python -m nox -s NAME``.

The environments are made with plain virtualenv and pip, from pyproject.toml and constraints.txt. They are kept
between calls; ``-R`` skips the installation as well.
"""

from __future__ import annotations

import json
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typecheck", "docs", "tests"]

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *what: str, groups: tuple[str, ...] = ()) -> None:
    """Installs requirements and dependency groups in one resolution, in the versions that were tested together."""
    session.install("-c", "constraints.txt", *what, *nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session
def quickstart(session: nox.Session) -> None:
    """The main job, end to end: generate, train, evaluate, deploy, ask. Leaves quickstart/report.json."""
    install(session, ".[train,serve]")
    session.run("python", "examples/quickstart.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, all of them; what follows ``--`` goes to pytest (``-- -m "not e2e"`` leaves out what trains)."""
    install(session, ".[all]", groups=("test", "pretrain"))
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, and the one-way arrows between the rooms of the house."""
    install(session, ".", groups=("lint",))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # It reads the package from where it is imported; the sources, not the installed copy, are what is to be judged.
    session.run("lint-imports", "--no-logo", "--no-cache", env={"PYTHONPATH": str(ROOT / "src")})


@nox.session
def typecheck(session: nox.Session) -> None:
    """Pyright, strict, on src."""
    install(session, ".[all]", groups=("typecheck",))
    session.run("pyright", "--project", "pyproject.toml")


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the documentation into site/; a broken link or reference is an error."""
    install(session, groups=("docs",))
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Runs every benchmark, or those named after ``--``, and prints one JSON object for each."""
    install(session, ".[train,serve]")
    names = session.posargs or sorted(p.stem for p in (ROOT / "benchmarks").glob("[!_]*.py"))
    for name in names:
        printed = session.run("python", "-m", f"benchmarks.{name}", "--json", silent=True)
        print(json.dumps({"benchmark": name, **json.loads(str(printed))}))
