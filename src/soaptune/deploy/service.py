"""Serving on Snowflake as config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

from pydantic import Field

from soaptune.config import Config, OtherName, TokenVariable
from soaptune.engines.spec import VLLM, Cortex, EngineSpec, Transformers
from soaptune.errors import Violation

__all__ = ["ServiceOptions"]

_DROPPED = ("--host", "--port", "--api-key", "--enable-lora", "--lora-modules")
"""Arguments of vLLM that Snowflake's server sets itself and takes away from whoever gives them."""


_NAMES = MappingProxyType(
    {
        "takes_over": OtherName("replace_existing"),
        "engine_args": OtherName("engine", "Write engine=st.engines.VLLM(args=...)."),
    }
)
"""What options of the first release are now."""


class ServiceOptions(Config):
    """How a model is served on Snowflake: as a version in the Model Registry and a service in a compute pool.

    Examples:
        >>> ServiceOptions(engine=VLLM(args=("--max-model-len=8192",)), gpus=1).engine.kind
        'vllm'
    """

    other_names: ClassVar[Mapping[str, OtherName]] = _NAMES

    engine: EngineSpec = Transformers()
    """What answers. `soaptune.engines.Transformers` is the engine that serves locally too: it renders prompts as in
    training and keeps every answer to the task's schema. `soaptune.engines.VLLM` is Snowflake's own vLLM, started with
    the engine's `args`: faster under load; it is asked for the schema with every request of `Endpoint.generate`, and
    other clients must ask for it themselves. A Cortex model cannot serve a model's weights."""

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
        found = list(self._engine_findings())
        if self.min_instances > self.max_instances:
            message = f"min_instances is {self.min_instances}, max_instances {self.max_instances}."
            found.append(Violation(path="service.min_instances", code="instances", message=message))
        if self.token is not None and not self.ingress:
            message = "A token is for HTTPS, and the service has no ingress; it is called through SQL."
            found.append(Violation(path="service.token", code="token-unused", level="warning", message=message))
        return found

    def _engine_findings(self) -> Iterator[Violation]:
        if isinstance(self.engine, Cortex):
            yield Violation(
                path="service.engine",
                code="engine-cannot-serve",
                message="A Cortex model answers with its own weights and cannot serve this model.",
                hint="engine=st.engines.Transformers(), or st.engines.VLLM().",
            )
        elif isinstance(self.engine, VLLM):
            yield from self._vllm_findings(self.engine)
        for name, field in type(self.engine).model_fields.items():
            if name not in ("args", "model") and getattr(self.engine, name) != field.default:
                message = f"Snowflake's inference server decides {name} itself."
                path = f"service.engine.{name}"
                yield Violation(path=path, code="engine-option-unused", level="warning", message=message)

    def _vllm_findings(self, engine: VLLM) -> Iterator[Violation]:
        if self.gpus == 0:
            yield Violation(
                path="service.gpus", code="vllm-without-gpu", message="Snowflake's vLLM needs a GPU.", hint="gpus=1"
            )
        for number, argument in enumerate(engine.args):
            name = argument.partition("=")[0]
            path = f"service.engine.args[{number}]"
            if not argument.startswith("--"):
                message = f"{argument!r} does not start with two dashes; give a value as --name=value."
                yield Violation(path=path, code="engine-arg", message=message)
            elif name in _DROPPED:
                message = f"Snowflake sets {name} itself and ignores it here."
                yield Violation(path=path, code="engine-arg-ignored", level="warning", message=message)
