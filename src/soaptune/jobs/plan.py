"""`Plan`: what a step wants, wherever it runs. Pure data; a backend turns it into a `JobSpec`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_validator

from soaptune.common.fingerprint import fingerprint
from soaptune.config import Config
from soaptune.jobs.needs import Needs
from soaptune.jobs.output import FolderOutput, Output
from soaptune.jobs.spec import Inputs, JobKind, JobName, Keeps, Resources, checked_keeps

__all__ = ["Plan", "as_json"]


class Plan(Config):
    """What a step wants."""

    name: JobName
    """The job's name."""

    kind: JobKind
    """What it leaves behind."""

    files: dict[str, str]
    """The step's own payload, rendered: text files by their path below ``app/``."""

    entrypoint: tuple[str, ...] = ("python", "-m", "soaptune.runtime", "run")
    """The command line."""

    env: dict[str, str] = Field(default_factory=dict[str, str])
    """Environment variables of the job."""

    inputs: Inputs = Field(default_factory=dict[str, Any])
    """What it reads."""

    keeps: Keeps = Field(default_factory=dict[str, str])
    """Folders that outlive the job, by name, with the key that jobs share one by; see `JobSpec.keeps`."""

    output: Output = FolderOutput()
    """What it leaves."""

    needs: Needs = Needs()
    """What it needs of the world around it."""

    resources: Resources = Resources()
    """What it asks of the machine."""

    code_paths: tuple[str, ...] = ()
    """Folders from which the job imports Python code of the user's."""

    detach: bool = False
    """Whether it goes on when the process that submitted it ends."""

    @field_validator("keeps")
    @classmethod
    def _keeps(cls, value: Keeps) -> Keeps:
        return checked_keeps(value)

    @property
    def fingerprint(self) -> str:
        """``"sha256:..."`` of all that decides what the job makes.

        Not of where its inputs lie, nor of its name, nor of what it needs around it, which follows from the rest and
        names folders and tokens of the caller; nor of kept folders, which save time and change no result.
        """
        content = self.model_dump(mode="json", exclude={"inputs", "name", "code_paths", "detach", "keeps", "needs"})
        return fingerprint({**content, "inputs": sorted(self.inputs)})


def as_json(content: Any) -> str:
    """A payload file as JSON. Keys keep their order: an answer has its fields in that of the schema.

    Args:
        content: A config, or what JSON can express.
    """
    plain = content.model_dump(mode="json") if isinstance(content, Config) else content
    return json.dumps(plain, ensure_ascii=False, indent=2) + "\n"
