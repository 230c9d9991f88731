"""`StageModel`: a trained model whose weights lie on a stage, where the job has left them."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from soaptune.common.files import MANIFEST, atomic_dir, cache_folder, write_json
from soaptune.common.inside import inside
from soaptune.errors import DataError
from soaptune.handles.folder_model import FolderModel
from soaptune.handles.folder_model import open_model as open_model_folder
from soaptune.handles.location import StagePath
from soaptune.handles.manifests import open_manifest
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.weights import check_model_files, model_files, verify_weights
from soaptune.snowflake.jobs.stagefiles import StageFolder, read_location
from soaptune.snowflake.names import Name
from soaptune.snowflake.session import Connection

__all__ = ["StageModel", "folder_at", "open_model", "receive_model"]

_MODELS = "models"
"""The folder of the stage for models that were brought from elsewhere."""


class StageModel(Model):
    """A model on a stage: what it is is known here, its weights stay in the account.

    Evaluation and deployment use it where it lies. What needs the weights here (`load`, `merge`, `export`) brings them
    into the user's cache first, once for each fingerprint; `download` brings them to a folder of the user's choice.
    """

    def __init__(self, folder: StageFolder, manifest: ModelManifest) -> None:
        """Makes a handle from parts; use ``backend.model(location)`` or a job's result instead.

        Args:
            folder: The folder with the manifest.
            manifest: What it says.
        """
        super().__init__(manifest)
        self._folder = folder

    @property
    def location(self) -> StagePath:
        """The folder on the stage, as the jobs of a Snowflake backend find it."""
        return self._folder.place

    def merge(self) -> Model:
        """Merges the adapter into the base model, on this machine; see `Model.merge`.

        A `Deployer` needs none of that: it merges in its job, in the account.
        """
        return self._here().merge() if self.is_adapter else self

    def load(self) -> tuple[Any, Any]:
        """Brings the weights here and loads them into this process; see `Model.load`."""
        return self._here().load()

    def export(self, path: str | os.PathLike[str], *, content: Literal["auto", "adapter", "merged"] = "auto") -> Path:
        """Brings the weights here and writes them as users of vLLM and PEFT expect them; see `Model.export`."""
        return self._here().export(path, content=content)

    def verify(self) -> None:
        """Brings the files here, if they are not in the cache, and checks them; see `Model.verify`.

        An evaluation or a deployment in the account needs none of that: its job verifies what lies on the stage.
        """
        self._here().verify()

    def _here(self) -> FolderModel:
        """The model in the cache of this machine."""
        folder = cache_folder() / "models" / self.fingerprint.removeprefix("sha256:")[:16]
        if not (folder / MANIFEST).is_file():
            return self.download(folder)
        cached = open_model_folder(folder)
        if cached.fingerprint != self.fingerprint:
            raise DataError(f"{folder} holds another model than its name says: remove that folder")
        return cached

    def download(self, path: str | os.PathLike[str]) -> FolderModel:
        """Brings the model with its manifest into a folder of this machine.

        Args:
            path: A new folder.

        Returns:
            The model there, with the same fingerprint.

        Raises:
            BackendError: The stage cannot be read.
            DataError: There is something at that path already, or the files are not those of the manifest.
        """
        target = Path(path).expanduser()
        with atomic_dir(target) as folder:
            place = inside(folder, self.manifest.weights)
            self._folder.folder(self.manifest.weights).get(place)
            wanted = {file for file in model_files(place) if file.parent == place}
            for file in sorted(place.rglob("*")):
                if file.is_file() and file not in wanted:
                    file.unlink()  # a checkpoint's state and the like: no part of the model, and maybe a pickle
            try:
                verify_weights(place, self.fingerprint, self.manifest.files)
            except DataError as error:
                raise DataError(f"what lies at {self.location} is not what was written there: {error}") from error
            write_json(folder / MANIFEST, self.manifest.model_dump(mode="json"))
        return open_model_folder(target)


def folder_at(connection: Connection, location: StagePath | str) -> StageFolder:
    """The folder of a stage that a location names.

    Args:
        connection: The way to the account.
        location: The location, or as text ``@"DB"."SCHEMA"."STAGE"/folder``.

    Raises:
        DataError: It is no such location.
    """
    at = read_location(location) if isinstance(location, str) else location
    return StageFolder(connection, Name(*at.stage), at.path)


def open_model(folder: StageFolder) -> StageModel:
    """Opens a model on a stage; no weights are read.

    Args:
        folder: A job's ``output``, or where ``backend.receive`` has put it.

    Raises:
        BackendError: The stage cannot be read.
        DataError: There is no model.
    """
    manifest = open_manifest(folder, ModelManifest)
    names = [file.path for file in folder.folder(manifest.weights).list()]
    check_model_files(names, is_adapter=manifest.method == "lora", where=folder.location)
    return StageModel(folder, manifest)


def receive_model(root: StageFolder, model: FolderModel) -> StageModel:
    """Uploads a model of this machine; the same one is uploaded once.

    Args:
        root: The backend's folder on the stage.
        model: The model.

    Returns:
        A handle to the copy, with the same fingerprint.

    Raises:
        BackendError: The stage cannot be written.
        DataError: The weights are not those of the manifest.
    """
    folder = root.folder(_MODELS, model.fingerprint.removeprefix("sha256:")[:16])
    known = _manifest_at(folder)
    if known is not None and known.fingerprint == model.fingerprint:
        return StageModel(folder, known)
    model.verify()
    manifest = model.manifest.replace(weights="model")
    root.make_stage()
    with tempfile.TemporaryDirectory(prefix="soaptune-") as place:
        # A folder of links, so that nothing is uploaded but the model's own files.
        links = Path(place) / "model"
        links.mkdir()
        for file in (file for file in model_files(model.weights) if file.parent == model.weights):
            (links / file.name).symlink_to(file.resolve())
        folder.folder("model").put(links)
    # The last of all: a folder without it is no model yet.
    folder.write(MANIFEST, json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n")
    return StageModel(folder, manifest)


def _manifest_at(folder: StageFolder) -> ModelManifest | None:
    return open_manifest(folder, ModelManifest) if folder.read_bytes(MANIFEST) is not None else None
