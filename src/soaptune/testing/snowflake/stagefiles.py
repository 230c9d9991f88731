"""Files of stages: PUT and GET, which the real connector carries out, LIST, REMOVE and COPY FILES."""

from __future__ import annotations

import hashlib
import re
import shutil
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.results import Result, payload, rows
from soaptune.testing.snowflake.stages import LOCATION, Location, option
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

_FILE = r"(?:'(?:[^'\\]|\\.|'')*'|file://\S+)"


def _flag(text: str | None, name: str, default: bool) -> bool:
    value = option(text, name)
    return default if value is None else value.lower() == "true"


def _located(account: Account, call: Call, group: int | str) -> Location:
    text = str(call[group])
    return account.stages.locate(str(call.binds[0]) if text == "?" else text, call.session)


def _local(text: str) -> str:
    path = literals.text(text) if text.startswith("'") else text
    return path.removeprefix("file://")


@handles(
    rf"^PUT\s+(?:/\*.*?\*/\s*)?({_FILE})\s+({LOCATION})(.*)$",
    issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1400, snowflake/connector/cursor.py:1991",
)
def put(account: Account, call: Call) -> Result:
    """PUT: tells the connector where the stage's folder is."""
    place = _located(account, call, 2)
    folder = place.folder / place.inside
    if account.faults.put_fails():
        folder = Path("/dev/null/the-upload-shall-fail")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if _flag(call[3], "OVERWRITE", False):
            _let_go(folder, Path(_local(str(call[1]))))
    return payload(
        {
            **_transfer(folder),
            "command": "UPLOAD",
            "src_locations": [_local(str(call[1]))],
            "autoCompress": _flag(call[3], "AUTO_COMPRESS", True),
            "sourceCompression": (option(call[3], "SOURCE_COMPRESSION") or "auto_detect").lower(),
            "overwrite": _flag(call[3], "OVERWRITE", False),
            "encryptionMaterial": None,
        }
    )


def _let_go(folder: Path, source: Path) -> None:
    """Removes the files that are about to be replaced, so that who reads one has the old one to its end.

    The connector would write into it, which no stage does.
    """
    for path in (source, *source.parent.glob(source.name)):
        for name in (path.name, f"{path.name}.gz"):
            (folder / name).unlink(missing_ok=True)


@handles(
    rf"^GET\s+({LOCATION})\s+({_FILE})(.*)$",
    issued_by="snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1402",
)
def get(account: Account, call: Call) -> Result:
    """GET: tells the connector which files to copy from the stage's folder."""
    place = _located(account, call, 1)
    return payload(
        {
            **_transfer(place.folder),
            "command": "DOWNLOAD",
            "src_locations": place.files(option(call[3], "PATTERN")),
            "localLocation": _local(str(call[2])),
            "autoCompress": False,
            "overwrite": False,
            "encryptionMaterial": [],
        }
    )


def _transfer(folder: Path) -> dict[str, Any]:
    return {
        "parallel": 4,
        "stageInfo": {
            "locationType": "LOCAL_FS",
            "location": str(folder),
            "creds": {},
            "path": "",
            "region": "",
            "endPoint": None,
        },
        "operation": "Node",
        "clientShowEncryptionParameter": False,
    }


@handles(
    rf"^(?:LIST|LS)\s+({LOCATION})(.*)$",
    issued_by="snowflake/ml/model/_client/sql/stage.py:28, "
    "snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1404",
)
def list_files(account: Account, call: Call) -> Result:
    """LIST."""
    place = _located(account, call, 1)
    found: list[list[Any]] = []
    for name in place.files(option(call[2], "PATTERN")):
        path = place.folder / name
        about = path.stat()
        found.append([place.shown + name, about.st_size, _md5(path), formatdate(about.st_mtime, usegmt=True)])
    return rows(["name", "size", "md5", "last_modified"], found, {"size": "fixed"})


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@handles(
    rf"^(?:REMOVE|RM)\s+({LOCATION})(.*)$",
    issued_by="snowflake/ml/jobs/manager.py:195, snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1406",
)
def remove(account: Account, call: Call) -> Result:
    """REMOVE."""
    place = _located(account, call, 1)
    found = place.files(option(call[2], "PATTERN"))
    for name in found:
        (place.folder / name).unlink(missing_ok=True)
    return rows(["name", "result"], [[place.shown + name, "removed"] for name in found])


@handles(
    rf"^COPY\s+FILES\s+INTO\s+({LOCATION})\s+FROM\s+({LOCATION})(.*)$",
    issued_by="snowflake/ml/jobs/_utils/payload_utils.py:108, "
    "snowflake/snowpark/_internal/analyzer/analyzer_utils.py:1417",
)
def copy_files(account: Account, call: Call) -> Result:
    """COPY FILES from one stage to another."""
    target, source = _located(account, call, 1), _located(account, call, 2)
    found = source.files(option(call[3], "PATTERN"))
    if chosen := re.search(r"\bFILES\s*=\s*\(([^)]*)\)", str(call[3]), re.IGNORECASE):
        wanted = {source.inside.rstrip("/") + "/" + name for name in literals.texts(chosen[1])}
        found = [name for name in found if name in {path.lstrip("/") for path in wanted}]
    copied: list[str] = []
    for name in found:
        whole = name == source.inside
        inside = PurePosixPath(name).name if whole else name[len(source.inside) :].lstrip("/")
        relative = str(PurePosixPath(target.inside) / inside)
        path = target.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.folder / name, path)
        copied.append(relative)
    if not _flag(call[3], "DETAILED_OUTPUT", True):
        return rows(["numOfFilesCopied"], [[len(copied)]], {"numOfFilesCopied": "fixed"})
    return rows(["file"], [[name] for name in copied])
