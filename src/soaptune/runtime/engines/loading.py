"""Loading models: full weights, or a base model with a LoRA adapter; safetensors only, never code from a repository."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from soaptune import tiny
from soaptune.common.files import read_object
from soaptune.errors import EngineError, SoaptuneError
from soaptune.handles.model_ref import ModelRef
from soaptune.runtime.engines.pretrained import read_adapter, read_model, read_tokenizer

__all__ = ["load_model", "load_tokenizer", "local_folder", "pick_device", "pick_dtype"]


def pick_device(device: str = "auto") -> torch.device:
    """The device to compute on: the first GPU when there is one, otherwise the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def pick_dtype(device: torch.device) -> torch.dtype:
    """The number format to compute in: bf16 on a GPU that knows it, fp32 elsewhere (bf16 is slower on most CPUs)."""
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def load_model(
    weights: str | Path | ModelRef,
    *,
    base: ModelRef | str | None = None,
    merge: bool = False,
    device: str = "auto",
    dtype: str = "auto",
) -> tuple[Any, Any]:
    """Loads a model and its tokenizer, ready for inference.

    Args:
        weights: A folder with full weights (``config.json``) or with an adapter (``adapter_config.json``), or a base
            model.
        base: The base model of an adapter; None takes the one that the adapter names.
        merge: Whether to add an adapter's weights to the base's, which is faster and gives a plain model.
        device: ``"auto"``, or a device as PyTorch names it.
        dtype: ``"auto"``, or a number format as PyTorch names it (``"float32"``).

    Returns:
        The model in evaluation mode and its tokenizer. The tokenizer comes from the folder of the weights when one
        lies there, since training may have changed its chat template, and from the base otherwise.

    Raises:
        EngineError: The weights are not there, are not safetensors, or their kind of model is not known.
    """
    given = weights if isinstance(weights, ModelRef) else ModelRef(name=str(weights))
    place = tiny.resolve(given.name)
    adapter = Path(place) if (Path(place) / "adapter_config.json").is_file() else None
    found = ModelRef.model_validate(base or _base_of(adapter)) if adapter else given
    source = tiny.resolve(found.name)
    # Another place may hold its own tokenizer; a hub name has no folder to look into.
    tokenizer_from = place if _has_tokenizer(Path(place)) else source
    target = pick_device(device)
    number = pick_dtype(target) if dtype == "auto" else _dtype(dtype)
    _quiet()
    try:
        model = read_model(source, dtype=number, revision=found.revision)
        tokenizer = read_tokenizer(tokenizer_from, revision=found.revision if tokenizer_from == source else None)
        if adapter:
            tuned = read_adapter(model, adapter)
            model = tuned.merge_and_unload() if merge else tuned
    except SoaptuneError as error:
        raise error if isinstance(error, EngineError) else EngineError(str(error)) from error
    except Exception as error:  # in damaged files the libraries stumble over whatever they find, each in its way
        raise EngineError(
            f"the model {source!r}" + (f" with the adapter {str(adapter)!r}" if adapter else "") + " could not be "
            f"loaded: {error}"
        ) from error
    model.to(target)
    model.eval()
    return model, tokenizer


def load_tokenizer(folder: str | Path) -> Any:
    """Loads the tokenizer of a model folder, without its weights.

    Raises:
        EngineError: There is no tokenizer.
    """
    _quiet()
    try:
        return read_tokenizer(tiny.resolve(str(folder)))
    except Exception as error:  # see `load_model`
        raise EngineError(f"the tokenizer of {str(folder)!r} could not be loaded: {error}") from error


def local_folder(model: ModelRef) -> Path:
    """The folder with the files of a model that is not an adapter.

    Args:
        model: The model.

    Raises:
        EngineError: The hub has no such model, or cannot be reached.
    """
    place = Path(tiny.resolve(model.name))
    if place.is_dir():
        return place
    hub: Any = importlib.import_module("huggingface_hub")
    files = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
    try:
        return Path(hub.snapshot_download(model.name, revision=model.revision, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise EngineError(f"the files of the model {model.name!r} could not be fetched: {error}") from error


def _base_of(adapter: Path | None) -> str:
    if adapter is None:
        return ""
    name = read_object(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not name or not isinstance(name, str):
        raise EngineError(f"{adapter}: the adapter does not say of which base model it is; name it with base=")
    return name


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() or (folder / "tokenizer_config.json").is_file()


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise EngineError(f"{name!r} is not a number format of PyTorch; use 'float32' or 'bfloat16'")
    return found


def _quiet() -> None:
    """Keeps library chatter out of job logs."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
