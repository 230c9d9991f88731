"""What can be done with a checkout, each in an environment of its own: ``python -m nox -s NAME``.

The environments are made with plain virtualenv and pip, from pyproject.toml and constraints.txt. They are kept
between calls; ``-R`` skips the installation as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typecheck", "docs", "tests", "compat"]

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
OTHER_PYTHONS = ("3.10", "3.12", "3.13")
"""What we promise beside the version that everything is tested with."""


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
def soak(session: nox.Session) -> None:
    """What is long by nature, and what only a long run shows; `tests` has a fast part of each."""
    install(session, ".[all]", groups=("soak", "pretrain"))
    session.run("pytest", "--soak", *session.posargs)


@nox.session(python=False)
def compat(session: nox.Session) -> None:
    """The unit tests, without PyTorch, on the other Pythons that start here; the rest is reported as untested."""
    for version in OTHER_PYTHONS:
        python = interpreter(version)
        if python is None:
            session.warn(f"Python {version}: untested, none was found that starts (on PATH, or installed by pyenv)")
            continue
        folder = ROOT / ".nox" / f"compat-{version}"
        within = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
        if not Path(within).exists():
            session.run(sys.executable, "-m", "virtualenv", "-q", "-p", python, str(folder))
        groups = nox.project.dependency_groups(PYPROJECT, "unit")
        pip = (within, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", "constraints.txt")
        session.run_install(*pip, ".[serve,snowflake]", *groups)
        session.log(f"Python {version}: {python}")
        session.run(within, "-m", "pytest", "tests/unit", *session.posargs)


def interpreter(version: str) -> str | None:
    """A Python of a version that starts: the one on PATH, or one that pyenv has installed."""
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    installed = map(str, sorted(root.glob(f"versions/{version}.*/bin/python")))
    for candidate in (f"python{version}", *installed):
        path = shutil.which(candidate)
        if path is None:
            continue
        # One on PATH may be a shim of pyenv's that starts nothing.
        code = "import sys; print('{}.{}'.format(*sys.version_info))"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return path
    return None


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, and the one-way arrows between the packages."""
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
