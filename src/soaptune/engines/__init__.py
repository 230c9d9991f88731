"""Engines: text generation behind one protocol. Pure descriptions; what runs a model lives in `soaptune.runtime`."""

from soaptune.engines.protocol import (
    Completion,
    Conversation,
    Engine,
    FinishReason,
    GenerationRequest,
    Measured,
    OnProgress,
    Unanswered,
)
from soaptune.engines.spec import VLLM, Cortex, EngineSpec, Transformers

__all__ = [
    "VLLM",
    "Completion",
    "Conversation",
    "Cortex",
    "Engine",
    "EngineSpec",
    "FinishReason",
    "GenerationRequest",
    "Measured",
    "OnProgress",
    "Transformers",
    "Unanswered",
]
