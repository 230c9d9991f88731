"""`Model`: what training hands to evaluation and deployment. A folder of safetensors with a manifest beside it."""

from __future__ import annotations

import html
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from soaptune.common.files import MANIFEST, atomic_dir, read_json, write_json
from soaptune.common.lazy import require
from soaptune.errors import ConfigError, DataError, JobFailed
from soaptune.handles.location import LOCAL, Location, Receiver
from soaptune.handles.model_export import copy_model_files, export_model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.tasks.spec import TaskSpec

__all__ = ["Model", "ModelManifest"]


class Model:
    """A trained model: an adapter for a base model, or a whole model, with its tokenizer and its history.

    It is a handle: it knows where the weights lie and reads them only when asked to. Two handles are equal when their
    weights are.

    Examples:
        >>> model = Model.open("runs/jobs/.../output")  # doctest: +SKIP
        >>> model.merge().export("my-model")  # doctest: +SKIP
    """

    def __init__(self, path: Path, manifest: ModelManifest) -> None:
        """Makes a handle from parts; use `Model.open`."""
        self._path = path
        self._manifest = manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Model:
        """Opens the folder of a trained model.

        Args:
            path: A job's ``output`` folder, the job's folder itself, or an exported model.

        Returns:
            The handle; no weights are read.

        Raises:
            DataError: There is no model, or its manifest or weights are not whole.
        """
        folder = Path(path).expanduser().resolve()
        if not (folder / MANIFEST).is_file() and (folder / "output" / MANIFEST).is_file():
            folder = folder / "output"
        raw = read_json(folder / MANIFEST)
        if not isinstance(raw, dict) or raw.get("kind") != "model":  # pyright: ignore[reportUnknownMemberType]
            raise DataError(f"{folder / MANIFEST} does not describe a model")
        try:
            manifest = ModelManifest.model_validate(raw)
        except ConfigError as error:
            raise DataError(f"{folder / MANIFEST}: {error}") from error
        model = cls(folder, manifest)
        wanted = "adapter_config.json" if manifest.method == "lora" else "config.json"
        if not (model.weights / wanted).is_file() or not any(model.weights.glob("*.safetensors")):
            raise DataError(f"{model.weights} is not a whole model: it needs {wanted} and .safetensors files")
        return model

    @property
    def path(self) -> Path:
        """The folder that holds the manifest, absolute."""
        return self._path

    @property
    def location(self) -> Location:
        """Where the weights lie, and which backend's jobs can read them."""
        return Location(LOCAL, str(self._path))

    def copy_to(self, backend: Receiver) -> Model:
        """Copies the model to where a backend's jobs read it.

        Args:
            backend: The backend.

        Returns:
            A handle to the copy, with the same fingerprint; this handle where it lies there already.
        """
        return backend.receive(self)

    def download(self, path: str | os.PathLike[str]) -> Model:
        """Writes the model, with its manifest, into a folder of this machine.

        Args:
            path: A new folder.

        Returns:
            The model there.

        Raises:
            DataError: There is something at that path already.
        """
        target = Path(path).expanduser()
        with atomic_dir(target) as folder:
            copy_model_files(self.weights, folder / self._manifest.weights)
            write_json(folder / MANIFEST, self._manifest.model_dump(mode="json"))
        return Model.open(target)

    @property
    def manifest(self) -> ModelManifest:
        """What the model is and where it came from."""
        return self._manifest

    @property
    def weights(self) -> Path:
        """The folder with weights and tokenizer."""
        return self._path / self._manifest.weights

    @property
    def adapter(self) -> Path | None:
        """The folder with ``adapter_config.json``, or None for a whole model."""
        return self.weights if self._manifest.method == "lora" else None

    @property
    def base(self) -> str:
        """The base model: its name on the hub, a folder, or ``"soaptune/tiny"``."""
        return self._manifest.base

    @property
    def base_revision(self) -> str | None:
        """Revision of the base model on the hub, where one is known."""
        return self._manifest.base_revision

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
            "base": manifest.base,
            "base_revision": manifest.base_revision,
            "spec": manifest.spec,
            "spec_fingerprint": manifest.spec_fingerprint,
            "yaml_fingerprint": manifest.yaml_fingerprint,
            "changes": list(manifest.changes),
            "versions": dict(manifest.versions),
            "git_revision": manifest.git_revision,
            "parent": manifest.merged_from or manifest.parent,
        }

    def merge(self) -> Model:
        """Merges the adapter into the base model.

        The work is done once, in a process of its own, which compares the merged model's logits with the adapter's
        before and after saving; the result stays beside the adapter, in ``merged/``.

        Returns:
            The merged model, or this one when it is a whole model already.

        Raises:
            JobFailed: The base model cannot be loaded, or the merged model answers otherwise than the adapter does.
            MissingExtraError: torch and PEFT are not installed.
        """
        if self.adapter is None:
            return self
        target = self._path / "merged"
        done = self._merged(target)
        if done is not None:
            return done
        require("torch", "transformers", "peft", extra="train", what="Model.merge()")
        command = [sys.executable, "-m", "soaptune.runtime.merge", "--model", str(self._path), "--output", str(target)]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace"
        )
        done = self._merged(target)
        if done is None:
            lines = result.stderr.strip().splitlines()
            last = lines[-1] if lines else f"the process ended with status {result.returncode}"
            raise JobFailed(f"{self._path} could not be merged: {last}", job_id="merge", log_tail=lines[-20:])
        return done

    def _merged(self, target: Path) -> Model | None:
        if not (target / MANIFEST).is_file():
            return None
        merged = Model.open(target)
        return merged if merged.manifest.merged_from == self.fingerprint else None

    def load(self) -> tuple[Any, Any]:
        """Loads the model into this process.

        Returns:
            A transformers model (with the adapter applied) in evaluation mode, and its tokenizer.

        Raises:
            MissingExtraError: torch, transformers or PEFT are not installed.
        """
        require("torch", "transformers", "peft", extra="train", what="Model.load()")
        loading = importlib.import_module("soaptune.runtime.engines.loading")
        if self.adapter is None:
            return loading.load_model(self.weights)
        return loading.load_model(
            self.weights, base=self.base, revision=self.base_revision, cache_dir=self._manifest.spec.get("cache_dir")
        )

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
        if content == "adapter" and self.adapter is None:
            raise DataError(f"the model in {self._path} has no adapter; it is a whole model")
        source = self.merge() if content == "merged" else self
        return export_model(source.weights, source.manifest, Path(path).expanduser())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        kind = "adapter for " if self._manifest.method == "lora" else ""
        task = f", task {self._manifest.task.name!r}" if self._manifest.task else ""
        return f"Model({kind}{self.base}{task}, {self.fingerprint[:19]}, at {self.location})"

    def _repr_html_(self) -> str:
        manifest = self._manifest
        rows = {
            "what": "LoRA adapter" if manifest.method == "lora" else "whole model",
            "base": manifest.base + (f" @ {manifest.base_revision}" if manifest.base_revision else ""),
            "task": manifest.task.name if manifest.task else "(pre-trained)",
            "data": manifest.data_fingerprint[:19] + (" (synthetic)" if manifest.synthetic else ""),
            "fingerprint": self.fingerprint[:19],
            "path": str(self.location),
        }
        cells = "".join(f"<tr><th>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"
