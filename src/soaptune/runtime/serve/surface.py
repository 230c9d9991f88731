"""What goes over the wire: requests, responses and errors of the REST surface, in OpenAI's shapes, declared once."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, model_validator

__all__ = [
    "ApiError",
    "ChatCompletion",
    "ChatRequest",
    "Choice",
    "ErrorBody",
    "Health",
    "ModelCard",
    "ModelList",
    "Reply",
    "Usage",
    "refuse_unsupported",
]

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "stop": ([],),
    "store": (False,),
    "stream": (False,),
    "stream_options": (),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "top_p": (1,),
    "verbosity": (),
}
"""Parameters of OpenAI's that this surface does not have, with the values that ask for nothing; null always does."""


class ApiError(Exception):
    """An error as the caller sees it. Its message never quotes the request.

    Attributes:
        status: The HTTP status code.
        code: A stable word for the reason.
        param: The field of the request at fault, or None.
        retry_after: Seconds after which it may be worth while to try again, or None.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(status, code, message)  # what a pickle makes it from again
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.args[2]

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's JSON shape."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = ErrorDetail(message=str(self), type=kind, param=self.param, code=self.code)
        return ErrorBody(error=error).model_dump()

    def headers(self) -> dict[str, str]:
        """The headers that belong to the error."""
        found = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return found if self.retry_after is None else {**found, "retry-after": str(self.retry_after)}


def _is_text(value: str) -> str:
    """Refuses what JSON can escape but no text can hold: a surrogate without its other half."""
    try:
        value.encode()
    except UnicodeEncodeError:
        # Out of this handler, whose error quotes the text.
        pass
    else:
        return value
    raise ValueError("there is a lone surrogate in the text")


_Text = Annotated[str, AfterValidator(_is_text)]


class _Given(BaseModel):
    # Strict, because "5" for 5 is a mistake of the caller's that should not wait for another server to be found.
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TextPart(_Given):
    """A piece of a message's text."""

    type: Literal["text"]
    text: _Text


class ChatMessage(_Given):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: _Text | list[TextPart]

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        # Clients send their own replies back with every field that a reply can have.
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in cast("dict[str, Any]", value).items() if item is not None}

    def plain(self) -> dict[str, str]:
        """The turn as chat templates take it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class TextFormat(_Given):
    """Free text."""

    type: Literal["text"]


class ObjectFormat(_Given):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(_Given):
    """A JSON Schema of the caller's."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(_Given):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChatRequest(BaseModel):
    """The body of ``POST /v1/chat/completions``. Without a `response_format` the answer fits the task's schema."""

    # Fields beyond these are looked at one by one, so that the answer can say what is not supported.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    model: str
    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1, max_length=1_024)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = None
    user: str | None = None
    response_format: Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None = None


def refuse_unsupported(request: ChatRequest) -> None:
    """Refuses parameters that would change the answer on other servers and do nothing here.

    Raises:
        ApiError: With status 400.
    """
    for name, value in (request.model_extra or {}).items():
        if name in _NEUTRAL:
            # By type as well, since True equals 1.
            neutral = value is None or any(
                value == each and isinstance(value, bool) == isinstance(each, bool) for each in _NEUTRAL[name]
            )
            if not neutral:
                raise ApiError(400, "unsupported_parameter", f"{name!r} is not supported by this server.", param=name)
        else:
            near = difflib.get_close_matches(name[:64], [*ChatRequest.model_fields, *_NEUTRAL], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ApiError(400, "unknown_parameter", f"The request has a field that this server does not know.{hint}")


class Reply(BaseModel):
    """The assistant's turn."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """One answer."""

    index: int = 0
    message: Reply
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class Usage(BaseModel):
    """Tokens counted: the rendered prompt's, and the answer's with its end token."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """The response of ``POST /v1/chat/completions``."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str


class ModelCard(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "soaptune"


class ModelList(BaseModel):
    """The response of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """The response of ``GET /health``; without a key where one is needed, only that the engine works."""

    status: Literal["ok"]
    model: str | None = None
    model_fingerprint: str | None = None
    synthetic: bool | None = None


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The body of every response that is an error."""

    error: ErrorDetail
