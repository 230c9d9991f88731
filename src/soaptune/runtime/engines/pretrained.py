"""The one place that has a library read a model's folder: safetensors alone, and never code that lies beside them.

A folder can ask for code of its own (``auto_map``), for kernels of the hub (``_attn_implementation``), or for a module
to import (PEFT's ``megatron_core``). None of that is answered, and nobody is asked.
"""

# pyright: reportUnknownMemberType=false
# transformers and PEFT come without complete types.

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

from soaptune.common.files import read_json
from soaptune.errors import DataError, EngineError
from soaptune.handles.weights import check_model_files

__all__ = ["new_model", "read_adapter", "read_model", "read_tokenizer", "refuse_code", "text_pipeline"]

_NO_CODE = "a model's code is never run, only that of the installed transformers"


def read_model(
    source: str, *, dtype: Any, attention: str = "sdpa", revision: str | None = None, config: Any = None
) -> Any:
    """A causal language model with its weights.

    Args:
        source: A folder or a name on the hub.
        dtype: The number format of the weights.
        attention: The attention kernel.
        revision: The commit on the hub.
        config: Its transformers config, where it was read already.

    Raises:
        EngineError: It needs code of its own, or its weights are no safetensors.
    """
    _refuse_folder(source)
    transformers: Any = importlib.import_module("transformers")
    if config is None:
        config = _without_code(transformers.AutoConfig, source, revision=revision)
    _refuse_kernels(config, source)
    return _without_code(
        transformers.AutoModelForCausalLM,
        source,
        dtype=dtype,
        attn_implementation=attention,
        revision=revision,
        use_safetensors=True,
        config=config,
    )


def new_model(config: Any, *, dtype: Any, attention: str) -> Any:
    """A causal language model with new weights.

    Args:
        config: Its transformers config.
        dtype: The number format of the weights.
        attention: The attention kernel.
    """
    transformers: Any = importlib.import_module("transformers")
    build = transformers.AutoModelForCausalLM.from_config
    return build(config, attn_implementation=attention, dtype=dtype, trust_remote_code=False)


def read_tokenizer(source: str, *, revision: str | None = None) -> Any:
    """A tokenizer.

    Args:
        source: A folder or a name on the hub.
        revision: The commit on the hub.

    Raises:
        EngineError: It needs code of its own.
    """
    transformers: Any = importlib.import_module("transformers")
    return _without_code(transformers.AutoTokenizer, source, revision=revision)


def read_adapter(model: Any, folder: Path) -> Any:
    """A model with a LoRA adapter applied.

    Args:
        model: The base model.
        folder: The adapter.

    Raises:
        DataError: The folder is no adapter with safetensors.
        EngineError: Its config asks for a module to import, or it is of another kind than LoRA.
    """
    check_model_files((file.name for file in folder.iterdir()), is_adapter=True, where=str(folder))
    if not (folder / "adapter_model.safetensors").is_file():
        raise EngineError(f"{folder}: the adapter's weights (adapter_model.safetensors) are missing")
    file = folder / "adapter_config.json"
    raw = read_json(file)
    config = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    if str(config.get("peft_type", "")).upper() != "LORA":
        raise EngineError(f"{file}: only LoRA adapters are read, and this is one of {config.get('peft_type')!r}")
    if config.get("megatron_config"):
        raise EngineError(f"{file}: megatron_config has a module imported; {_NO_CODE}")
    peft: Any = importlib.import_module("peft")
    return peft.PeftModel.from_pretrained(model, str(folder))


def text_pipeline(source: str) -> Any:
    """A transformers pipeline that generates text, as the Model Registry takes one.

    Args:
        source: A folder with full weights.

    Raises:
        EngineError: It needs code of its own, or its weights are no safetensors.
    """
    _refuse_folder(source)
    transformers: Any = importlib.import_module("transformers")
    refuse_code(source)
    _refuse_kernels(_without_code(transformers.AutoConfig, source), source)
    safely = {"use_safetensors": True, "attn_implementation": "sdpa"}
    return transformers.pipeline("text-generation", model=source, trust_remote_code=False, model_kwargs=safely)


def refuse_code(folder: str) -> None:
    """Refuses a folder that needs code of its own, before a library reads it that would ask whether to run it.

    Args:
        folder: A folder with a config and a tokenizer.

    Raises:
        EngineError: It needs code of its own.
    """
    transformers: Any = importlib.import_module("transformers")
    readers = {"config.json": transformers.AutoConfig, "tokenizer_config.json": transformers.AutoTokenizer}
    for name, reader in readers.items():
        file = Path(folder) / name
        # Without such an entry there is nothing to ask for; reading a tokenizer takes a while.
        if file.is_file() and "auto_map" in cast("dict[str, Any]", read_json(file)):
            _without_code(reader, folder)


def _refuse_kernels(config: Any, source: str) -> None:
    """Refuses a config that names code of the hub as its attention: transformers obeys it, whatever it is told."""
    parts: list[Any] = [config, *cast("dict[str, Any]", vars(config)).values()]
    if any("/" in str(getattr(part, "_attn_implementation", "")) for part in parts):
        raise EngineError(f"{source} names kernels of the hub in its config (_attn_implementation); {_NO_CODE}")


def _refuse_folder(source: str) -> None:
    """Refuses a folder that transformers would read, but otherwise than one expects: pickles, or a second adapter."""
    folder = Path(source)
    if not folder.is_dir():
        return
    names = [file.name for file in folder.iterdir()]
    if "adapter_config.json" in names and "config.json" not in names:
        raise EngineError(f"{folder} holds an adapter, where a whole model is needed")
    try:
        check_model_files(names, is_adapter=False, where=str(folder))
    except DataError as error:
        raise EngineError(str(error)) from error


def _without_code(reader: Any, source: str, **options: Any) -> Any:
    try:
        return reader.from_pretrained(source, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        # Outside of transformers' words, which say how to have it run.
        raise EngineError(f"{source} needs code of its own to be read (auto_map); {_NO_CODE}") from error
