"""A job's payload: the clean temporary directory that is sent, and nothing but what the job needs in it.

app/                the job's files, requirements.txt
    soaptune.zip    soaptune itself and the user's code: one file goes up sooner than hundreds
    soaptune_job.py starts the command line (`soaptune.runtime.snowflake.start`)
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from soaptune.errors import BackendError
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.jobs.requirements import pinned

__all__ = ["ARCHIVE", "STARTER", "WITHOUT", "arguments", "write_payload"]

STARTER = "soaptune_job.py"
"""The program that Snowflake's launcher starts."""

ARCHIVE = "soaptune.zip"
"""What is unpacked beside the job's files before the command starts."""

WITHOUT = ("__pycache__", "*.pyc", "*.pyo", ".*", "*.egg-info", "node_modules", "environment.yml", "environment.yaml")
"""What of the user's code folders stays at home: caches, and whatever is hidden (``.env``, ``.git``, ``.venv``)."""

_STARTER = f"""\
\"\"\"Starts the job's command line, see job.json.\"\"\"

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / {ARCHIVE!r}))

from soaptune.runtime.snowflake.start import main

raise SystemExit(main())
"""


def arguments(spec: JobSpec) -> list[str]:
    """What the launcher starts.

    The starter reads the command line from the job's record. The words that follow it are for people who look at the
    service; they end before the first option, since the launcher's own parser would look at it (and at ``-h`` end).

    Args:
        spec: The job.
    """
    shown: list[str] = []
    for word in spec.entrypoint:
        if word.startswith("-"):
            break
        shown.append(word)
    return ["python", STARTER, *shown]


def write_payload(spec: JobSpec, app: Path, *, pip_requirements: Iterable[str] = ()) -> None:
    """Writes a job's ``app/`` folder.

    Args:
        spec: The job.
        app: The folder, new and empty.
        pip_requirements: What the user wants installed beside the step's own requirements.

    Raises:
        BackendError: A file must not be sent, or two of them would have the same name.
    """
    _refuse(spec)
    for name, text in spec.files.items():
        target = app / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
    with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
        code = Path(folder)
        for path in spec.code_paths:
            _add_code(Path(path).expanduser().absolute(), code, app)
        if (code / "soaptune").exists() or (app / "soaptune").exists():
            raise BackendError("the job has files below soaptune/, where the package itself is put: rename that folder")
        package = Path(__file__).resolve().parents[2]
        # The embedded base model stays out: a job that needs it gets it as an input.
        shutil.copytree(package, code / "soaptune", ignore=_ignore(package / "tiny", package / "testing"))
        _pack(code, app / ARCHIVE)
    (app / STARTER).write_text(_STARTER, encoding="utf-8")
    required = pinned(spec.files.get("requirements.txt", ""), pip_requirements)
    if required:
        (app / "requirements.txt").write_text(required, encoding="utf-8")


def _refuse(spec: JobSpec) -> None:
    for name in spec.files:
        path = PurePosixPath(name)
        if path.name in (".env", "environment.yml", "environment.yaml") or ".git" in path.parts:
            why = "would end the job at once" if path.suffix in (".yml", ".yaml") else "must not leave this machine"
            raise BackendError(f"the job's file {name!r} {why}: leave it out of the payload")
        if path.parts[0] in (STARTER, ARCHIVE):
            raise BackendError(f"the job's file {name!r} has the name of one of soaptune's own: rename it")


def _add_code(folder: Path, code: Path, app: Path) -> None:
    if not folder.is_dir():
        raise BackendError(f"{folder}, which code_paths names, is not a folder on this machine")
    ignore = shutil.ignore_patterns(*WITHOUT)
    entries = sorted(folder.iterdir())
    left = ignore(str(folder), [entry.name for entry in entries])
    for entry in entries:
        if entry.name in left:
            continue
        target = code / entry.name
        if target.exists() or (app / entry.name).exists():
            message = f"{entry} would overwrite {entry.name!r} in the payload: code_paths must not hold the same names"
            raise BackendError(message)
        if entry.is_dir():
            shutil.copytree(entry, target, ignore=ignore)
        else:
            shutil.copy2(entry, target)


def _pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder).as_posix())


def _ignore(*weights: Path) -> Callable[[str, list[str]], set[str]]:
    plain = shutil.ignore_patterns("__pycache__", "*.pyc")

    def ignore(folder: str, names: list[str]) -> set[str]:
        place = Path(folder).resolve()
        left = set(plain(folder, names))
        for kept_home in weights:
            if place == kept_home:
                left |= {name for name in names if name != "__init__.py"}
        return left

    return ignore
