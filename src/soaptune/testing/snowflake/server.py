"""The account's HTTP server, on a loopback port, with the protocol of the connector."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import fakesnow.server as fakesnow_server
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from soaptune.testing.snowflake.execution import Execution
from soaptune.testing.snowflake.names import unquoted
from soaptune.testing.snowflake.sessions import Session, new_token
from soaptune.testing.snowflake.statements import Handler, Rewrite

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

_IN_PROGRESS_ASYNC = "333334"
_SESSION_EXPIRED = "390112"
_LOGIN_AGAIN = "390114"
_REMEMBERED = 100
_VERSION = "10.0.0"


class _Protocol(H11Protocol):
    """HTTP/1.1 whose connection the application may cut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["cut"] = lambda: self.transport.abort()
            await inner(scope, receive, send)

        self.app = app


class Server:
    """Answers the connector for one account.

    Attributes:
        account: Whose server it is.
        port: Where it listens on the loopback interface.
        rewrites: What changes the text of statements before fakesnow runs them.
    """

    def __init__(self, account: Account, handlers: Sequence[Handler], rewrites: Sequence[Rewrite]) -> None:
        self.account = account
        self.rewrites = rewrites
        self._execution = Execution(account, handlers, rewrites)
        self._sessions: dict[str, Session] = {}
        self._masters: dict[str, Session] = {}
        self._answers: OrderedDict[str, asyncio.Task[dict[str, Any]]] = OrderedDict()
        self._gone: set[str] = set()
        self._queries: OrderedDict[str, asyncio.Task[dict[str, Any]]] = OrderedDict()
        routes = [
            Route("/session/v1/login-request", self._login, methods=["POST"]),
            Route("/session/token-request", self._renew, methods=["POST"]),
            Route("/session", self._session, methods=["POST"]),
            Route("/session/heartbeat", self._session, methods=["POST"]),
            Route("/queries/v1/query-request", self._query, methods=["POST"]),
            Route("/queries/v1/abort-request", self._nothing, methods=["POST"]),
            Route("/queries/{id}/result", self._result, methods=["GET"]),
            Route("/monitoring/queries/{id}", self._monitor, methods=["GET"]),
            Route("/telemetry/send", self._nothing, methods=["POST"]),
        ]
        # Asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named; else each takes 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        config = uvicorn.Config(
            Starlette(routes=routes),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [listener]}, name="snowflake-server", daemon=True
        )
        self._thread.start()

    @property
    def sessions(self) -> list[Session]:
        """Who is logged in."""
        return list(self._sessions.values())

    def close(self) -> None:
        """Stops listening and logs everybody out."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._listener.close()
        for session in self.sessions:
            self._log_out(session)

    # ---- logging in and out

    async def _login(self, request: Request) -> Response:
        body = await _json(request)
        data = body["data"]
        account = self.account
        # A container's token says by itself who comes, as which role.
        job = account.jobs.login(str(data.get("TOKEN") or ""))
        secret = data.get("PASSWORD") or data.get("TOKEN")
        known = str(data.get("LOGIN_NAME", "")).upper() == account.user.upper() and secret == account.password
        if job is None and not known:
            return _failure("390100", "Incorrect username or password was specified.")
        wanted = request.query_params
        role = job.role if job else unquoted(wanted.get("roleName") or account.role)
        if role not in account.grants.roles:
            text = f"Role '{role}' specified in the connect string does not exist or not authorized."
            return _failure("390189", text)
        warehouse = (job.warehouse or "") if job else unquoted(wanted.get("warehouse") or account.warehouse)
        connection = account.fake.connect()
        known_warehouse = warehouse if warehouse in account.warehouses else None
        session = Session(connection, account.user, role, known_warehouse, of_job=job is not None)
        session.enter(wanted.get("databaseName"), wanted.get("schemaName"))
        self._sessions[session.token] = session
        self._masters[session.master_token] = session
        fakesnow_server.sessions[session.inner_token] = connection
        return _success(
            {
                "token": session.token,
                "masterToken": session.master_token,
                "validityInSeconds": 3600,
                "masterValidityInSeconds": 14400,
                "sessionId": session.number,
                "serverVersion": _VERSION,
                "parameters": [
                    {"name": "AUTOCOMMIT", "value": True},
                    {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
                    # Snowpark's documentation promises sessions that threads may share; the server switches it on.
                    {"name": "PYTHON_SNOWPARK_ENABLE_THREAD_SAFE_SESSION", "value": True},
                ],
                "sessionInfo": {
                    "databaseName": session.database,
                    "schemaName": session.schema,
                    "warehouseName": session.warehouse,
                    "roleName": session.role,
                },
            }
        )

    async def _renew(self, request: Request) -> Response:
        session = self._masters.get(_token(request))
        if session is None or session.lost:
            return _failure(_LOGIN_AGAIN, "Authentication token has expired. The user must authenticate again.")
        self._sessions.pop(session.token, None)
        session.token, session.expired = new_token(), False
        self._sessions[session.token] = session
        return _success(
            {
                "sessionToken": session.token,
                "masterToken": session.master_token,
                "validityInSecondsST": 3600,
                "validityInSecondsMT": 14400,
            }
        )

    async def _session(self, request: Request) -> Response:
        session = self._sessions.get(_token(request))
        if session is None:
            return _failure("390104", "User must login again to access the service.")
        if request.query_params.get("delete"):
            self._log_out(session)
        return _success(None)

    async def _nothing(self, _: Request) -> Response:
        return _success(None)

    def _log_out(self, session: Session) -> None:
        self._sessions.pop(session.token, None)
        self._masters.pop(session.master_token, None)
        fakesnow_server.sessions.pop(session.inner_token, None)
        self.account.stages.logged_out(session)
        session.close()

    # ---- statements

    async def _query(self, request: Request) -> Response:
        session = self._sessions.get(_token(request))
        if session is None:
            return _failure("390104", "User must login again to access the service.")
        if session.lost:
            return _failure(_LOGIN_AGAIN, "Authentication token has expired. The user must authenticate again.")
        if session.expired:
            return _failure(_SESSION_EXPIRED, "Session token has expired.")
        body = await _json(request)
        sql = str(body["sqlText"])
        request_id = request.query_params.get("requestId") or uuid.uuid4().hex
        if request_id in self._gone:
            return Response(status_code=410)
        faults = self.account.faults
        if fault := faults.take("throttle", sql):
            return Response(status_code=fault.status)
        if request_id not in self._answers:
            if fault := faults.take("before", sql):
                return await self._cut(request, request_id, fault.recover)
            self._remember(self._answers, request_id, asyncio.create_task(self._start(session, body)))
        answer = await asyncio.shield(self._answers[request_id])
        if fault := faults.take("after", sql):
            return await self._cut(request, request_id, fault.recover)
        return JSONResponse(answer)

    async def _cut(self, request: Request, request_id: str, recover: bool) -> Response:
        if not recover:
            self._gone.add(request_id)
        request.scope["cut"]()
        await asyncio.sleep(0.01)  # until the protocol has noticed: it answers nothing then
        return Response(status_code=503)

    def _remember(
        self, among: OrderedDict[str, asyncio.Task[dict[str, Any]]], key: str, task: asyncio.Task[dict[str, Any]]
    ) -> None:
        among[key] = task
        while len(among) > _REMEMBERED:
            among.popitem(last=False)

    async def _start(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("asyncExec"):
            return await self._execution.run(session, body, str(uuid.uuid4()))
        query_id = str(uuid.uuid4())
        self._remember(self._queries, query_id, asyncio.create_task(self._run_for(query_id, session, body)))
        data = {"queryId": query_id, "getResultUrl": f"/queries/{query_id}/result", "queryAbortsAfterSecs": 300}
        return {"success": True, "code": _IN_PROGRESS_ASYNC, "message": None, "data": data}

    async def _run_for(self, query_id: str, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._execution.run(session, body, query_id)
        if answer["success"]:
            self.account.tables.also(query_id, answer["data"].get("queryId", ""))
        return answer

    async def _monitor(self, request: Request) -> Response:
        query_id = request.path_params["id"]
        task = self._queries.get(query_id)
        if task is None:
            known = query_id in self.account.fake.results_cache
            return _success({"queries": [{"id": query_id, "status": "SUCCESS"}] if known else []})
        if not task.done():
            return _success({"queries": [{"id": query_id, "status": "RUNNING"}]})
        answer = task.result()
        found = {"id": query_id, "status": "SUCCESS" if answer["success"] else "FAILED_WITH_ERROR"}
        if not answer["success"]:
            found |= {"errorCode": answer["code"], "errorMessage": answer["message"]}
        return _success({"queries": [found]})

    async def _result(self, request: Request) -> Response:
        task = self._queries.get(request.path_params["id"])
        if task is None:
            return _failure("000709", "Statement not found.")
        return JSONResponse(await asyncio.shield(task))


def _token(request: Request) -> str:
    return request.headers.get("Authorization", "").removeprefix('Snowflake Token="').removesuffix('"')


async def _json(request: Request) -> dict[str, Any]:
    body = await request.body()
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    return json.loads(body)


def _success(data: Any) -> Response:
    return JSONResponse({"success": True, "code": None, "message": None, "data": data})


def _failure(code: str, message: str) -> Response:
    return JSONResponse({"success": False, "code": code, "message": message, "data": {"errorCode": code}})
