"""`Endpoint`: a served model, as its users see it. A manifest says where it is; requests go over HTTP."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, cast
from urllib.parse import urlsplit

from typing_extensions import Self

from soaptune.common.files import MANIFEST
from soaptune.common.json_text import parse_object
from soaptune.common.lazy import optional
from soaptune.common.wording import did_you_mean
from soaptune.config import Config
from soaptune.errors import BackendError, ConfigError, DataError, EngineError, RequestError
from soaptune.handles.manifests import open_manifest
from soaptune.handles.storage import FolderFiles
from soaptune.tasks import Task, built_in
from soaptune.tasks.spec import TaskSpec

__all__ = ["API_KEY", "Endpoint", "EndpointManifest", "TypedTask", "is_api_key", "is_loopback", "is_loopback_host"]

API_KEY = "SOAPTUNE_API_KEY"
"""The environment variable whose API key is sent to endpoints of this machine."""

OutT = TypeVar("OutT")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class EndpointManifest(Config):
    """``manifest.json`` of a running endpoint."""

    format_version: Literal[1] = 1
    kind: Literal["endpoint"] = "endpoint"

    url: str
    """Where it listens, such as ``http://127.0.0.1:8000``; the API lies below ``/v1``."""
    name: str
    """Under which name the model is served."""
    task: TaskSpec
    """What the model has learned."""
    model_fingerprint: str
    """The model that is served."""
    report_fingerprint: str | None = None
    """The report that the gates were held against."""
    synthetic: bool
    """Whether the model was trained on generated text."""
    plan_fingerprint: str = ""
    """Of the plan of the job that serves it."""
    pid: int = 0
    """The server's process; 0 where it is none of this machine's."""


class TypedTask(Protocol[T_co]):
    """What an endpoint needs of a task; `soaptune.tasks.Task` has it."""

    def spec(self) -> TaskSpec:
        """The task as pure data."""
        ...

    def messages(self, inputs: Mapping[str, Any]) -> Sequence[Mapping[str, object]]:
        """The conversation up to the answer."""
        ...

    def parse(self, text: str) -> T_co:
        """Reads an answer."""
        ...


class Endpoint(Generic[OutT]):
    """A served model.

    It is a handle: it holds no connection and can be used by several threads. As a context manager it stops the
    endpoint at the end of the block.

    Any OpenAI client works with it too: ``OpenAI(base_url=endpoint.url + "/v1", api_key="none")``, with the API key in
    place of ``"none"`` where the endpoint has one.

    Examples:
        >>> note = endpoint.generate(dialogue="Doctor: ...")  # doctest: +SKIP
    """

    def __init__(
        self,
        manifest: EndpointManifest,
        *,
        task: TypedTask[OutT] | None = None,
        stop: Callable[[], None] | None = None,
        timeout: float = 600.0,
        api_key: str | None = None,
    ) -> None:
        """Makes a handle from parts; use `Endpoint.open`, or what a `Deployer` gives.

        Args:
            manifest: What the endpoint says of itself.
            task: The task with its class; None takes the task of `soaptune.tasks` that says the same, or else one
                whose outputs are dictionaries.
            stop: What ends the endpoint.
            timeout: Seconds that a request may take.
            api_key: *Name* of the environment variable that holds the endpoint's API key. Without it, that of
                ``SOAPTUNE_API_KEY`` is sent if the endpoint is on this machine, and none to any other: a manifest
                cannot choose where a key goes.
        """
        self._manifest = manifest
        self._task = task
        self._stop = stop
        self._timeout = timeout
        self._api_key = api_key

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, api_key: str | None = None) -> Endpoint[Any]:
        """Opens an endpoint by the folder of its job.

        Args:
            path: The job's ``output`` folder, or the job's folder itself.
            api_key: *Name* of the environment variable that holds the endpoint's API key, as in the constructor.

        Returns:
            The handle; nothing is asked yet.

        Raises:
            DataError: There is no endpoint's manifest, or it cannot be read.
        """
        folder = Path(path).expanduser().resolve()
        if not (folder / MANIFEST).is_file() and (folder / "output" / MANIFEST).is_file():
            folder = folder / "output"
        return Endpoint[Any](open_manifest(FolderFiles(folder), EndpointManifest), api_key=api_key)

    @property
    def url(self) -> str:
        """Where the endpoint listens, without ``/v1``."""
        return self._manifest.url

    @property
    def model_name(self) -> str:
        """Under which name the model is served."""
        return self._manifest.name

    @property
    def task(self) -> TaskSpec:
        """What the model has learned."""
        return self._manifest.task

    @property
    def manifest(self) -> EndpointManifest:
        """What the endpoint says of itself."""
        return self._manifest

    def bind(self, task: TypedTask[T]) -> Endpoint[T]:
        """Gives the endpoint the class of its outputs.

        Args:
            task: The task that the model has learned, with its class.

        Returns:
            A handle of the same endpoint with typed outputs.

        Raises:
            ConfigError: The task renders other prompts or expects other outputs than the endpoint's.
        """
        given, own = task.spec(), self.task
        if (given.system_prompt, given.user_template, given.output_schema) != (
            own.system_prompt,
            own.user_template,
            own.output_schema,
        ):
            raise ConfigError(f"the task {given.name!r} is not the one of this endpoint ({own.name!r})")
        return self._with_task(task)

    def _with_task(self, task: TypedTask[T]) -> Endpoint[T]:
        return Endpoint(self._manifest, task=task, stop=self._stop, timeout=self._timeout, api_key=self._api_key)

    def bind_stop(self, stop: Callable[[], None]) -> None:
        """Says what ends the endpoint.

        Args:
            stop: Called by `stop`; for the endpoint of a job its ``cancel``.
        """
        self._stop = stop

    def bind_key(self, api_key: str) -> None:
        """Says which key the endpoint is asked with.

        Args:
            api_key: *Name* of the environment variable that holds it.
        """
        self._api_key = api_key

    def generate(self, **inputs: Any) -> OutT:
        """Answers one input.

        The prompt is rendered as in training, byte for byte, and the answer fits the task's schema.

        Args:
            **inputs: The task's input fields.

        Returns:
            The task's output: an instance of its class, or a dictionary when no class is bound.

        Raises:
            AnswerError: The answer fits the schema but not the class's own validators.
            BackendError: The endpoint does not answer.
            ConfigError: An input field is missing or unknown, or all are empty.
            EngineError: The endpoint failed, or the answer was cut because it needs more tokens than allowed.
            MissingExtraError: httpx is not installed.
            RequestError: The endpoint refused the request, e.g. because the input is too long.
        """
        task = self._bound()
        self._check(inputs)
        reply = self._complete(list(task.messages(inputs)))
        try:
            choice = reply["choices"][0]
            text, reason = choice["message"]["content"], choice["finish_reason"]
            if not isinstance(text, str):
                raise TypeError
        except (KeyError, IndexError, TypeError):
            raise EngineError(f"{self.url} sent a reply that is not a chat completion") from None
        if reason == "length":
            tokens = cast("dict[str, Any]", reply.get("usage") or {}).get("completion_tokens", "all its")
            raise EngineError(
                f"the answer was cut after {tokens} tokens and is not given, since something may be missing in it; "
                "deploy with a larger max_new_tokens, or shorten the input"
            )
        return task.parse(text)

    def _complete(self, messages: list[Mapping[str, object]]) -> dict[str, Any]:
        """Has a conversation continued; gives a chat completion as OpenAI's API has it."""
        return self._ask("POST", "/v1/chat/completions", {"model": self.model_name, "messages": messages})

    def health(self) -> dict[str, Any]:
        """Asks the endpoint how it is.

        Returns:
            ``status`` (``"ok"``), ``model``, ``model_fingerprint`` and ``synthetic``.

        Raises:
            BackendError: The endpoint does not answer.
            EngineError: It answers that it cannot work.
        """
        return self._ask("GET", "/health", None, timeout=10.0)

    def stop(self) -> None:
        """Ends the endpoint. Does nothing to one that has ended.

        Raises:
            BackendError: The handle was opened from a folder and knows of no job to end.
        """
        if self._stop is None:
            raise BackendError(
                "this handle was opened from a folder and does not know its job; end that with backend.job(id).cancel()"
            )
        self._stop()

    def _bound(self) -> TypedTask[OutT]:
        if self._task is None:
            same = [task for task in built_in() if task.spec().fingerprint == self.task.fingerprint]
            self._task = cast("TypedTask[OutT]", same[0] if same else Task.from_spec(self.task))
        return self._task

    def _check(self, inputs: Mapping[str, Any]) -> None:
        fields = self.task.input_fields
        problems = [
            f"there is no input field {name!r}{did_you_mean(name, fields)}" for name in inputs if name not in fields
        ]
        problems += [f"the input field {name!r} is missing" for name in fields if name not in inputs]
        if not problems and all(isinstance(value, str) and not value.strip() for value in inputs.values()):
            problems = ["the input is empty: a model answers it too, with what it makes up"]
        if problems:
            raise ConfigError(f"{self.model_name}: {'; '.join(problems)}")

    def _ask(self, method: str, path: str, body: object, *, timeout: float | None = None) -> dict[str, Any]:
        httpx = optional("httpx", extra="serve", what="asking an endpoint")
        local = is_loopback(self.url)
        headers = self._authorization(local)
        # Without HTTPS there is nothing to verify, and loading certificates takes its time.
        verify: Any = httpx.create_ssl_context() if self.url.startswith("https:") else False
        try:
            # No proxy stands between this machine and itself, whatever the environment says.
            with httpx.Client(
                timeout=httpx.Timeout(timeout or self._timeout, connect=10.0), trust_env=not local, verify=verify
            ) as client:
                response = client.request(method, self.url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise BackendError(
                f"the endpoint {self.model_name!r} at {self.url} does not answer ({type(error).__name__})"
            ) from error
        try:
            reply = parse_object(response.content, where="the reply")
        except DataError:
            reply = {}
        if response.is_success and reply:
            return reply
        fault = reply.get("error")
        told = cast("dict[str, Any]", fault) if isinstance(fault, dict) else {}
        message = str(told.get("message") or f"{self.url} answered with status {response.status_code}")
        if response.status_code == 401:
            message += f" {self._key_hint(local)}"
        if 400 <= response.status_code < 500:
            raise RequestError(message, status=response.status_code, code=str(told.get("code") or ""))
        raise EngineError(message)

    def _authorization(self, local: bool) -> dict[str, str]:
        name = self._api_key or (API_KEY if local else None)
        # A line end at the end of a key is what a file or a shell left there.
        key = os.environ.get(name, "").partition(",")[0].strip() if name else ""
        if self._api_key is not None and not key:
            raise ConfigError(f"the environment variable {self._api_key} with the endpoint's API key is not set")
        if not key:
            return {}
        if not is_api_key(key):
            raise ConfigError(f"what the environment variable {name} holds is no API key")
        return {"Authorization": f"Bearer {key}"}

    def _key_hint(self, local: bool) -> str:
        if self._api_key is not None or local:
            return f"It was asked with what the environment variable {self._api_key or API_KEY} holds."
        return "Name the environment variable with its key: Endpoint.open(..., api_key=NAME)."

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Endpoint({self.model_name!r} at {self.url}, task {self.task.name!r})"


def is_api_key(text: str) -> bool:
    """Whether a text can be an API key: printable ASCII without spaces, which a header can carry as it is."""
    return bool(text) and all("!" <= letter <= "~" for letter in text)


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Whether a host's name or number is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
