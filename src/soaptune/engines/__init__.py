"""Engines: text generation behind one protocol. Pure descriptions; what runs a model lives in `soaptune.runtime`."""

from soaptune.engines.protocol import Completion, Engine, FinishReason, GenerationRequest, OnProgress, Unanswered
from soaptune.engines.spec import VLLM, Cortex, EngineSpec, Transformers

__all__ = [
    "VLLM",
    "Completion",
    "Cortex",
    "Engine",
    "EngineSpec",
    "FinishReason",
    "GenerationRequest",
    "OnProgress",
    "Transformers",
    "Unanswered",
]
