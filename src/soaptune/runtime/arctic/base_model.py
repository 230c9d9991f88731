"""ArcticTraining's model factory with what a base model needs beyond a name: revision, cache folder, our embedded one.

The stock factory hands the name to transformers as it is, so a run takes whatever the hub's main branch holds that
day. This one turns the name into a folder of one commit before anything reads it; only safetensors are fetched.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# ArcticTraining and transformers come without complete types.

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, cast

from arctic_training.config.model import ModelConfig
from arctic_training.model.hf_factory import HFModelFactory
from pydantic import model_validator
from typing_extensions import Self

from soaptune import tiny
from soaptune.runtime.engines.pretrained import new_model, read_model, refuse_code

__all__ = ["BaseModelConfig", "BaseModelFactory", "fetch", "used_revision"]

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_UNWANTED = ["original/*", "consolidated*", "onnx/*"]


class BaseModelConfig(ModelConfig):
    """Which base model, and in which state its training starts."""

    revision: str | None = None
    """ Commit, tag or branch on the hub. """

    cache_dir: Path | None = None
    """ Folder for models of the hub; that of Hugging Face when unset. """

    initialization: Literal["pretrained", "random"] = "pretrained"
    """ Whether to read the weights or to draw new ones. """

    @model_validator(mode="after")
    def _to_folder(self) -> Self:
        # Everything behind this (the tokenizer's config, DeepSpeed's) takes the place from here.
        self.name_or_path = fetch(str(self.name_or_path), revision=self.revision, cache_dir=self.cache_dir)
        refuse_code(str(self.name_or_path))  # ArcticTraining reads config and tokenizer itself, and would ask
        return self


class BaseModelFactory(HFModelFactory):
    """Makes the base model, pre-trained or with new weights."""

    name = "soaptune_base"
    config: BaseModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]  (how its registry finds the class)

    def create_model(self, model_config: Any) -> Any:
        """Makes the model.

        Args:
            model_config: Its transformers config.

        Returns:
            The model in the dtype of the config.
        """
        if self.config.initialization == "random":
            return new_model(model_config, dtype=self.config.dtype.value, attention=self.config.attn_implementation)
        return read_model(
            str(self.config.name_or_path),
            dtype=self.config.dtype.value,
            attention=self.config.attn_implementation,
            config=model_config,
        )


def fetch(name: str, *, revision: str | None = None, cache_dir: Path | None = None) -> str:
    """The local folder of a model, fetched from the hub where it is not there yet.

    Args:
        name: A name on the hub, a folder, or the embedded model's name.
        revision: Commit, tag or branch on the hub.
        cache_dir: Folder for models of the hub.

    Returns:
        The folder, absolute.
    """
    if name == tiny.NAME or Path(name).is_dir():
        return str(Path(tiny.resolve(name)).resolve())
    import huggingface_hub

    download = cast("Any", huggingface_hub.snapshot_download)
    return download(
        name,
        revision=revision,
        cache_dir=cache_dir,
        allow_patterns=_WANTED,
        ignore_patterns=_UNWANTED,
        local_files_only=os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE"),
    )


def used_revision(folder: str | Path) -> str | None:
    """The hub's commit that a folder from `fetch` holds, or None for a folder that does not come from the hub."""
    path = Path(folder)
    return path.name if path.parent.name == "snapshots" else None
