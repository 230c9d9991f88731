"""`SnowflakeEndpoint`: a model that an inference service serves, asked over HTTPS or through SQL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from soaptune.common.json_text import decode_json, parse_json, parse_object
from soaptune.common.lazy import optional
from soaptune.errors import BackendError, ConfigError, DataError, EngineError, RequestError
from soaptune.handles.endpoint import Endpoint, TypedTask, is_loopback
from soaptune.prompting import escape_special_tokens
from soaptune.snowflake.handles.service import ServiceManifest
from soaptune.snowflake.names import fold, quote
from soaptune.snowflake.session import Connection
from soaptune.tasks.constrained import grammar_schema

__all__ = ["SnowflakeEndpoint"]

OutT = TypeVar("OutT")
T = TypeVar("T")

_PATH = "/--call--"
_SNOWFLAKE = (".snowflakecomputing.app", ".snowflakecomputing.com", ".snowflakecomputing.cn")
"""Where services are reached; a token goes to no other host, whatever a manifest says."""

_REFUSED = "refused:"
_TOO_LONG = 60.0
"""Seconds after which Snowflake's ingress gives a request up."""


class SnowflakeEndpoint(Endpoint[OutT], Generic[OutT]):
    """A served model in a Snowflake account.

    With a token it is asked over HTTPS, from anywhere; without one through SQL, with the backend's session. Which
    token is the caller's word alone: that of the `Deployer` that gives the endpoint, or `bind_key`. `stop` drops the
    service; the model's version stays in the registry.

    Examples:
        >>> note = endpoint.generate(dialogue="Doctor: ...")  # doctest: +SKIP
    """

    def __init__(
        self,
        manifest: ServiceManifest,
        connection: Connection,
        *,
        task: TypedTask[OutT] | None = None,
        api_key: str | None = None,
    ) -> None:
        """Makes a handle from parts; a `Deployer` gives it.

        Args:
            manifest: What the service says of itself.
            connection: The way to the account.
            task: The task with its class, as in `Endpoint`.
            api_key: *Name* of the environment variable with the access token; None asks through SQL. What the
                manifest says of one counts for nothing: a file must not choose which secret is sent.
        """
        super().__init__(manifest, task=task, api_key=api_key)
        self._service = manifest
        self._connection = connection

    @property
    def manifest(self) -> ServiceManifest:
        """What the service says of itself."""
        return self._service

    def health(self) -> dict[str, Any]:
        """Asks the account how the service is.

        Returns:
            ``status`` (``"ok"`` when it runs or has suspended itself, else Snowflake's word), ``model``,
            ``model_fingerprint`` and ``synthetic``.

        Raises:
            BackendError: The account cannot be asked, or the service is gone.
        """
        name = self._service.service_name
        (row,) = self._connection.rows(f"looking at the service {name}", f"DESCRIBE SERVICE {name.sql}")
        status = str(row.as_dict()["status"])
        return {
            "status": "ok" if status in ("RUNNING", "SUSPENDED") else status,
            "model": self.model_name,
            "model_fingerprint": self._service.model_fingerprint,
            "synthetic": self._service.synthetic,
        }

    def stop(self) -> None:
        """Drops the service; the model's version stays in the registry. Does nothing to one that is gone.

        Raises:
            BackendError: The account refuses.
        """
        name = self._service.service_name
        self._connection.rows(f"dropping the service {name}", f"DROP SERVICE IF EXISTS {name.sql}")

    def _with_task(self, task: TypedTask[T]) -> Endpoint[T]:
        return SnowflakeEndpoint(self._service, self._connection, task=task, api_key=self._api_key)

    def _complete(self, messages: list[Mapping[str, object]]) -> dict[str, Any]:
        turns = [{"role": str(turn["role"]), "content": self._plain(str(turn["content"]))} for turn in messages]
        reply = self._through_http(turns) if self._api_key else self._through_sql(turns)
        self._refuse(reply)
        return reply

    def _plain(self, text: str) -> str:
        # Our own engine does this itself; done twice it would change the text twice.
        return escape_special_tokens(text, self._service.special_tokens) if self._service.engine == "vllm" else text

    def _params(self) -> dict[str, Any]:
        params: dict[str, Any] = {"temperature": 0.0, "max_completion_tokens": self._service.max_new_tokens}
        if self._service.engine == "vllm":
            schema = {"name": "answer", "schema": grammar_schema(self.task.output_schema), "strict": True}
            params["response_format"] = {"type": "json_schema", "json_schema": schema}
        return params

    def _through_http(self, turns: list[dict[str, str]]) -> dict[str, Any]:
        httpx = optional("httpx", extra="serve", what="asking an endpoint")
        local = is_loopback(self.url)
        address = urlsplit(self.url)
        of_snowflake = address.scheme == "https" and (address.hostname or "").endswith(_SNOWFLAKE)
        if not (of_snowflake or (local and address.scheme in ("http", "https"))):
            raise BackendError(
                f"the service {self._service.service_name} has no address that a token may be sent to ({self.url!r}); "
                "deploy it with ServiceOptions(ingress=True), or without a token to ask it through SQL"
            )
        # Every field of the signature must be there.
        record = {"messages": [{**turn, "name": None, "title": None} for turn in turns]}
        try:
            with httpx.Client(
                timeout=httpx.Timeout(_TOO_LONG + 5.0, connect=10.0), trust_env=not local, verify=not local
            ) as client:
                response = client.post(
                    self.url + _PATH,
                    json={"dataframe_records": [record], "params": self._params()},
                    headers={"Authorization": f'Snowflake Token="{self._secret()}"'},
                )
        except httpx.TimeoutException as error:
            raise self._slow() from error
        except httpx.HTTPError as error:
            message = f"the service {self._service.service_name} does not answer ({type(error).__name__})"
            raise BackendError(message) from error
        return self._read(response.status_code, response.content)

    def _secret(self) -> str:
        name = str(self._api_key)
        value = os.environ.get(name, "")
        if not value:
            raise ConfigError(f"the environment variable {name}, which holds the service's access token, is not set")
        if any(character in value for character in '"\r\n'):
            raise ConfigError(f"the environment variable {name} does not hold an access token")
        return value

    def _read(self, status: int, body: bytes) -> dict[str, Any]:
        name = self._service.service_name
        if status == 200:
            try:
                return cast("dict[str, Any]", parse_json(body, where="the reply")["data"][0][1])
            except (ValueError, LookupError, TypeError):
                raise EngineError(f"the service {name} sent a reply that is not a chat completion") from None
        if status == 504:
            raise self._slow()
        if status in (401, 403, 404):
            raise BackendError(
                f"the service {name} is not there for this caller (status {status}): the token in "
                f"{self._api_key} is wrong, has expired or lacks USAGE on the service's endpoint, or the "
                "service was dropped"
            )
        reason = _reason(body)
        if 400 <= status < 500:
            raise RequestError(f"the service {name} refuses the request: {reason}", status=status)
        raise EngineError(f"the service {name} failed with status {status}: {reason}")

    def _slow(self) -> EngineError:
        return EngineError(
            f"the service {self._service.service_name} took longer than {_TOO_LONG:g} s, after which Snowflake's "
            "ingress gives up. It may be starting after it suspended itself: try again in some minutes, or keep "
            "min_instances=1. Through SQL (a Deployer without a token) a request may take longer"
        )

    def _through_sql(self, turns: list[dict[str, str]]) -> dict[str, Any]:
        name = self._service.service_name

        def ask(session: Any) -> Any:
            import pandas  # pyright: ignore[reportMissingTypeStubs]

            frame = pandas.DataFrame({"messages": [[{**turn, "name": None, "title": None} for turn in turns]]})
            version = self._registered(session)
            return version.run(frame, function_name="__call__", service_name=name.sql, params=self._params())

        # Asking twice does no harm: nothing is changed by it.
        answered = self._connection.call(f"asking the service {name}", ask)
        row: dict[str, Any] = answered.to_dict("records")[0]
        return {key: _parsed(value) for key, value in row.items() if key != "messages"}

    def _registered(self, session: Any) -> Any:
        from snowflake.ml.registry import Registry  # pyright: ignore[reportMissingTypeStubs]

        service = self._service
        database, schema, _ = service.service
        registry: Any = Registry(session=session, database_name=quote(database), schema_name=quote(schema))
        try:
            return registry.get_model(quote(fold(service.registry_model))).version(service.registry_version)
        except (ValueError, KeyError) as error:
            message = f"the version {service.registry_version} of {service.registry_model} is not in the registry"
            raise BackendError(message) from error

    def _refuse(self, reply: dict[str, Any]) -> None:
        """Raises for a request that our engine has not answered; the signature has no other place to say so."""
        try:
            choice = reply["choices"][0]
            reason = choice["finish_reason"]
        except (LookupError, TypeError):
            return  # whoever reads the reply says so
        if isinstance(reason, str) and reason.startswith(_REFUSED):
            code = reason.removeprefix(_REFUSED)
            message = str(choice["message"].get("name") or "the request was refused")
            if code == "engine_error":
                raise EngineError(message)
            raise RequestError(message, status=400, code=code)

    def __repr__(self) -> str:
        return f"SnowflakeEndpoint({self.model_name!r}, service {self._service.service_name}, task {self.task.name!r})"


def _parsed(value: Any) -> Any:
    """A value of a variant column: JSON as text, unless Snowpark has read it already."""
    if isinstance(value, str):
        try:
            return decode_json(value)
        except (ValueError, RecursionError):
            return value
    return value


def _reason(body: bytes) -> str:
    try:
        content = parse_object(body, where="the reply")
    except DataError:
        return "it does not say why"
    return str(content.get("error", "it does not say why"))
