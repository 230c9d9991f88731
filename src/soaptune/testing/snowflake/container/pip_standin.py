"""Stands in for ``pip`` in an emulated container: checks requirements, and installs only where the account is told to.

The packages of the current environment take the place of the image's. ``pip install -r FILE`` succeeds if they meet
every requirement and otherwise ends as pip does when it finds no such distribution. With the environment variable
``EMULATOR_PIP_TARGET``, what is not met is really installed there, by the real pip; the network it finds is the job's.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement


def requirements(path: Path) -> Iterator[str]:
    """The requirements of a file and of those that it includes, one by one."""
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        included = re.match(r"(?:-r|--requirement)[\s=]+(\S+)", text)
        if included:
            yield from requirements(path.parent / included[1])
        elif text and not text.startswith("-"):
            yield re.split(r"\s--\w", text)[0].strip()


def unmet(requirement: Requirement, extra: str = "") -> Requirement | None:
    """What the environment does not meet: the requirement, or one of an extra that it asks for."""
    if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
        return None
    try:
        distribution = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return requirement
    if requirement.url or not requirement.specifier.contains(distribution.version, prereleases=True):
        return requirement
    for wanted in requirement.extras:
        for text in distribution.requires or ():
            inner = Requirement(text)
            if inner.marker and "extra" in str(inner.marker):
                missing = unmet(inner, wanted)
                if missing:
                    return missing
    where = Path(str(distribution.locate_file("")))
    print(f"Requirement already satisfied: {requirement} in {where} ({distribution.version})", flush=True)
    return None


def _available(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def install(files: list[Path], arguments: list[str]) -> int:
    """Checks the files, and installs what is missing if that is wanted.

    Returns:
        The exit status of pip.
    """
    missing: list[Requirement] = []
    for text in [line for file in files for line in requirements(file)]:
        try:
            found = unmet(Requirement(text))
        except InvalidRequirement:
            print(f"ERROR: Invalid requirement: {text!r}", flush=True)
            return 1
        if found is not None:
            missing.append(found)
    target = os.environ.get("EMULATOR_PIP_TARGET")
    if not missing:
        return 0
    if target:
        options = [argument for argument in arguments if argument == "--no-index"]
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--target", target, *options]
        return subprocess.call([*command, *map(str, missing)])
    for requirement in missing:
        versions = _available(requirement.name)
        print(
            f"ERROR: Could not find a version that satisfies the requirement {requirement} "
            f"(from versions: {versions})\n"
            f"ERROR: No matching distribution found for {requirement}",
            flush=True,
        )
    print(
        "note: the emulated account checks requirements against the environment it runs in and installs nothing, "
        "unless it is made with install_requirements=True.",
        flush=True,
    )
    return 1


def main(arguments: list[str]) -> int:
    """``pip install -r FILE``; everything else is left to the real pip."""
    files = [
        Path(arguments[position + 1])
        for position, argument in enumerate(arguments[:-1])
        if argument in ("-r", "--requirement")
    ]
    if arguments[:1] != ["install"] or not files:
        return subprocess.call([sys.executable, "-m", "pip", *arguments])
    return install(files, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
