"""`FolderModel`: a model in a folder of this machine, safetensors with a manifest beside them."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from soaptune.common.files import MANIFEST, atomic_dir, write_json
from soaptune.common.inside import files_inside, inside
from soaptune.common.lazy import require
from soaptune.errors import DataError, JobFailed
from soaptune.handles.location import InFolder
from soaptune.handles.manifests import open_manifest
from soaptune.handles.model import Model
from soaptune.handles.model_export import copy_model_files, export_model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.storage import FolderFiles
from soaptune.handles.weights import check_model_files, verify_weights, was_merged_here

__all__ = ["FolderModel", "open_model"]


class FolderModel(InFolder, Model):
    """A model in a folder of this machine."""

    def __init__(self, path: Path, manifest: ModelManifest) -> None:
        """Makes a handle from parts; use `soaptune.Model.open`.

        Args:
            path: The folder with the manifest.
            manifest: Its manifest.
        """
        super().__init__(manifest)
        self._path = path

    @property
    def weights(self) -> Path:
        """The folder with weights and tokenizer."""
        return inside(self._path, self._manifest.weights, what="the folder of the weights")

    @property
    def adapter(self) -> Path | None:
        """The folder with ``adapter_config.json``, or None for a whole model."""
        return self.weights if self.is_adapter else None

    def verify(self) -> None:
        """Reads the files and checks that they are the ones that the manifest speaks of; see `Model.verify`."""
        verify_weights(self.weights, self.fingerprint, self._manifest.files)

    def download(self, path: str | os.PathLike[str]) -> FolderModel:
        """Copies the model, with its manifest, into another folder; see `Model.download`."""
        self.verify()
        target = Path(path).expanduser()
        with atomic_dir(target) as folder:
            copy_model_files(self.weights, folder / self._manifest.weights)
            write_json(folder / MANIFEST, self._manifest.model_dump(mode="json"))
        return open_model(target)

    def merge(self) -> FolderModel:
        """Merges the adapter into the base model; see `Model.merge`.

        The work is done once, in a process of its own, which compares the merged model's logits with the adapter's
        before and after saving; the result stays beside the adapter, in ``merged/``. One that was not merged here is
        replaced.
        """
        if not self.is_adapter:
            return self
        self.verify()
        target = self._path / "merged"
        done = self._merged(target)
        if done is not None and was_merged_here(done.fingerprint, self.fingerprint):
            done.verify()
            return done
        require("torch", "transformers", "peft", extra="train", what="Model.merge()")
        if target.is_symlink():
            raise DataError(f"{target} is a link, where the merged model is to be written: remove it")
        if target.is_dir():
            shutil.rmtree(target)  # it came with the adapter, or from another machine: nothing says what is in it
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

    def load(self) -> tuple[Any, Any]:
        """Loads the model into this process; see `Model.load`."""
        require("torch", "transformers", "peft", extra="train", what="Model.load()")
        self.verify()
        # The one way from here into the runtime: it needs torch, and is there only when somebody asks for the weights.
        loading = importlib.import_module("soaptune.runtime.engines.loading")
        return loading.load_model(self.weights, base=self.base if self.is_adapter else None)

    def export(self, path: str | os.PathLike[str], *, content: Literal["auto", "adapter", "merged"] = "auto") -> Path:
        """Writes the model as users of vLLM and PEFT expect it; see `Model.export`."""
        if content == "adapter" and not self.is_adapter:
            raise DataError(f"the model in {self._path} has no adapter; it is a whole model")
        source = self.merge() if content == "merged" else self
        source.verify()
        return export_model(source.weights, source.manifest, Path(path).expanduser())

    def _merged(self, target: Path) -> FolderModel | None:
        if not (target / MANIFEST).is_file():
            return None
        merged = open_model(target)
        return merged if merged.manifest.merged_from == self.fingerprint else None


_HINT = "A Trainer leaves one in its job's folder. A base model is named in a spec: TrainSpec(model=...)."


def open_model(path: str | os.PathLike[str]) -> FolderModel:
    """Opens the folder of a trained model; see `Model.open`."""
    folder = Path(path).expanduser().resolve()
    if not (folder / MANIFEST).is_file() and (folder / "output" / MANIFEST).is_file():
        folder = folder / "output"
    model = FolderModel(folder, open_manifest(FolderFiles(folder), ModelManifest, hint=_HINT))
    there = model.weights.iterdir() if model.weights.is_dir() else ()
    check_model_files((file.name for file in there), is_adapter=model.is_adapter, where=str(model.weights))
    for _ in files_inside(model.weights):
        """Each is looked at: none may be read through a link from outside."""
    return model
