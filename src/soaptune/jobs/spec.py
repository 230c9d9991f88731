"""`JobSpec`: a job as pure data. The same input gives the same bytes, whatever the backend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from soaptune.config import Config, OtherName, is_token
from soaptune.handles.location import Folder, Location
from soaptune.jobs.needs import Needs
from soaptune.jobs.output import FolderOutput, Output
from soaptune.jobs.secret_values import secret_in, secret_variable

__all__ = ["STORED", "Inputs", "JobKind", "JobName", "JobSpec", "Keeps", "Resources", "checked_keeps"]

STORED = {"stored": True}
"""The context in which `JobSpec` reads a spec that was written down earlier: what stands there is not judged again, so
that a stricter check hides no job."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,60}")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

JobKind = Literal["data", "model", "report", "endpoint", "command"]
"""What a job leaves behind: a dataset, a model, a report, a running endpoint, or nothing that soaptune reads."""


Keeps: TypeAlias = dict[str, str]
"""Folders that outlive a job, by the name under which it finds each; the value is the key that jobs share one by."""


Inputs: TypeAlias = dict[str, Location | tuple[Location, ...]]
"""What a job reads, by the name under which it finds it: one place, or several in order."""


def _fit_for_a_job(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise ValueError("a job's name begins with a letter and has letters, digits, - and _, at most 61 in all")
    return value


JobName: TypeAlias = Annotated[str, AfterValidator(_fit_for_a_job)]
"""What a job is called; part of its id, and of names on every backend."""


class Resources(Config):
    """What a job asks of the machine it runs on; None for whatever there is."""

    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)


class JobSpec(Config):
    """A job: files, a command line, and what they need.

    The command runs in ``<stage>/app``, where `files` lie. It finds its inputs in ``../inputs/<name>`` and writes to
    ``../output``.
    """

    other_names: ClassVar[Mapping[str, OtherName]] = MappingProxyType(
        dict.fromkeys(("command", "cmd", "args"), OtherName("entrypoint"))
    )

    format_version: Literal[1, 2] = 2
    """The form of the spec. The first release wrote 1, without saying so; it is read as well."""

    name: JobName
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

    inputs: Inputs = Field(default_factory=dict[str, Any])
    """What the job reads, by name. Folders, of this machine or on a stage, are found in ``../inputs/<name>``, several
    in ``../inputs/<name>/0``, ``1`` and so on. A text is the path of a folder of this machine."""

    keeps: Keeps = Field(default_factory=dict[str, str])
    """Folders that outlive the job, such as a cache of answers. The job finds each as ``$SOAPTUNE_KEEPS/<name>``
    (`soaptune.runtime.keeps.kept_folder`); a later job with the same name and key finds what this one has left there.
    Names are identifiers, keys letters, digits, ``.``, ``_`` and ``-``."""

    code_paths: tuple[str, ...] = ()
    """Folders from which the job imports Python code of the user's."""

    output: Output = FolderOutput()
    """What the job leaves."""

    resources: Resources = Resources()
    """What it asks of the machine."""

    needs: Needs | None = None
    """What it needs of the world around it; None where nobody has stated it, so that it is not checked."""

    detach: bool = False
    """Whether it goes on when the process that submitted it ends."""

    @field_validator("env")
    @classmethod
    def _no_secrets(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, text in value.items():
            if info.context is not STORED and (why := secret_variable(name, text)) is not None:
                raise ValueError(
                    f"{name} {why}, and a spec is written to disk: set it in your own environment and name it there, "
                    f'secrets={{"{name}": "{name}"}}'
                )
        return value

    @field_validator("files")
    @classmethod
    def _no_secrets_in_files(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, text in value.items():
            _refuse_secrets(f"the file {name!r}", text, info)
        return value

    @field_validator("entrypoint")
    @classmethod
    def _no_secrets_in_arguments(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for number, text in enumerate(value):
            _refuse_secrets(f"part {number} of the command line", text, info)
        return value

    @field_validator("secrets")
    @classmethod
    def _names_of_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        for name, source in value.items():
            if is_token(source):
                raise ValueError(
                    f"{name}: give the name under which the secret is known where the job starts, not the secret; a "
                    f'spec is written to disk. Set it in your own environment and name it here, {{"{name}": "{name}"}}'
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

    @field_validator("inputs", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = cast("dict[str, Any]", value)
        return {name: _folders_of(place) for name, place in given.items()}

    @field_validator("inputs")
    @classmethod
    def _plain_names(cls, value: Inputs) -> Inputs:
        for name in value:
            if not name.isidentifier():
                raise ValueError(f"the input's name {name!r} must be an identifier")
        return value

    @field_validator("keeps")
    @classmethod
    def _keeps(cls, value: Keeps) -> Keeps:
        return checked_keeps(value)

    @property
    def places(self) -> dict[str, Location]:
        """Each single input by the path under which the job finds it, relative to ``../inputs``."""
        found: dict[str, Location] = {}
        for name, place in self.inputs.items():
            if isinstance(place, tuple):
                found.update({f"{name}/{number}": one for number, one in enumerate(place)})
            else:
                found[name] = place
        return found

    @property
    def fingerprint(self) -> str:
        """``"sha256:..."`` of everything in the spec."""
        from soaptune.common.fingerprint import fingerprint

        return fingerprint(self.model_dump(mode="json"))


def _refuse_secrets(what: str, text: str, info: ValidationInfo) -> None:
    if info.context is not STORED and (kind := secret_in(text)) is not None:
        raise ValueError(
            f"{what} holds {kind}, and a spec is written to disk: have the job read it from its environment, and name "
            'it in secrets={"MY_SECRET": "MY_SECRET"}'
        )


def checked_keeps(keeps: Keeps) -> Keeps:
    """The kept folders of a job, whose names and keys become parts of a path.

    Raises:
        ValueError: A name or a key cannot be part of a path.
    """
    for name, key in keeps.items():
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"the kept folder's name {name!r} must be an identifier of ASCII letters")
        if _KEY.fullmatch(key) is None:
            raise ValueError(
                f"the key {key!r} of the kept folder {name!r} must be of 1 to 100 letters, digits, '.', '_' and '-', "
                "and begin with a letter or a digit: take a fingerprint, or its first 16 digits"
            )
    return keeps


def _folders_of(place: Any) -> Any:
    """A text, also one among several, as the folder that it names; everything else as it is."""
    if isinstance(place, str):
        return Folder(path=place)
    if isinstance(place, (list, tuple)):
        return tuple(_folders_of(one) for one in cast("list[Any]", place))
    return place
