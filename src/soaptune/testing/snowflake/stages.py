"""Stages: folders of an account, whose files the real connector puts there and gets from there.

PUT and GET are answered with a storage of type ``LOCAL_FS``: the connector then copies the files itself, with its own
compression, globbing and threads. A path on a stage is a prefix of names, as on the server: ``@s/job1`` is also the
beginning of ``@s/job10/file``.
"""

from __future__ import annotations

import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from soaptune.testing.snowflake import literals, names
from soaptune.testing.snowflake.names import NAME, Name
from soaptune.testing.snowflake.results import Result, SqlError, exists, missing, rows, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

LOCATION = r"""(?:'(?:[^'\\]|\\.|'')*'|(?:@|snow://)(?:"(?:[^"]|"")*"|[^\s'"(),;])+|\?)"""
"""The pattern of a path on a stage, in quotes, bare or bound; it has no capturing group."""

_STAGE = re.compile(rf"@({NAME}|~|(?:{NAME}\s*\.\s*)?%{names.PART})(?:/(.*))?", re.DOTALL)
_SNOW = re.compile(rf"snow://(\w+)/({NAME})(?:/(.*))?", re.DOTALL)
_SHOWN = (
    "created_on name database_name schema_name url has_credentials has_encryption_key owner comment region type cloud "
    "notification_channel storage_integration endpoint owner_role_type directory_enabled"
).split()
_PROPERTIES = ["parent_property", "property", "property_type", "property_value", "property_default"]


class Location(NamedTuple):
    """A place on a stage.

    Attributes:
        folder: The stage's folder.
        inside: The rest of the path, a prefix of the names of files.
        shown: What LIST prints before the names.
    """

    folder: Path
    inside: str
    shown: str

    def files(self, pattern: str | None = None) -> list[str]:
        """The names of the files that begin with the path, relative to the stage, in order."""
        found = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        expression = re.compile(pattern) if pattern else None
        return [
            name
            for name in found
            if name.startswith(self.inside) and (expression is None or expression.fullmatch(name))
        ]


@dataclass
class Stage:
    """A named stage."""

    name: Name
    owner: str
    session: str | None = None
    comment: str = ""
    created: str = field(default_factory=literals.now)
    mountable: bool = False

    @property
    def type(self) -> str:
        """What SHOW STAGES calls it: a stage is encrypted by the server, without CSE, or by the client."""
        if self.session:
            return "INTERNAL TEMPORARY"
        return "INTERNAL NO CSE" if self.mountable else "INTERNAL"


class Stages:
    """The stages of an account, and every other folder that a path of SQL may name."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._stages: dict[Name, Stage] = {}
        self._lock = threading.RLock()

    def folder(self, kind: str, name: Name) -> Path:
        """The folder of an object's files: of a stage, or of what ``snow://kind/name`` names."""
        return self.account.root / kind.lower() / ".".join(quote(part, safe="").replace(".", "%2E") for part in name)

    def path(self, text: str, session: Session) -> Path:
        """The file or folder that a path on a stage names, in quotes or not.

        Raises:
            SqlError: If it is no such path, or its stage does not exist.
        """
        found = self.locate(text, session)
        return found.folder / found.inside

    def locate(self, text: str, session: Session) -> Location:
        """The place that a path on a stage names, in quotes or not.

        Raises:
            SqlError: If it is no such path, or its stage does not exist.
        """
        path = literals.text(text) if text.startswith("'") else text
        if ".." in PurePosixPath(path).parts:
            raise SqlError(1003, f"SQL compilation error:\n'{path}' leaves its stage.", "42000")
        if match := _SNOW.fullmatch(path):
            name = names.qualified(match[2], session.database, session.schema)
            # Clients cut different beginnings off: model_ops.py:1612 and experiment_tracking_sql_client.py:248.
            shown = "/" if match[1].lower() == "experiment" else ""
            return Location(self.folder(match[1], name), _inside(match[3]), shown)
        match = _STAGE.fullmatch(path)
        if not match:
            raise SqlError(1003, f"SQL compilation error:\n'{path}' is not a path on a stage.", "42000")
        if match[1] == "~":
            return Location(self.account.root / "user" / quote(session.user, safe=""), _inside(match[2]), "")
        if "%" in match[1].rpartition(".")[2] and not match[1].endswith('"'):
            table = names.qualified(match[1].replace("%", ""), session.database, session.schema)
            return Location(self.folder("table", table), _inside(match[2]), "")
        name = names.qualified(match[1], session.database, session.schema)
        if name not in self._stages:
            raise missing("Stage", name.dotted)
        return Location(self.folder("stage", name), _inside(match[2]), name.name.lower() + "/")

    def create(self, name: Name, *, owner: str, session: str | None = None, comment: str = "") -> Stage:
        """Makes a stage; with the id of a session it is a temporary one of that session.

        Raises:
            SqlError: If it exists.
        """
        with self._lock:
            if name in self._stages:
                raise exists("Object", name.dotted)
            self.folder("stage", name).mkdir(parents=True, exist_ok=True)
            made = self._stages[name] = Stage(name, owner, session, comment)
            return made

    def drop(self, name: Name) -> bool:
        """Removes a stage with its files; whether there was one."""
        with self._lock:
            found = self._stages.pop(name, None)
            shutil.rmtree(self.folder("stage", name), ignore_errors=True)
            return found is not None

    def __contains__(self, name: Name) -> bool:
        return name in self._stages

    def all(self) -> list[Stage]:
        """The stages, by name."""
        with self._lock:
            return sorted(self._stages.values(), key=lambda stage: stage.name)

    def logged_out(self, session: Session) -> None:
        """Drops the temporary stages of a session."""
        for stage in self.all():
            if stage.session == session.id:
                self.drop(stage.name)

    def close(self) -> None:
        """Nothing runs here."""


def _inside(rest: str | None) -> str:
    return re.sub("/+", "/", rest or "").lstrip("/")


def option(text: str | None, name: str) -> str | None:
    """What ``NAME = value`` of a statement says, or None.

    Raises:
        SqlError: If the value is a text that is not closed.
    """
    found = re.search(rf"\b{name}\s*=\s*('(?:[^'\\]|\\.|'')*'|\w+)", text or "", re.IGNORECASE)
    return None if not found else literals.text(found[1]) if found[1].startswith("'") else found[1]


@handles(
    rf"^CREATE\s+(OR\s+REPLACE\s+)?(?:SCOPED\s+)?(TEMP(?:ORARY)?\s+)?STAGE\s+(?:/\*.*?\*/\s*)?(IF\s+NOT\s+EXISTS\s+)?({NAME})(.*)$",
    issued_by="snowflake/ml/jobs/_utils/payload_utils.py:484, snowflake/connector/pandas_tools.py:119, users",
)
def create_stage(account: Account, call: Call) -> Result:
    """CREATE STAGE, temporary or not."""
    name, stages = call.name(4), account.stages
    if name in stages:
        if call[3]:
            return status(f"{name.dotted} already exists, statement succeeded.")
        if not call[1]:
            raise exists("Object", name.dotted)
        stages.drop(name)
    session = call.session.id if call[2] else None
    made = stages.create(name, owner=call.session.role, session=session, comment=option(call[5], "COMMENT") or "")
    made.mountable = "SNOWFLAKE_SSE" in str(call[5]).upper()
    return status(f"Stage area {name.name} successfully created.")


@handles(rf"^DROP\s+STAGE\s+(IF\s+EXISTS\s+)?({NAME})", issued_by="snowflake/connector/pandas_tools.py:497, users")
def drop_stage(account: Account, call: Call) -> Result:
    """DROP STAGE."""
    name = call.name(2)
    if not account.stages.drop(name) and not call[1]:
        raise missing("Stage", name.dotted)
    return status(f"{name.name} successfully dropped.")


@handles(rf"^DESC(?:RIBE)?\s+STAGE\s+({NAME})", issued_by="snowflake/ml/jobs/_utils/payload_utils.py:480")
def describe_stage(account: Account, call: Call) -> Result:
    """DESCRIBE STAGE."""
    name = call.name()
    if name not in account.stages:
        raise missing("Stage", name.dotted)
    return rows(_PROPERTIES, [["STAGE_FILE_FORMAT", "TYPE", "String", "CSV", "CSV"]])


@handles(
    rf"^SHOW\s+STAGES(?:\s+LIKE\s+({literals.TEXT}|\?))?(?:\s+IN\s+(ACCOUNT|(?:DATABASE|SCHEMA)?\s*{NAME}))?\s*$",
    issued_by="users",
)
def show_stages(account: Account, call: Call) -> Result:
    """SHOW STAGES."""
    within = scope(call[2], call.session)
    asked = call[1] or "'%'"
    pattern = str(call.binds[0]) if asked == "?" else literals.text(asked)
    return literals.listing(
        _SHOWN,
        [
            {
                "created_on": stage.created,
                "name": stage.name.name,
                "database_name": stage.name.database,
                "schema_name": stage.name.schema,
                "url": "",
                "has_credentials": "N",
                "has_encryption_key": "N",
                "owner": stage.owner,
                "comment": stage.comment,
                "type": stage.type,
                "owner_role_type": "ROLE",
                "directory_enabled": "N",
            }
            for stage in account.stages.all()
            if stage.name[: len(within)] == within and literals.like(pattern, stage.name.name)
        ],
    )


def scope(text: str | None, session: Session) -> tuple[str, ...]:
    """What follows IN in a SHOW: the database, or database and schema, that the found objects lie in."""
    if text is None:
        return tuple(part for part in (session.database, session.schema) if part)
    if text.upper() == "ACCOUNT":
        return ()
    kind = re.match(r"(DATABASE|SCHEMA)\s+", text, re.IGNORECASE)
    found = names.parts(text[kind.end() :] if kind else text)
    if kind and kind[1].upper() == "DATABASE":
        return found[:1]
    return found if len(found) == 2 else (session.database or "", *found)
