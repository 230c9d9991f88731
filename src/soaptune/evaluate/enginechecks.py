"""What can be told of an evaluation's engine before its job runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from soaptune.errors import Violation

__all__ = ["engine_findings", "option_findings"]

_INSTALLED = "vllm"


def option_findings(*, engine: str, cortex_model: str | None) -> list[Violation]:
    """What is wrong with the options themselves.

    Args:
        engine: The engine.
        cortex_model: The Cortex model.
    """
    if engine == "cortex" and cortex_model is None:
        hint = 'Evaluator(engine="cortex", cortex_model="llama3.1-70b")'
        return [Violation(path="cortex_model", code="cortex", message="engine='cortex' needs a model.", hint=hint)]
    if engine != "cortex" and cortex_model is not None:
        message = f"A Cortex model is asked with engine='cortex' only, not with {engine!r}."
        return [Violation(path="cortex_model", code="cortex", message=message, hint="Leave it out, or set the engine.")]
    return []


def engine_findings(engine: str, command: Sequence[str], requirement: str | None, *, backend: str) -> list[Violation]:
    """What is wrong with an engine on a backend.

    Args:
        engine: The engine.
        command: What starts vLLM.
        requirement: What is installed when there is no program ``vllm``; None for nothing.
        backend: The backend's name.
    """
    if engine == "cortex" and backend != "snowflake":
        return [
            Violation(
                path="engine",
                code="backend",
                message="Cortex is a part of Snowflake: this engine runs on a SnowflakeBackend.",
                hint="Evaluate there, or use engine='transformers'.",
            )
        ]
    # What is on a machine elsewhere is known there only.
    if engine != "vllm" or backend != "local" or shutil.which(command[0]) is not None:
        return []
    if requirement is not None and command[0] == _INSTALLED:
        message = f"There is no program 'vllm' here: the job installs {requirement}, which is gigabytes, once."
        hint = "Name one that is there: vllm_command=('/path/to/vllm/bin/vllm',)."
        return [Violation(path="vllm_command", code="installs-vllm", level="warning", message=message, hint=hint)]
    return [
        Violation(
            path="vllm_command",
            code="no-vllm",
            message=f"There is no program {command[0]!r} here.",
            hint="Install vLLM in an environment of its own and name it: vllm_command=('/path/to/vllm/bin/vllm',).",
        )
    ]
