"""Whom an evaluation asks: a model in the job's process, one behind a vLLM server, or a Cortex model of the account.

A subject first measures the reference answers (their perplexity, where that is possible, and their length), then
answers. The packages that run a model are imported only by the subjects that need them.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from soaptune.engines import VLLM, Completion, GenerationRequest, OnProgress, Transformers
from soaptune.evaluate.evaluator import EvalPayload
from soaptune.handles.folder_model import FolderModel, open_model

__all__ = ["InProcess", "Measured", "Served", "Subject", "base_subject", "tuned_subject"]

Conversation = Sequence[Mapping[str, str]]
Loaded = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Measured:
    """What a subject makes of the reference answers.

    Attributes:
        losses: For each conversation the loss of its answer (nats) and the answer's tokens, or None.
        longest: Tokens of the longest answer (512 where none is valid); None when nobody counts them.
    """

    losses: Sequence[tuple[float, int] | None]
    longest: int | None


class Subject(Protocol):
    """A model that is evaluated."""

    def measure(self, conversations: Sequence[Conversation | None]) -> Measured:
        """Measures reference answers.

        Args:
            conversations: For each example the prompt with the reference answer, or None where that is not valid.
        """
        ...

    def generate(self, requests: Sequence[GenerationRequest], *, on_progress: OnProgress) -> list[Completion]:
        """Answers, see `soaptune.engines.Engine.generate`."""
        ...


class InProcess:
    """A model in this process.

    Args:
        load: Gives the model and its tokenizer.
        batch_size: How many prompts are answered together.
    """

    def __init__(self, load: Loaded, *, batch_size: int = 32) -> None:
        from soaptune.runtime.engines.transformers import TransformersEngine

        self._batch_size = batch_size
        self.engine = TransformersEngine(*load(), batch_size=batch_size)

    def measure(self, conversations: Sequence[Conversation | None]) -> Measured:
        """See `Subject.measure`."""
        from soaptune.prompting.tokens import label_rows
        from soaptune.runtime.evaluate.perplexity import answer_losses

        labelled = list(label_rows(self.engine.tokenizer, [one for one in conversations if one is not None]))
        found = iter(
            answer_losses(self.engine.model, labelled, max_length=self.engine.max_length, batch_size=self._batch_size)
        )
        losses = [next(found) if one is not None else None for one in conversations]
        return Measured(
            [None if loss is None else (loss.loss, loss.tokens) for loss in losses],
            max((row.n_trained for row in labelled), default=512),
        )

    def generate(self, requests: Sequence[GenerationRequest], *, on_progress: OnProgress) -> list[Completion]:
        """See `Subject.generate`."""
        return self.engine.generate(requests, on_progress=on_progress)


class Served:
    """A model behind a vLLM server; its perplexity is measured in this process, before the server needs the memory.

    Args:
        load: Gives the model and its tokenizer.
        folder: Gives a folder with full weights; it may write them into the folder that it is given.
        settings: The engine.

    Raises:
        EngineError: vLLM is not there and cannot be installed.
    """

    def __init__(self, load: Loaded, folder: Callable[[Path], Path], settings: VLLM) -> None:
        from soaptune.runtime.engines.vllm_program import find_vllm

        # Before anything takes time: without the program there is nothing to do.
        self._program = find_vllm(settings.command, settings.requirement)
        self._settings = settings
        self._folder = folder
        self._local: InProcess | None = InProcess(load)
        engine = self._local.engine
        self._tokenizer, self._stop, self._max_length = engine.tokenizer, engine.stop_tokens, engine.max_length

    def measure(self, conversations: Sequence[Conversation | None]) -> Measured:
        """See `Subject.measure`; afterwards the model is gone from this process."""
        import torch

        assert self._local is not None, "a subject is measured once"
        measured = self._local.measure(conversations)
        self._local = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return measured

    def generate(self, requests: Sequence[GenerationRequest], *, on_progress: OnProgress) -> list[Completion]:
        """See `Subject.generate`."""
        from soaptune.runtime.engines.loading import pick_device, pick_dtype
        from soaptune.runtime.engines.vllm import VllmEngine

        device = pick_device()
        with tempfile.TemporaryDirectory(prefix="soaptune-") as temporary:
            engine = VllmEngine(
                self._folder(Path(temporary)),
                self._tokenizer,
                stop=self._stop,
                max_length=self._max_length,
                program=self._program,
                dtype=str(pick_dtype(device)).removeprefix("torch."),
                eager=device.type == "cpu",
                concurrency=self._settings.concurrency,
            )
            with engine.sized_for(requests):
                return engine.generate(requests, on_progress=on_progress)


def tuned_subject(plan: EvalPayload, model: FolderModel) -> Subject:
    """The model that is evaluated.

    Args:
        plan: The plan.
        model: The model.

    Raises:
        EngineError: It cannot be loaded.
    """

    def load() -> tuple[Any, Any]:
        from soaptune.runtime.engines.loading import load_model

        if model.adapter is None:
            return load_model(model.weights)
        return load_model(model.weights, base=plan.base, merge=True)

    def folder(temporary: Path) -> Path:
        if model.adapter is None:
            return model.weights
        from soaptune.runtime.merge import merge

        merge(model, temporary / "merged", base=plan.base)
        return open_model(temporary / "merged").weights

    return _subject(plan, load, folder)


def base_subject(plan: EvalPayload, model: FolderModel) -> Subject:
    """The base model.

    Args:
        plan: The plan.
        model: The model that was tuned from it.

    Raises:
        EngineError: It cannot be loaded.
    """
    base = plan.base
    assert base is not None, "there is a base model"

    def load() -> tuple[Any, Any]:
        from soaptune.runtime.engines.loading import load_model, load_tokenizer

        found, tokenizer = load_model(base)
        if not tokenizer.chat_template:
            # A base without a chat template is asked in the words that the tuned model has learned.
            tokenizer.chat_template = load_tokenizer(model.weights).chat_template
        return found, tokenizer

    def folder(_temporary: Path) -> Path:
        from soaptune.runtime.engines.loading import local_folder

        return local_folder(base)

    return _subject(plan, load, folder)


def _subject(plan: EvalPayload, load: Loaded, folder: Callable[[Path], Path]) -> Subject:
    engine = plan.evaluator.engine
    if isinstance(engine, VLLM):
        return Served(load, folder, engine)
    return InProcess(load, batch_size=engine.batch_size if isinstance(engine, Transformers) else 32)
