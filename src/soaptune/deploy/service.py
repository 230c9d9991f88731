"""Serving on Snowflake as config."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field

from soaptune.config import Config, OtherName, TokenVariable
from soaptune.errors import Violation

__all__ = ["ServiceOptions"]

_DROPPED = ("--host", "--port", "--api-key", "--enable-lora", "--lora-modules")
"""Arguments of vLLM that Snowflake's server sets itself and takes away from whoever gives them."""


class ServiceOptions(Config):
    """How a model is served on Snowflake: as a version in the Model Registry and a service in a compute pool.

    Examples:
        >>> ServiceOptions(engine="vllm", engine_args=("--max-model-len=8192",), gpus=1).engine
        'vllm'
    """

    other_names: ClassVar[Mapping[str, OtherName]] = MappingProxyType({"takes_over": OtherName("replace_existing")})

    engine: Literal["soaptune", "vllm"] = "soaptune"
    """What answers. ``"soaptune"`` is the engine of this library, the one that serves locally too: it renders prompts
    as in training and holds every answer to the task's schema. ``"vllm"`` is Snowflake's vLLM: faster under load; it
    is asked for the schema with every request of `Endpoint.generate`, and other clients must ask for it themselves."""

    engine_args: tuple[str, ...] = ()
    """Arguments for vLLM, such as ``"--max-model-len=8192"``."""

    model: str | None = None
    """The model's name in the registry; None makes it from the deployer's name."""

    compute_pool: str | None = None
    """Where the service runs; None takes the backend's pool."""

    build_pool: str | None = None
    """Where its image is built; None takes the service's pool."""

    build_integrations: tuple[str, ...] | None = None
    """External access integrations for building the image; None takes the backend's."""

    image_repo: str | None = None
    """The image repository; None takes the account's default one."""

    ingress: bool = True
    """Whether the service can be reached from outside the account (needs BIND SERVICE ENDPOINT)."""

    min_instances: int = Field(default=0, ge=0)
    """The least number of instances; 0 lets the service suspend itself when nobody asks."""

    max_instances: int = Field(default=1, ge=1)
    """The largest number of instances."""

    gpus: int = Field(default=1, ge=0)
    """GPUs of each instance; 0 serves on the CPU."""

    cpus: str | None = None
    """CPUs of each instance, as Snowflake takes them (``"2"``, ``"500m"``); None for all of the node's."""

    memory: str | None = None
    """Memory of each instance (``"8GiB"``); None for all of the node's."""

    replace_existing: bool = False
    """Whether a service of the same name that serves another model may be dropped for this one."""

    token: TokenVariable | None = None
    """Name of the environment variable that holds the programmatic access token with which `Endpoint.generate` calls
    the service over HTTPS. None calls it through SQL with the backend's session, which needs no token."""

    def check(self) -> list[Violation]:
        """All that is wrong with the options themselves."""
        found: list[Violation] = []
        if self.engine == "vllm" and self.gpus == 0:
            found.append(
                Violation(
                    path="service.gpus", code="vllm-without-gpu", message="Snowflake's vLLM needs a GPU.", hint="gpus=1"
                )
            )
        if self.engine != "vllm" and self.engine_args:
            found.append(
                Violation(
                    path="service.engine_args",
                    code="args-without-vllm",
                    message="engine_args are for vLLM; the engine is soaptune's.",
                    hint='Set engine="vllm", or leave them out.',
                )
            )
        for number, argument in enumerate(self.engine_args):
            name = argument.partition("=")[0]
            path = f"service.engine_args[{number}]"
            if not argument.startswith("--"):
                message = f"{argument!r} does not start with two dashes; give a value as --name=value."
                found.append(Violation(path=path, code="engine-arg", message=message))
            elif name in _DROPPED:
                message = f"Snowflake sets {name} itself and ignores it here."
                found.append(Violation(path=path, code="engine-arg-ignored", level="warning", message=message))
        if self.min_instances > self.max_instances:
            message = f"min_instances is {self.min_instances}, max_instances {self.max_instances}."
            found.append(Violation(path="service.min_instances", code="instances", message=message))
        if self.token is not None and not self.ingress:
            message = "A token is for HTTPS, and the service has no ingress; it is called through SQL."
            found.append(Violation(path="service.token", code="token-unused", level="warning", message=message))
        return found
