"""The routes of the REST surface."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from soaptune.config import sentence
from soaptune.deploy.payload import ServePayload
from soaptune.engines import GenerationRequest
from soaptune.runtime.serve.asking import Asker
from soaptune.runtime.serve.limits import ALLOWANCE
from soaptune.runtime.serve.surface import (
    ApiError,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Choice,
    ErrorBody,
    Health,
    ModelCard,
    ModelList,
    ObjectFormat,
    Reply,
    SchemaFormat,
    TextFormat,
    Usage,
    refuse_unsupported,
)

__all__ = ["build_app"]

_log = logging.getLogger("soaptune.serve")

_STATUS = {404: ("not_found", "There is nothing at this path."), 405: ("method_not_allowed", "Not with this method.")}

_TELLING = frozenset(
    "missing string_type list_type dict_type int_type float_type bool_type model_type model_attributes_type "
    "literal_error too_short greater_than_equal less_than_equal finite_number value_error union_tag_not_found".split()
)
"""Pydantic's errors whose messages say what is expected; some of the others quote what was given."""


def build_app(plan: ServePayload, asker: Asker, *, schema: dict[str, Any]) -> FastAPI:
    """Makes the application.

    Args:
        plan: What is served.
        asker: Answers questions.
        schema: The JSON Schema of an answer to a request that does not bring its own.

    Returns:
        The application; its OpenAPI document lies at ``/openapi.json``.
    """
    started = int(time.time())
    errors: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "503": {"model": ErrorBody}}
    # No pages for people: FastAPI's load scripts from elsewhere.
    app = FastAPI(title=plan.name, docs_url=None, redoc_url=None, responses=errors)
    _handle_errors(app)

    @app.get("/health", response_model_exclude_none=True)
    async def health(request: Request) -> Health:  # pyright: ignore[reportUnusedFunction]
        if not asker.alive:
            raise ApiError(503, "engine_failed", "The engine has ended.")
        if request.scope[ALLOWANCE] is None:
            return Health(status="ok")
        return Health(status="ok", model=plan.name, model_fingerprint=plan.model_fingerprint, synthetic=plan.synthetic)

    @app.get("/v1/models")
    async def models() -> ModelList:  # pyright: ignore[reportUnusedFunction]
        return ModelList(data=[ModelCard(id=plan.name, created=started)])

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> ChatCompletion:  # pyright: ignore[reportUnusedFunction]
        refuse_unsupported(body)
        if body.model != plan.name:
            message = f"There is no such model here; this server has {plan.name!r}."
            raise ApiError(404, "model_not_found", message, param="model")
        begin = time.monotonic()
        completion = await asker.ask(_question(body, plan, schema))
        request.scope[ALLOWANCE].used(completion.prompt_tokens + completion.completion_tokens)
        _log.info(
            "answered: %d tokens in, %d out, %.2f s",
            completion.prompt_tokens,
            completion.completion_tokens,
            time.monotonic() - begin,
        )
        return ChatCompletion(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(time.time()),
            model=plan.name,
            choices=[
                Choice(
                    message=Reply(content=completion.text),
                    finish_reason="length" if completion.finish_reason == "length" else "stop",
                )
            ],
            usage=Usage(
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                total_tokens=completion.prompt_tokens + completion.completion_tokens,
            ),
            system_fingerprint=plan.model_fingerprint[:19],
        )

    if plan.server.has_keys:
        _document_keys(app.openapi())
    return app


def _document_keys(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    document["paths"]["/health"]["get"]["security"] = [{}, {"key": []}]


def _question(body: ChatRequest, plan: ServePayload, schema: dict[str, Any]) -> GenerationRequest:
    if body.messages[-1].role != "user":
        raise ApiError(400, "invalid_messages", "The last message must be the user's.", param="messages")
    match body.response_format:
        case None:
            wanted: dict[str, Any] | None = schema
        case TextFormat():
            wanted = None
        case ObjectFormat():
            wanted = {"type": "object"}
        case SchemaFormat():
            wanted = body.response_format.json_schema.schema_
    asked = body.max_completion_tokens or body.max_tokens or plan.max_new_tokens
    return GenerationRequest(
        messages=_conversation(body.messages, plan.task.system_prompt),
        max_tokens=min(asked, plan.max_new_tokens),
        schema=wanted,
        temperature=body.temperature or 0.0,
        seed=secrets.randbits(31) if body.seed is None else body.seed & 0x7FFF_FFFF,
    )


def _conversation(messages: Sequence[ChatMessage], system_prompt: str) -> list[dict[str, str]]:
    """The turns, with the task's system prompt in front when the caller brings none."""
    turns = [message.plain() for message in messages]
    if system_prompt and all(turn["role"] != "system" for turn in turns):
        return [{"role": "system", "content": system_prompt}, *turns]
    return turns


def _handle_errors(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> JSONResponse:
        fault = cast("ApiError", error)
        return JSONResponse(fault.body(), fault.status, headers=fault.headers())

    async def unreadable(request: Request, error: Exception) -> JSONResponse:
        fault = _validation_fault(cast("RequestValidationError", error), request.headers.get("content-type", ""))
        return JSONResponse(fault.body(), fault.status)

    async def not_served(_: Request, error: Exception) -> JSONResponse:
        given = cast("HTTPException", error)
        code, message = _STATUS.get(given.status_code, ("invalid_request", "The request cannot be read."))
        fault = ApiError(given.status_code, code, message)
        return JSONResponse(fault.body(), fault.status, headers=given.headers)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_exception_handler(HTTPException, not_served)


def _validation_fault(error: RequestValidationError, content_type: str) -> ApiError:
    """Says what is wrong with a body, without quoting it: of the names in it only those that this surface has."""
    first: Any = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "invalid_json", "The body is not JSON.")
    if "json" not in content_type:
        return ApiError(
            400, "invalid_request", "The body must be JSON, with the header content-type: application/json."
        )
    if first["type"] == "extra_forbidden":
        message = "There is a field that does not belong there."
    elif first["type"] == "union_tag_invalid":
        message = f"Its type must be one of {first['ctx']['expected_tags']}."
    else:
        message = f"{_capital(sentence(first))}." if first["type"] in _TELLING else "The value is not allowed."
    return ApiError(400, "invalid_request", message, param=_place(first))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _place(finding: dict[str, Any]) -> str | None:
    own = {*ChatRequest.model_fields, "role", "content", "text", "type", "json_schema", "schema", "name", "strict"}
    steps = [str(step) for step in finding["loc"] if isinstance(step, int) or step in own]
    return ".".join(steps) or None
