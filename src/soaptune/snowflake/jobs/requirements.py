"""What a job's machine installs: a step's ``requirements.txt``, pinned to the versions that were tested together.

`jobs.requirements` says with which versions soaptune works; a job on Snowflake, which nobody watches while it installs,
gets the very ones that this release was tested with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["TESTED", "pinned"]

TESTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "arctic-training": "0.8.0",
        "deepspeed": "0.19.8",
        "transformers": "4.57.6",
        "tokenizers": "0.22.2",
        "huggingface-hub": "0.36.2",
        "safetensors": "0.8.0",
        "peft": "0.21.2",
        "accelerate": "1.15.0",
        "datasets": "5.0.1",
        "pydantic": "2.14.3",
        "PyYAML": "6.0.3",
        "typing_extensions": "4.16.0",
        "jsonschema": "4.26.0",
        "rich": "15.0.0",
        "fastapi": "0.165.0",
        "uvicorn": "0.54.0",
        "httpx": "0.28.1",
        "llguidance": "1.9.1",
    }
)
"""The tested version of each package; a test holds them against ``constraints.txt``.

torch, numpy, pandas and Snowflake's own packages are not among them: they belong to the runtime image, where they are
built for its driver. Neither is what is tested in another version on another Python.
"""

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?=$|[\s\[(<>=!~;@,])")
_BELOW = {"transformers": ("tokenizers", "huggingface-hub"), "arctic-training": ("deepspeed", "accelerate")}
"""What comes along with a package, and decides what a run gives as much as the package itself."""


def pinned(requirements: str, more: Iterable[str] = ()) -> str:
    """Pins a step's requirements.

    Args:
        requirements: The step's ``requirements.txt``, with ranges.
        more: The user's own requirements. They come last, and one for a package that is there already replaces it.

    Returns:
        A ``requirements.txt``; empty when nothing is required.
    """
    lines: dict[str, str] = {}
    for line in requirements.splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name = _key(text)
        tested = _tested(name)
        lines[name] = text if tested is None else tested
        for below in _BELOW.get(name, ()):
            lines.setdefault(below, f"{below}=={TESTED[below]}")
    for text in more:
        lines.pop(_key(text), None)
        lines[_key(text)] = text.strip()
    return "".join(f"{line}\n" for line in lines.values())


def _key(requirement: str) -> str:
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match.group(1)).lower() if match else requirement


def _tested(name: str) -> str | None:
    return next((f"{package}=={version}" for package, version in TESTED.items() if _key(package) == name), None)
