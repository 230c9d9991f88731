"""`Model`: what training hands to evaluation and deployment, wherever its weights lie."""

from __future__ import annotations

import html
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from soaptune.errors import DataError
from soaptune.handles.location import Location, Receiver, copied
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.model_ref import ModelRef
from soaptune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from soaptune.handles.folder_model import FolderModel

__all__ = ["Model", "ModelManifest"]


class Model(ABC):
    """A trained model: an adapter for a base model, or a whole model, with its tokenizer and its history.

    It is a handle: it knows where the weights lie and reads them only when asked to. Two handles are equal when their
    weights are. `open` gives a `soaptune.handles.folder_model.FolderModel`, a model in a folder of this machine.

    Examples:
        >>> model = Model.open("runs/jobs/.../output")  # doctest: +SKIP
        >>> model.merge().export("my-model")  # doctest: +SKIP
    """

    def __init__(self, manifest: ModelManifest) -> None:
        """Makes a handle from parts; use `Model.open`.

        Args:
            manifest: What the model is and where it came from.
        """
        self._manifest = manifest

    @staticmethod
    def open(path: str | os.PathLike[str]) -> FolderModel:
        """Opens the folder of a trained model.

        Args:
            path: A job's ``output`` folder, the job's folder itself, or an exported model.

        Returns:
            The handle; no weights are read.

        Raises:
            DataError: There is no model, or its manifest or weights are not whole.
        """
        from soaptune.handles.folder_model import open_model

        return open_model(path)

    @property
    @abstractmethod
    def location(self) -> Location:
        """Where the weights lie, and with that which backend's jobs can read them."""

    @abstractmethod
    def verify(self) -> None:
        """Reads the files and checks that they are the ones that the manifest speaks of.

        A file that was read before and has not changed since is not read again. Whatever uses the weights asks this
        first: `merge`, `load`, `export`, `download`, evaluation and deployment.

        Raises:
            DataError: A file is missing, was changed, or does not belong to the model; or it cannot be read.
        """

    @abstractmethod
    def download(self, path: str | os.PathLike[str]) -> FolderModel:
        """Writes the model, with its manifest, into a folder of this machine.

        Args:
            path: A new folder.

        Returns:
            The model there, with the same fingerprint.

        Raises:
            DataError: There is something at that path already, or the files are not those of the manifest.
        """

    @abstractmethod
    def merge(self) -> Model:
        """Merges the adapter into the base model, on this machine.

        Returns:
            The merged model, or this one when it is a whole model already.

        Raises:
            JobFailed: The base model cannot be loaded, or the merged model answers otherwise than the adapter does.
            MissingExtraError: torch and PEFT are not installed.
        """

    @abstractmethod
    def load(self) -> tuple[Any, Any]:
        """Loads the model into this process.

        Returns:
            A transformers model (with the adapter applied) in evaluation mode, and its tokenizer.

        Raises:
            MissingExtraError: torch, transformers or PEFT are not installed.
        """

    @abstractmethod
    def export(self, path: str | os.PathLike[str], *, content: Literal["auto", "adapter", "merged"] = "auto") -> Path:
        """Writes the model as users of vLLM and PEFT expect it, with a model card.

        A whole or merged model's weights, tokenizer and chat template lie in the folder itself (``vllm serve <path>``);
        an adapter's lie in ``<path>/adapter`` (``PeftModel.from_pretrained(base, "<path>/adapter")``).

        Args:
            path: A new or empty folder.
            content: ``"adapter"``, ``"merged"``, or ``"auto"`` for what the model is.

        Returns:
            The folder.

        Raises:
            DataError: There is something in the folder already, or there is no adapter to export.
        """

    def copy_to(self, backend: Receiver) -> Model:
        """Copies the model to where a backend's jobs read it.

        Args:
            backend: The backend.

        Returns:
            A handle to the copy, with the same fingerprint; this handle where it lies there already.
        """
        return copied(self, backend)

    @property
    def manifest(self) -> ModelManifest:
        """What the model is and where it came from."""
        return self._manifest

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter for its base model, and not a whole model."""
        return self._manifest.method == "lora"

    @property
    def base(self) -> ModelRef:
        """The base model: a name on the hub and its revision, a folder, or ``"soaptune/tiny"``."""
        return self._manifest.base

    @property
    def task(self) -> TaskSpec:
        """The task that the model has learned.

        Raises:
            DataError: The model was pre-trained, on no task.
        """
        if self._manifest.task is None:
            raise DataError(f"the model in {self.location} was pre-trained and has no task")
        return self._manifest.task

    @property
    def fingerprint(self) -> str:
        """``"sha256:..."`` of weights, tokenizer and their configs."""
        return self._manifest.fingerprint

    @property
    def lineage(self) -> dict[str, Any]:
        """What the model was made from: fingerprints of data, spec and YAML, package versions, git revision, parent."""
        manifest = self._manifest
        return {
            "data": manifest.data_fingerprint,
            "synthetic": manifest.synthetic,
            "base": manifest.base.name,
            "base_revision": manifest.base.revision,
            "spec": manifest.spec,
            "spec_fingerprint": manifest.spec_fingerprint,
            "yaml_fingerprint": manifest.yaml_fingerprint,
            "changes": list(manifest.changes),
            "versions": dict(manifest.versions),
            "git_revision": manifest.git_revision,
            "parent": manifest.merged_from or manifest.parent,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        kind = "adapter for " if self.is_adapter else ""
        task = f", task {self._manifest.task.name!r}" if self._manifest.task else ""
        return f"Model({kind}{self.base}{task}, {self.fingerprint[:19]}, at {self.location})"

    def _repr_html_(self) -> str:
        manifest = self._manifest
        rows = {
            "what": "LoRA adapter" if manifest.method == "lora" else "whole model",
            "base": str(manifest.base),
            "task": manifest.task.name if manifest.task else "(pre-trained)",
            "data": manifest.data_fingerprint[:19] + (" (synthetic)" if manifest.synthetic else ""),
            "fingerprint": self.fingerprint[:19],
            "path": str(self.location),
        }
        cells = "".join(f"<tr><th>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"
