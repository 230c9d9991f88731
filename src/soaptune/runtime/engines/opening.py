"""Opening an engine: from what a step's config names to something that answers.

The packages that run a model are imported only for the engines that need them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soaptune.engines import VLLM, Cortex, Engine, EngineSpec
from soaptune.errors import ConfigError
from soaptune.handles.folder_model import FolderModel, open_model
from soaptune.handles.model_ref import ModelRef

__all__ = ["Source", "open_engine", "source_of_base", "source_of_model"]


@dataclass(frozen=True)
class Source:
    """A model that an engine is to run.

    Attributes:
        load: Gives the model and its tokenizer.
        folder: Gives a folder with full weights; it may write them into the folder that it is given.
    """

    load: Callable[[], tuple[Any, Any]]
    folder: Callable[[Path], Path]


def open_engine(spec: EngineSpec, source: Source) -> Engine:
    """Opens an engine that runs a model.

    Args:
        spec: The engine.
        source: The model.

    Raises:
        ConfigError: The engine runs no models of others.
        EngineError: The model cannot be loaded, or the engine's program is not there and cannot be installed.
    """
    if isinstance(spec, Cortex):
        raise ConfigError("Cortex runs its own models: it is asked for one by name")
    if isinstance(spec, VLLM):
        from soaptune.runtime.engines.vllm_model import VllmModel

        return VllmModel(source, spec)
    from soaptune.runtime.engines.transformers import TransformersEngine

    return TransformersEngine(*source.load(), batch_size=spec.batch_size)


def source_of_model(model: FolderModel, base: ModelRef | None) -> Source:
    """A tuned model.

    Args:
        model: The model.
        base: The base model of an adapter, as the job finds it.
    """

    def load() -> tuple[Any, Any]:
        from soaptune.runtime.engines.loading import load_model

        return load_model(model.weights, base=base, merge=True) if model.is_adapter else load_model(model.weights)

    def folder(temporary: Path) -> Path:
        if not model.is_adapter:
            return model.weights
        from soaptune.runtime.merge import merge

        merge(model, temporary / "merged", base=base)
        return open_model(temporary / "merged").weights

    return Source(load, folder)


def source_of_base(base: ModelRef, tuned: FolderModel) -> Source:
    """A base model.

    Args:
        base: The base model, as the job finds it.
        tuned: The model that was tuned from it.
    """

    def load() -> tuple[Any, Any]:
        from soaptune.runtime.engines.loading import load_model, load_tokenizer

        found, tokenizer = load_model(base)
        if not tokenizer.chat_template:
            # A base without a chat template is asked in the words that the tuned model has learned.
            tokenizer.chat_template = load_tokenizer(tuned.weights).chat_template
        return found, tokenizer

    def folder(_temporary: Path) -> Path:
        from soaptune.runtime.engines.loading import local_folder

        return local_folder(base)

    return Source(load, folder)
