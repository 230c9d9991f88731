"""A model behind a vLLM server that is started for it; reference answers are measured in this process before that."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from soaptune.engines import VLLM, Completion, Conversation, GenerationRequest, Measured, OnProgress
from soaptune.errors import EngineError
from soaptune.runtime.engines.loading import pick_device, pick_dtype
from soaptune.runtime.engines.opening import Source
from soaptune.runtime.engines.transformers import TransformersEngine
from soaptune.runtime.engines.vllm import VllmEngine
from soaptune.runtime.engines.vllm_program import find_vllm

__all__ = ["VllmModel"]


class VllmModel:
    """A model behind a vLLM server; a `soaptune.engines.Engine`.

    Its perplexity is measured in this process, before the server needs the memory.

    Args:
        source: The model.
        spec: How vLLM is started.

    Raises:
        EngineError: vLLM is not there and cannot be installed, or the model cannot be loaded.
    """

    def __init__(self, source: Source, spec: VLLM) -> None:
        # Before anything takes time: without the program there is nothing to do.
        self._program = find_vllm(spec.command, spec.requirement)
        self._spec = spec
        self._source = source
        self._local: TransformersEngine | None = TransformersEngine(*source.load())
        engine = self._local
        self._tokenizer, self._stop, self._max_length = engine.tokenizer, engine.stop_tokens, engine.max_length

    def measure(self, conversations: Sequence[Conversation | None]) -> Measured:
        """See `soaptune.engines.Engine.measure`; afterwards the model is gone from this process.

        Raises:
            EngineError: It was measured already.
        """
        if self._local is None:
            raise EngineError("a model behind vLLM is measured once, before its server is started")
        measured = self._local.measure(conversations)
        self._release()
        return measured

    def generate(
        self, requests: Sequence[GenerationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Completion]:
        """See `soaptune.engines.Engine.generate`."""
        self._release()
        device = pick_device()
        with tempfile.TemporaryDirectory(prefix="soaptune-") as temporary:
            engine = VllmEngine(
                self._source.folder(Path(temporary)),
                self._tokenizer,
                stop=self._stop,
                max_length=self._max_length,
                program=self._program,
                dtype=str(pick_dtype(device)).removeprefix("torch."),
                eager=device.type == "cpu",
                concurrency=self._spec.concurrency,
                arguments=self._spec.args,
            )
            with engine.sized_for(requests):
                return engine.generate(requests, on_progress=on_progress)

    def _release(self) -> None:
        self._local = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
