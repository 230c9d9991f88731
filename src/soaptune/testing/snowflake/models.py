"""What the model registry holds: models, their versions with their files, aliases, tags and metrics."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.names import Name, unquoted
from soaptune.testing.snowflake.results import SqlError, exists, missing

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

SYSTEM_ALIASES = ("DEFAULT", "FIRST", "LAST")
"""The names that every model has for some of its versions."""


@dataclass
class Version:
    """A version of a model.

    Attributes:
        name: As the server stores it.
        folder: Its files: the manifest, and the packed model in ``model/``.
        manifest: What MANIFEST.yml says.
        spec: The text of ``model/model.yaml``.
    """

    name: str
    folder: Path
    manifest: dict[str, Any]
    spec: str
    comment: str = ""
    metadata: str = "{}"
    aliases: list[str] = field(default_factory=list[str])
    created: str = field(default_factory=literals.now)

    @property
    def packed(self) -> Path:
        """The folder that the SDK's packager loads."""
        return self.folder / "model"

    @property
    def methods(self) -> list[dict[str, Any]]:
        """The methods, as the manifest lists them."""
        return self.manifest["methods"]

    @property
    def platforms(self) -> list[str]:
        """Where it may run."""
        return self.manifest.get("target_platforms") or ["WAREHOUSE", "SNOWPARK_CONTAINER_SERVICES"]

    def target(self, function: str) -> str:
        """The Python method behind a SQL function, found as the SDK does (model_ops.py:886).

        Raises:
            SqlError: If the version has no such function.
        """
        methods: list[str] = list(yaml.safe_load(self.spec).get("signatures", {}))
        for method in methods:
            if function in {method, method.upper()}:
                return method
        raise SqlError(2141, f"SQL compilation error:\nUnknown function {function} in version {self.name}.", "42601")


@dataclass
class Model:
    """A model: its versions in the order they were made."""

    name: Name
    owner: str
    versions: dict[str, Version] = field(default_factory=dict[str, Version])
    default: str = ""
    comment: str = ""
    tags: dict[Name, str] = field(default_factory=dict[Name, str])
    created: str = field(default_factory=literals.now)

    def version(self, text: str) -> Version:
        """The version with a name or an alias, as SQL text has it.

        Raises:
            SqlError: If there is none.
        """
        wanted = unquoted(text)
        for version in self.versions.values():
            if version.name == wanted:
                return version
        for version in self.versions.values():
            if wanted in self.aliases(version):
                return version
        raise missing("Version", wanted)

    def aliases(self, version: Version) -> list[str]:
        """The aliases of a version, the system's own among them."""
        order = list(self.versions)
        places = {"DEFAULT": self.default, "FIRST": order[0], "LAST": order[-1]}
        return [*version.aliases, *(alias for alias, name in places.items() if name == version.name)]


class Models:
    """The models of an account; ``account.models[name]`` is one of them."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.lock = threading.RLock()
        self._models: dict[Name, Model] = {}

    def __getitem__(self, name: Name) -> Model:
        """A model.

        Raises:
            SqlError: If it does not exist.
        """
        with self.lock:
            if name not in self._models:
                raise missing("Model", name.dotted)
            return self._models[name]

    def __iter__(self) -> Iterator[Model]:
        with self.lock:
            return iter(list(self._models.values()))

    def folder(self, name: Name) -> Path:
        """Where the files of a model lie: those of ``snow://model/<name>``."""
        return self.account.stages.folder("model", name)

    def add(self, name: Name, version: str, source: Path, *, owner: str, new: bool) -> Version:
        """Adds a version from a folder of files, to a new model or to one that exists.

        Raises:
            SqlError: If the model or the version exists already, the model does not exist, or the folder holds no
                manifest.
        """
        with self.lock:
            if new and name in self._models:
                raise exists("Object", name.dotted)
            model = Model(name, owner) if new else self[name]
            if version in model.versions or version in SYSTEM_ALIASES:
                raise exists("Version", version)
            folder = self.folder(name) / "versions" / version
            try:
                manifest = yaml.safe_load((source / "MANIFEST.yml").read_text("utf-8"))
                spec = (source / "model" / "model.yaml").read_text("utf-8")
            except OSError as error:
                # The number that the SDK takes for a manifest that is not there yet (model_version.py:27).
                lost = Path(str(error.filename)).name
                raise SqlError(398507, f"Unable to read file {lost} from the stage.", "42000") from error
            shutil.copytree(source, folder, dirs_exist_ok=True)
            made = model.versions[version] = Version(version, folder, manifest, spec)
            model.default = model.default or version
            self._models[name] = model
            return made

    def drop(self, name: Name) -> None:
        """Removes a model with all its versions.

        Raises:
            SqlError: If it does not exist.
        """
        with self.lock:
            del self._models[self[name].name]
            shutil.rmtree(self.folder(name), ignore_errors=True)

    def drop_version(self, name: Name, version: Version) -> None:
        """Removes a version.

        Raises:
            SqlError: If it is the default version, which the server does not let go.
        """
        with self.lock:
            model = self[name]
            if model.default == version.name:
                text = f"Version '{version.name}' is the default version of the model and cannot be dropped."
                raise SqlError(1, f"SQL compilation error:\n{text}", "42601")
            del model.versions[version.name]
            shutil.rmtree(version.folder, ignore_errors=True)

    def rename(self, name: Name, new: Name) -> None:
        """Gives a model another name.

        Raises:
            SqlError: If it does not exist, or another has that name.
        """
        with self.lock:
            model = self[name]
            if new in self._models:
                raise exists("Object", new.dotted)
            old, target = self.folder(name), self.folder(new)
            target.parent.mkdir(parents=True, exist_ok=True)
            old.replace(target)
            for version in model.versions.values():
                version.folder = target / "versions" / version.name
            model.name = new
            self._models[new] = self._models.pop(name)

    def close(self) -> None:
        """Forgets them; their files go with the account's."""
        with self.lock:
            self._models.clear()
