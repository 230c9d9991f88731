"""A Cortex model as an engine: `AI_COMPLETE` for every example, in the account, once.

The answers are kept in a table until the evaluation has them all, so that a lost connection asks nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from soaptune.common.fingerprint import fingerprint
from soaptune.common.json_text import decode_json
from soaptune.engines import Completion, Conversation, GenerationRequest, Measured, OnProgress, Unanswered
from soaptune.errors import ConfigError, EngineError
from soaptune.jobs.place import Place
from soaptune.snowflake.jobs.cleanup import TEMPORARY
from soaptune.snowflake.names import Name, parse
from soaptune.snowflake.session import Connection
from soaptune.snowflake.tables import cortex
from soaptune.snowflake.tables.query import SchemaRef

__all__ = ["CortexEngine", "answers_table"]


def answers_table(place: Place) -> str:
    """The full name, as SQL, of the table that holds the answers of an evaluation for the while.

    Args:
        place: Where the job runs. The same plan has the same table.

    Raises:
        ConfigError: The job does not run in an account.
    """
    if place.account is None:
        raise ConfigError("Cortex is a part of Snowflake: the job does not run in an account")
    key = place.plan.removeprefix("sha256:")[:16].upper()
    return Name(place.account.database, place.account.db_schema, f"{TEMPORARY}ANSWERS_{key}").sql


class CortexEngine:
    """A Cortex model.

    Args:
        model: Its name, as ``AI_COMPLETE`` takes it.
        table: The full name, as SQL, of the table that holds the answers for the while.
        connection: The way to the account; the job's own when None.
    """

    def __init__(self, model: str, table: str, *, connection: Connection | None = None) -> None:
        self._model = model
        self._table = parse(table)
        self._place = SchemaRef(connection or Connection(), self._table.database, self._table.schema)

    def measure(self, conversations: Sequence[Conversation | None]) -> Measured:
        """Measures nothing: Cortex gives neither likelihoods nor how its models count tokens."""
        return Measured([None] * len(conversations), None)

    def generate(
        self, requests: Sequence[GenerationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Completion]:
        """Has every request answered; equal ones once. A request that fails is a completion with the reason.

        Raises:
            BackendError: The account refuses; what was answered until then is kept for the next attempt.
            EngineError: No request was answered at all.
        """
        texts = ["\n\n".join(turn["content"] for turn in request.messages) for request in requests]
        keys = [self._key(request, text) for request, text in zip(requests, texts, strict=True)]
        first = requests[0]
        report = on_progress or _unwatched
        cortex.ask(
            self._place,
            self._table,
            dict(zip(keys, texts, strict=True)),
            model=self._model,
            parameters={"temperature": first.temperature, "max_tokens": first.max_tokens},
            schema=first.schema,
            on_progress=lambda done: report(min(done, len(requests)), len(requests)),
            details=True,
        )
        found = cortex.answers(self._place, self._table)
        completions = [self._completion(found.get(key)) for key in keys]
        errors = [one.error for one in completions if one.error is not None]
        if len(errors) == len(completions):
            self.forget()  # a new attempt asks again
            raise EngineError(f"{self._model} answered none of the {len(requests)} prompts; the first: {errors[0]}")
        report(len(requests), len(requests))
        return completions

    def forget(self) -> None:
        """Drops the table of the answers.

        Raises:
            BackendError: The account refuses.
        """
        sql = f"DROP TABLE IF EXISTS {self._table.sql}"
        self._place.connection.rows("dropping the table of answers", sql)

    def _key(self, request: GenerationRequest, text: str) -> str:
        schema = None if request.schema is None else dict(request.schema)
        asked = [self._model, request.temperature, request.max_tokens, schema, text]
        return fingerprint(asked).removeprefix("sha256:")

    def _completion(self, stored: str | None) -> Completion:
        try:
            content: Any = decode_json(stored or "null")
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            return _failed(f"{self._model} gave no answer")
        details = cast("dict[str, Any]", content)
        value = details.get("value")
        if value is None:
            return _failed(f"{self._model} gave no answer: {details.get('error') or 'no reason given'}")
        return Completion(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _unwatched(_done: int, _total: int) -> None:
    """Nobody looks."""


def _failed(reason: str) -> Completion:
    return Completion("", finish_reason="error", error=Unanswered(reason))
