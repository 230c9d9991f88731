"""`StageModel`: a trained model whose weights lie on a stage, where the job has left them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from soaptune.common.files import MANIFEST, atomic_dir, write_json
from soaptune.errors import ConfigError, DataError
from soaptune.handles.location import Location
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import MODEL_SUFFIXES, ModelManifest, fingerprint_folder
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.names import Name, split
from soaptune.snowflake.session import Connection

__all__ = ["StageModel", "folder_at", "open_model", "receive_model"]

_MODELS = "models"
"""The folder of the stage for models that were brought from elsewhere."""

_LOCATION = re.compile(r'@("(?:[^"]|"")+"(?:\."(?:[^"]|"")+"){2})/(.+)', re.DOTALL)


class StageModel(Model):
    """A model on a stage: what it is is known here, its weights stay in the account.

    Evaluation and deployment use it where it lies. `download` brings the weights to this machine, and says so by its
    name; ``copy_to(LocalBackend(...))`` does the same for the jobs of that backend.
    """

    def __init__(self, folder: StageFolder, manifest: ModelManifest) -> None:
        """Makes a handle from parts; use ``backend.model(location)`` or a job's result instead.

        Args:
            folder: The folder with the manifest.
            manifest: What it says.
        """
        super().__init__(Path(manifest.weights), manifest)
        self._folder = folder

    @property
    def location(self) -> Location:
        """The folder on the stage, as the jobs of a Snowflake backend find it."""
        return Location("snowflake", self._folder.location)

    @property
    def path(self) -> Path:
        """There is no folder of this machine.

        Raises:
            DataError: Always.
        """
        self._not_here()

    @property
    def weights(self) -> Path:
        """There are no weights on this machine.

        Raises:
            DataError: Always.
        """
        self._not_here()

    @property
    def adapter(self) -> Path | None:
        """None for a whole model; of an adapter there is no folder here.

        Raises:
            DataError: The model is an adapter.
        """
        if self.manifest.method == "lora":
            self._not_here()
        return None

    def merge(self) -> Model:
        """Nothing is merged on a stage: a `Deployer` merges in its job, in the account.

        Returns:
            This model, when it is a whole one.

        Raises:
            DataError: The model is an adapter.
        """
        if self.manifest.method == "lora":
            self._not_here("A Deployer merges it in the account.")
        return self

    def load(self) -> tuple[Any, Any]:
        """The weights are not here.

        Raises:
            DataError: Always.
        """
        self._not_here()

    def export(
        self,
        path: str | os.PathLike[str],  # noqa: ARG002
        *,
        content: Literal["auto", "adapter", "merged"] = "auto",  # noqa: ARG002
    ) -> Path:
        """The weights are not here.

        Raises:
            DataError: Always.
        """
        self._not_here()

    def download(self, path: str | os.PathLike[str]) -> Model:
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
            place = folder / self.manifest.weights
            self._folder.folder(self.manifest.weights).get(place)
            for file in sorted(place.rglob("*")):
                if file.is_file() and (file.suffix not in MODEL_SUFFIXES or file.parent != place):
                    file.unlink()  # a checkpoint's state and the like: no part of the model, and maybe a pickle
            found = fingerprint_folder(place)
            if found != self.fingerprint:
                raise DataError(
                    f"the files at {self.location} are not those of the model {self.fingerprint[:19]} (they are "
                    f"{found[:19]}): something has changed them since"
                )
            write_json(folder / MANIFEST, self.manifest.model_dump(mode="json"))
        return Model.open(target)

    def _not_here(self, more: str = "") -> NoReturn:
        raise DataError(
            f"the weights of this model lie in Snowflake ({self.location}), not on this machine. {more}".rstrip()
            + " model.download(folder) brings them here, model.copy_to(LocalBackend(...)) for that backend's jobs."
        )


def folder_at(connection: Connection, location: str) -> StageFolder:
    """The folder of a stage that a location names.

    Args:
        connection: The way to the account.
        location: ``@"DB"."SCHEMA"."STAGE"/folder``.

    Raises:
        DataError: It is no such location.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise DataError(f'{location!r} is not a folder on a stage, written as @"DB"."SCHEMA"."STAGE"/folder')
    return StageFolder(connection, Name(*split(match[1])), match[2])


def open_model(folder: StageFolder) -> StageModel:
    """Opens a model on a stage; no weights are read.

    Args:
        folder: A job's ``output``, or where ``backend.receive`` has put it.

    Raises:
        BackendError: The stage cannot be read.
        DataError: There is no model.
    """
    manifest = _manifest_at(folder)
    if manifest is None:
        raise DataError(f"there is no model at {folder.location}: it has no {MANIFEST}")
    wanted = "adapter_config.json" if manifest.method == "lora" else "config.json"
    names = [file.path for file in folder.folder(manifest.weights).list()]
    if wanted not in names or not any(name.endswith(".safetensors") for name in names):
        raise DataError(f"{folder.location} is not a whole model: it needs {wanted} and .safetensors files")
    return StageModel(folder, manifest)


def receive_model(root: StageFolder, model: Model) -> StageModel:
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
    manifest = model.manifest.replace(weights="model")
    root.make_stage()
    with tempfile.TemporaryDirectory(prefix="soaptune-") as place:
        # A folder of links, so that nothing is uploaded but the model's own files.
        links = Path(place) / "model"
        links.mkdir()
        for file in sorted(model.weights.iterdir()):
            if file.is_file() and file.suffix in MODEL_SUFFIXES and file.name not in ("README.md", MANIFEST):
                (links / file.name).symlink_to(file.resolve())
        if fingerprint_folder(links) != model.fingerprint:
            raise DataError(f"the weights in {model.weights} are not those that the manifest speaks of")
        folder.folder("model").put(links)
    # The last of all: a folder without it is no model yet.
    folder.write(MANIFEST, json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n")
    return StageModel(folder, manifest)


def _manifest_at(folder: StageFolder) -> ModelManifest | None:
    text = folder.read_text(MANIFEST)
    if text is None:
        return None
    where = f"{folder.location}/{MANIFEST}"
    try:
        raw: Any = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not JSON") from error
    if not isinstance(raw, dict) or cast("dict[str, Any]", raw).get("kind") != "model":
        raise DataError(f"{where} does not describe a model")
    try:
        return ModelManifest.model_validate(raw)
    except ConfigError as error:
        raise DataError(f"{where}: {error}") from error
