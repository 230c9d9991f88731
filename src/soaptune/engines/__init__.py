"""Engines: text generation behind one protocol. Pure descriptions; what runs a model lives in `soaptune.runtime`."""

from soaptune.engines.protocol import Completion, Engine, FinishReason, GenerationRequest, OnProgress, Unanswered

__all__ = ["Completion", "Engine", "FinishReason", "GenerationRequest", "OnProgress", "Unanswered"]
