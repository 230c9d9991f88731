"""Datasets: versions of rows, materialised as Parquet files under ``snow://dataset/...`` that clients list and read."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.literals import TEXT
from soaptune.testing.snowflake.names import NAME, Name
from soaptune.testing.snowflake.results import Result, SqlError, exists, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

_SQL = "snowflake/ml/dataset/dataset.py"


@dataclass
class Version:
    """A version of a dataset.

    Attributes:
        name: As the client wrote it; it has no case of its own.
        folder: Its files.
        metadata: JSON text of the client's own.
    """

    name: str
    folder: Path
    metadata: str
    comment: str | None
    created: str = field(default_factory=literals.now)


@dataclass
class Dataset:
    """A dataset with its versions, in the order they were made."""

    name: Name
    owner: str
    versions: dict[str, Version] = field(default_factory=dict[str, Version])
    created: str = field(default_factory=literals.now)


class Datasets:
    """The datasets of an account; ``account.datasets[name]`` is one of them."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.lock = threading.RLock()
        self.file_server = FileServer()
        self._datasets: dict[Name, Dataset] = {}
        account.fake.duck_conn.create_function(
            "GET_PRESIGNED_URL", self.presigned_url, None, "VARCHAR", null_handling="special", side_effects=True
        )

    def __getitem__(self, name: Name) -> Dataset:
        """A dataset.

        Raises:
            SqlError: If it does not exist.
        """
        with self.lock:
            if name not in self._datasets:
                text = f"SQL compilation error:\nDataset '{name.dotted}' does not exist or not authorized."
                raise SqlError(399019, text, "02000")
            return self._datasets[name]

    def __contains__(self, name: Name) -> bool:
        return name in self._datasets

    def all(self) -> list[Dataset]:
        """All datasets, in the order they were made."""
        with self.lock:
            return list(self._datasets.values())

    def folder(self, name: Name) -> Path:
        """Where the files lie: those of ``snow://dataset/<name>``."""
        return self.account.stages.folder("dataset", name)

    def add(self, name: Name, owner: str) -> None:
        """Makes a dataset.

        Raises:
            SqlError: If there is one of that name.
        """
        with self.lock:
            if name in self._datasets:
                raise exists("Object", name.dotted)
            self._datasets[name] = Dataset(name, owner)

    def add_version(self, name: Name, version: str, table: Any, *, metadata: str, comment: str | None) -> None:
        """Writes an Arrow table as a version.

        Raises:
            SqlError: If there is no such dataset, or it has such a version already.
        """
        from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

        with self.lock:
            dataset = self[name]
            if version in dataset.versions:
                text = f"Dataset version '{version}' of '{name.dotted}' already exists."
                raise SqlError(399020, text, "42710")
            folder = self.folder(name) / "versions" / version
            folder.mkdir(parents=True)
            cast("Any", parquet).write_table(table, folder / "data_0_0_0.snappy.parquet", compression="snappy")
            dataset.versions[version] = Version(version, folder, metadata, comment)

    def drop_version(self, name: Name, version: str) -> None:
        """Removes a version.

        Raises:
            SqlError: If there is none.
        """
        with self.lock:
            dataset = self[name]
            if version not in dataset.versions:
                text = f"Dataset version '{version}' of '{name.dotted}' does not exist."
                raise SqlError(399012, text, "02000")
            shutil.rmtree(dataset.versions.pop(version).folder, ignore_errors=True)

    def drop(self, name: Name) -> None:
        """Removes a dataset with its versions.

        Raises:
            SqlError: If it does not exist.
        """
        with self.lock:
            del self._datasets[self[name].name]
            shutil.rmtree(self.folder(name), ignore_errors=True)

    def presigned_url(self, location: str, path: str, *_seconds: Any) -> str:
        """An address at which a file of a stage can be fetched without logging in.

        Raises:
            ValueError: If the location is no fully qualified stage, or the path leaves it.
        """
        nowhere: Any = SimpleNamespace(database=None, schema=None, user="")
        try:
            place = self.account.stages.path(location, nowhere)
        except SqlError as error:
            raise ValueError(f"'{location}' is no fully qualified stage: {error}") from error
        file = (place / path).resolve()
        if not file.is_relative_to(place.resolve()):
            raise ValueError(f"'{path}' leaves the stage '{location}'")
        return self.file_server.address(file)

    def close(self) -> None:
        """Ends the file server; the files go with the account's."""
        self.file_server.close()
        with self.lock:
            self._datasets.clear()


class FileServer:
    """Gives single files over HTTP to whoever knows their address, in parts if asked, as cloud storage does."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        files = self._files

        class Handler(SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._give(body=True)

            def do_HEAD(self) -> None:
                self._give(body=False)

            def _give(self, *, body: bool) -> None:
                path = files.get(self.path.partition("?")[0])
                if path is None or not path.is_file():
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                size = path.stat().st_size
                wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
                first = int(wanted[1]) if wanted else 0
                last = min(int(wanted[2]), size - 1) if wanted and wanted[2] else size - 1
                with path.open("rb") as file:
                    file.seek(first)
                    content = file.read(max(0, last - first + 1))
                self.send_response(206 if wanted else 200)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(content)))
                if wanted:
                    self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: a request's line does not belong on the standard error of whoever runs the tests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="files")
        self._thread.start()

    def address(self, file: Path) -> str:
        """A new address for a file; one that does not exist is answered with 404."""
        path = f"/{secrets.token_urlsafe(16)}/{file.name}"
        self._files[path] = file
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@handles(rf"^CREATE\s+DATASET\s+(IF\s+NOT\s+EXISTS\s+)?({NAME})$", issued_by=f"{_SQL}:232")
def create(account: Account, call: Call) -> Result:
    """Makes a dataset."""
    name = call.name(2)
    with account.datasets.lock:
        if call[1] and name in account.datasets:
            return status(f"{name.name} already exists, statement succeeded.")
        account.datasets.add(name, call.session.role)
    return status(f"Dataset {name.name} successfully created.")


@handles(
    rf"^ALTER\s+DATASET\s+({NAME})\s+ADD\s+VERSION\s+({TEXT})\s+FROM\s+\((?P<query>.*)\)"
    rf"(?P<partition>\s+PARTITION\s+BY\s+.*?)?(?:\s+COMMENT\s*=\s*(?P<comment>{TEXT}))?"
    rf"\s+METADATA\s*=\s*(?P<metadata>\$\$.*?\$\$)$",
    issued_by=f"{_SQL}:358",
)
def add_version(account: Account, call: Call) -> Result:
    """Runs a query and keeps its rows as a version's files."""
    import pyarrow  # pyright: ignore[reportMissingTypeStubs]

    if call["partition"]:
        raise literals.unsupported("ALTER DATASET ADD VERSION with PARTITION BY", call.sql)
    name, version = call.name(), literals.text(str(call[2]))
    if version in account.datasets[name].versions:
        raise SqlError(399020, f"Dataset version '{version}' of '{name.dotted}' already exists.", "42710")
    query = str(call["query"])
    for rewrite in account.server.rewrites:
        query = rewrite(account, call.session, query)
    columns, found = call.session.run(query)
    table = cast("Any", pyarrow).table({column: [row[place] for row in found] for place, column in enumerate(columns)})
    comment = literals.text(str(call["comment"])) if call["comment"] else None
    metadata = literals.text(str(call["metadata"]))
    account.datasets.add_version(name, version, table, metadata=metadata, comment=comment)
    return status("Dataset successfully altered.")


@handles(rf"^ALTER\s+DATASET\s+({NAME})\s+DROP\s+VERSION\s+({TEXT})$", issued_by=f"{_SQL}:408")
def drop_version(account: Account, call: Call) -> Result:
    """Removes a version."""
    account.datasets.drop_version(call.name(), literals.text(str(call[2])))
    return status("Dataset successfully altered.")


@handles(r"^ALTER\s+DATASET\b", issued_by="users")
def alter(_: Account, call: Call) -> Result:
    """Any other form of ALTER DATASET is refused."""
    raise literals.unsupported("ALTER DATASET", call.sql)


@handles(rf"^DROP\s+DATASET\s+(IF\s+EXISTS\s+)?({NAME})$", issued_by=f"{_SQL}:423")
def drop(account: Account, call: Call) -> Result:
    """Removes a dataset."""
    name = call.name(2)
    if not call[1] or name in account.datasets:
        account.datasets.drop(name)
    return status(f"{name.name} successfully dropped.")


@handles(
    rf"^SHOW\s+DATASETS(?:\s+LIKE\s+({TEXT}))?(?:\s+IN\s+SCHEMA\s+({NAME}))?(?:\s+STARTS\s+WITH\s+({TEXT}))?$",
    issued_by=f"{_SQL}:487",
)
def show(account: Account, call: Call) -> Result:
    """The datasets of a schema."""
    pattern = literals.pattern(call[1])
    start = literals.text(call[3] or "''")
    here = call.resolve(f"{call[2]}.X" if call[2] else "X")[:2]
    found = [
        {
            "created_on": dataset.created,
            "name": dataset.name.name,
            "database_name": dataset.name.database,
            "schema_name": dataset.name.schema,
            "owner": dataset.owner,
            "versions": list(dataset.versions),
        }
        for dataset in account.datasets.all()
        if dataset.name[:2] == here
        and literals.like(pattern, dataset.name.name)
        and dataset.name.name.startswith(start)
    ]
    return literals.listing(["created_on", "name", "database_name", "schema_name", "owner", "versions"], found)


@handles(rf"^SHOW\s+VERSIONS(?:\s+LIKE\s+({TEXT}))?\s+IN\s+DATASET\s+({NAME})$", issued_by=f"{_SQL}:435")
def show_versions(account: Account, call: Call) -> Result:
    """The versions of a dataset."""
    pattern = literals.pattern(call[1])
    name = call.name(2)
    if name not in account.datasets:
        # Another number than everywhere else: dataset.py:441.
        text = f"SQL compilation error:\nObject '{name.dotted}' does not exist or not authorized."
        raise SqlError(2043, text, "02000")
    found = [
        {
            "created_on": version.created,
            "dataset_name": name.name,
            "version": version.name,
            "comment": version.comment,
            "metadata": version.metadata,
        }
        for version in list(account.datasets[name].versions.values())
        if literals.like(pattern, version.name)
    ]
    return literals.listing(["created_on", "dataset_name", "version", "comment", "metadata"], found)
