"""`JobSpec`: a job as pure data. The same input gives the same bytes, whatever the backend."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from soaptune.config import Config

__all__ = ["JobKind", "JobSpec", "Resources"]

_SECRET = re.compile(r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|API_?KEY|ACCESS_KEY|PRIVATE_KEY)$", re.IGNORECASE)

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

JobKind = Literal["data", "model", "report", "endpoint", "command"]
"""What a job leaves behind: a dataset, a model, a report, a running endpoint, or nothing that soaptune reads."""


class Resources(Config):
    """What a job asks of the machine it runs on; None for whatever there is."""

    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)


class JobSpec(Config):
    """A job: files, a command line, and what they need.

    The command runs in ``<stage>/app``, where `files` lie. It finds its inputs in ``../inputs/<name>`` and writes to
    ``../output``.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,60}$")
    """What the job is called; part of its id."""

    kind: JobKind = "command"
    """What it leaves behind."""

    files: dict[str, str] = Field(default_factory=dict[str, str])
    """Text files of the payload, by their path below ``app/``."""

    entrypoint: tuple[str, ...] = Field(min_length=1)
    """The command line. ``python`` is the interpreter with soaptune in it, ``arctic_training`` the one beside it."""

    env: dict[str, str] = Field(default_factory=dict[str, str])
    """Environment variables of the job."""

    secrets: dict[str, str] = Field(default_factory=dict[str, str])
    """Environment variables of the job whose values are secret, by the *name* under which the submitter has them."""

    inputs: dict[str, str] = Field(default_factory=dict[str, str])
    """Folders that the job reads, by the name under which it finds them in ``../inputs``."""

    code_paths: tuple[str, ...] = ()
    """Folders from which the job imports Python code of the user's."""

    resources: Resources = Resources()
    """What it asks of the machine."""

    detach: bool = False
    """Whether it goes on when the process that submitted it ends."""

    @field_validator("env")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if _SECRET.search(name):
                raise ValueError(
                    f"{name} looks like a secret, and a spec is written to disk: set it in your own environment and "
                    f'name it there, secrets={{"{name}": "{name}"}}'
                )
        return value

    @field_validator("env", "secrets")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if _VARIABLE.fullmatch(name) is None:
                raise ValueError(f"{name!r} cannot be the name of an environment variable")
            if "\0" in text:
                raise ValueError(f"the value of {name} has a NUL character, which no environment variable can hold")
        return value

    @field_validator("entrypoint")
    @classmethod
    def _can_be_started(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value[0] or any("\0" in part for part in value):
            raise ValueError("the command line must begin with a program and hold no NUL character")
        return value

    @field_validator("files")
    @classmethod
    def _inside_the_payload(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
                raise ValueError(f"the payload file {name!r} must be a relative path inside the payload")
        return value

    @field_validator("inputs")
    @classmethod
    def _plain_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not name.isidentifier():
                raise ValueError(f"the input's name {name!r} must be an identifier")
        return value

    @property
    def fingerprint(self) -> str:
        """``"sha256:..."`` of everything in the spec."""
        from soaptune.common.fingerprint import fingerprint

        return fingerprint(self.model_dump(mode="json"))
