"""Running one statement: the log, the handlers, the rewrites, and fakesnow for all that is about tables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import fakesnow.server as fakesnow_server
from fakesnow.transforms.stage import LOCAL_BUCKET_PATH
from starlette.requests import Request

from soaptune.testing.snowflake.arrow import with_null_timestamps
from soaptune.testing.snowflake.results import Result, SqlError, exists, missing, status
from soaptune.testing.snowflake.semistructured import restore_types
from soaptune.testing.snowflake.sessions import Session, quiet
from soaptune.testing.snowflake.statements import Call, Handler, Rewrite, Statement, plain
from soaptune.testing.snowflake.tables import insert_batch

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

# Fakesnow's codes for a statement that it cannot parse, or does not implement.
_NOT_UNDERSTOOD = {"001003", "009999"}
_EMPTY = cast("re.Match[str]", re.match("", ""))
_READS = re.compile(r"(?:SELECT|WITH|SHOW|DESC|DESCRIBE|LIST|LS)\b|\(", re.IGNORECASE)
_log = logging.getLogger(__name__)

# Fakesnow makes a folder for files of stages when it is imported; ours lie elsewhere.
with contextlib.suppress(OSError):
    Path(LOCAL_BUCKET_PATH).rmdir()

# Its errors are told to the client.
logging.getLogger("fakesnow.server").setLevel(logging.CRITICAL)


class Execution:
    """Runs the statements of one account."""

    def __init__(self, account: Account, handlers: Sequence[Handler], rewrites: Sequence[Rewrite]) -> None:
        self._account, self._handlers, self._rewrites = account, handlers, rewrites

    async def run(self, session: Session, body: dict[str, Any], query_id: str) -> dict[str, Any]:
        """Runs a statement.

        Args:
            session: Who sent it.
            body: The request, as the connector sends it.
            query_id: The id of the query.

        Returns:
            The answer as it goes over the wire, an error too. It never raises: the connector would take that for a
            server that is busy, and try again and again.
        """
        sql = str(body["sqlText"])
        bindings: dict[str, dict[str, Any]] = body.get("bindings") or {}
        ordered = [bindings[key] for key in sorted(bindings, key=int)]
        values = [binding["value"] for binding in ordered]
        self._account.statements.append(Statement(sql, tuple(values), session.id, time.time()))
        try:
            text, kept = plain(sql, values)
            call = Call(_EMPTY, text, [values[place] for place in kept], session, query_id)
            wanted = [ordered[place] for place in kept]
            describe = bool(body.get("describeOnly"))
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._account.workers, self._handle, call, wanted, describe)
            if result:
                return {"success": True, "code": None, "message": None, "data": result.data(session)}
            remaining = {str(number + 1): binding for number, binding in enumerate(wanted)}
            return await self._fakesnow(session, {**body, "sqlText": call.sql, "bindings": remaining or None}, sql)
        except SqlError as error:
            return error.body
        except Exception as error:
            _log.debug("a statement failed in the emulator: %s", sql, exc_info=True)
            return _unknown(sql, f"{type(error).__name__}: {error}").body

    def _handle(self, call: Call, bindings: list[dict[str, Any]], describe: bool) -> Result | None:
        """The answer of the first handler that has one; otherwise ``call.sql`` is what fakesnow shall run."""
        for handler in self._handlers:
            if match := handler.pattern.search(call.sql):
                if describe and not _READS.match(call.sql):
                    return status("")
                call.match = match
                if result := handler.function(self._account, call):
                    return self._kept(result, call)
        for rewrite in self._rewrites:
            call.sql = rewrite(self._account, call.session, call.sql)
        if not any(isinstance(value, list) for value in call.binds):
            return None
        inserted = insert_batch(call.session, call.sql, bindings)
        return self._kept(inserted, call) if inserted else None

    def _kept(self, result: Result, call: Call) -> Result:
        """Lets RESULT_SCAN find an answer of rows, also inside other statements."""
        result.query_id = call.query_id
        if result.payload is None:
            self._account.tables.keep(result)
        return result

    async def _fakesnow(self, session: Session, body: dict[str, Any], sql: str) -> dict[str, Any]:
        content = json.dumps(body).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        headers = [(b"authorization", f'Snowflake Token="{session.inner_token}"'.encode())]
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._account.workers, session.lock.acquire)
        try:
            quiet()
            response = await fakesnow_server.query_request(Request(scope, receive))
        finally:
            session.lock.release()
        answer: dict[str, Any] = json.loads(bytes(response.body))
        if answer.get("success"):
            data = with_null_timestamps(answer["data"])
            restore_types(data.get("rowtype") or [], sql)
            self._account.grants.made_by(session, sql)
            return {**answer, "data": data}
        if failed := self._account.ai.take_error() or self._account.services.take_error():
            return failed.body
        return _in_words(answer, sql) if response.status_code == 200 else _unknown(sql, "").body


def _unknown(sql: str, why: str) -> SqlError:
    reason = f" ({why})" if why else ""
    return SqlError(1003, f"SQL compilation error:\nthe emulator cannot run this statement{reason}: {sql}")


def _in_words(answer: dict[str, Any], sql: str) -> dict[str, Any]:
    """An error of fakesnow in the words of the server; what it did not understand quotes the statement."""
    message = str(answer["message"])
    if found := re.search(r"(?:Table|View) with name (.+?) does not exist", message):
        return missing("Object", found[1], "42S02").body
    if found := re.search(r'(?:Table|View|Schema) with name "?(.+?)"? already exists', message):
        return exists("Object", found[1]).body
    if found := re.search(r"Function with name (.+?) does not exist", message):
        return SqlError(2140, f"SQL compilation error:\nUnknown function {found[1].upper()} in: {sql}", "42601").body
    if answer.get("code") in _NOT_UNDERSTOOD and sql not in message:
        return _unknown(sql, message).body
    return answer
