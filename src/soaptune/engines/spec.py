"""Engines as config: which one answers, and how it is set up. Evaluation, serving and data generation share them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator

from soaptune.config import Config
from soaptune.jobs.needs import CortexNeed, Needs, Program

__all__ = ["VLLM", "WITHOUT_CODE", "Cortex", "EngineSpec", "Transformers"]

WITHOUT_CODE = ("--no-trust-remote-code", "--load-format=safetensors")
"""Options of every vLLM server: no code out of a model's folder is run, and no pickle is read."""

_FIXED = ("trust-remote-code", "load-format")


class Transformers(Config):
    """A model in the job's own process, with transformers."""

    kind: Literal["transformers"] = "transformers"

    batch_size: int = Field(default=32, ge=1)
    """How many prompts are answered together."""

    def needs(self) -> Needs:
        """What a job with this engine needs."""
        return Needs(packages=("torch", "transformers", "numpy"))


class VLLM(Config):
    """A model behind a vLLM server that the job starts, in an environment of its own, and stops."""

    kind: Literal["vllm"] = "vllm"

    command: tuple[str, ...] = Field(default=("vllm",), min_length=1)
    """What starts it (``("/opt/vllm/bin/vllm",)``)."""

    requirement: str | None = Field(
        default="vllm==0.32.0", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.+!]+$"
    )
    """What the job installs into a virtual environment of its own, where there is no program ``vllm``; None installs
    nothing."""

    concurrency: int = Field(default=32, ge=1)
    """How many requests are under way at a time."""

    args: tuple[str, ...] = ()
    """Further arguments of the server, such as ``"--max-model-len=8192"``."""

    @field_validator("args")
    @classmethod
    def _no_code_of_a_models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            name = argument.partition("=")[0].lstrip("-").replace("_", "-")
            # The beginning of a name is enough for vLLM.
            if argument.startswith("-") and len(name) > 1 and any(fixed.startswith(name) for fixed in _FIXED):
                raise ValueError(
                    f"{argument!r}: soaptune runs no code out of a model's folder and reads safetensors only, so that "
                    "this option of vLLM is not passed on"
                )
        return value

    def needs(self) -> Needs:
        """What a job with this engine needs."""
        program = Program(command=self.command[0], requirement=self.requirement if self.command == ("vllm",) else None)
        return Needs(packages=("torch", "transformers", "numpy"), programs=(program,))


class Cortex(Config):
    """A model of Snowflake Cortex, asked with ``AI_COMPLETE`` in the account."""

    kind: Literal["cortex"] = "cortex"

    model: str = Field(min_length=1)
    """The model, as ``AI_COMPLETE`` names it (``"llama3.1-70b"``)."""

    def needs(self) -> Needs:
        """What a job with this engine needs."""
        return Needs(cortex=(CortexNeed(model=self.model),))


def _by_name(value: Any) -> Any:
    if value == "soaptune":  # the name of the first release
        raise ValueError("soaptune's own engine is 'transformers': write engine=st.engines.Transformers()")
    return {"kind": value} if isinstance(value, str) else value


EngineSpec: TypeAlias = Annotated[
    Annotated[Transformers | VLLM | Cortex, Field(discriminator="kind")], BeforeValidator(_by_name)
]
"""An engine. A name alone (``"vllm"``) stands for the engine with its defaults."""
