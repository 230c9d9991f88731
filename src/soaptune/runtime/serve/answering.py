"""Answering: what the engine is asked, what is refused before, and what is not let through after."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from jsonschema import Draft202012Validator

from soaptune.common.json_text import decode_json
from soaptune.engines import Completion, GenerationRequest
from soaptune.errors import AnswerError, ConfigError, EngineError
from soaptune.prompting.chat import render_prompt
from soaptune.runtime.engines import grammar
from soaptune.runtime.engines.transformers import TransformersEngine
from soaptune.runtime.serve.surface import ApiError
from soaptune.tasks import parsing
from soaptune.tasks.spec import TaskSpec

__all__ = ["Answerer"]

_WIDER = 4
"""How many times the characters of its name a token stands for at most: a tokenizer may compose characters."""
_MOST_SCHEMA = 50_000
_DEEPEST_SCHEMA = 64
_KEYWORDS = frozenset(Draft202012Validator.VALIDATORS)
"""The keywords of JSON Schema; none of them is a part of anybody's text."""


class Answerer:
    """Answers a batch of questions with one engine; for `soaptune.runtime.serve.batching.Batcher`.

    Args:
        engine: The engine.
        spec: The task; answers to its schema are checked before they are let through.

    Attributes:
        schema: The task's schema; its fields stand in the order in which the model has learned to write them.
        shortest: How many tokens the shortest answer needs that fits it.

    Raises:
        EngineError: The grammar library cannot follow the task's schema.
    """

    def __init__(self, engine: TransformersEngine, spec: TaskSpec) -> None:
        self._engine = engine
        self._spec = spec
        self.schema = spec.output_schema
        # Texts beyond any doubt are not tokenized: that takes two hundred times their size in memory.
        self._most_characters = _WIDER * max(map(len, engine.tokenizer.get_vocab()))
        self.shortest = grammar.shortest_answer(engine.tokenizer, self.schema, stop=engine.stop_tokens)

    def __call__(self, questions: Sequence[GenerationRequest]) -> list[Completion | Exception]:
        """Checks and answers questions.

        Args:
            questions: The questions.

        Returns:
            For each its completion, or the error that its asker gets.

        Raises:
            SoaptuneError: The engine cannot answer any of them.
        """
        refusals = [self.check(question) for question in questions]
        accepted = [question for question, refusal in zip(questions, refusals, strict=True) if refusal is None]
        answers = iter(self.answer(accepted))
        return [next(answers) if refusal is None else refusal for refusal in refusals]

    def answer(
        self, questions: Sequence[GenerationRequest], *, wanted: Callable[[int], bool] | None = None
    ) -> list[Completion | Exception]:
        """Answers questions that `check` lets through.

        Args:
            questions: The questions.
            wanted: As in `soaptune.runtime.engines.transformers.TransformersEngine.generate`.

        Returns:
            For each its completion, or the error that its asker gets.

        Raises:
            SoaptuneError: The engine cannot answer any of them.
        """
        completions = self._engine.generate(questions, wanted=wanted)
        return [self._let_through(*pair) for pair in zip(questions, completions, strict=True)]

    def check(self, question: GenerationRequest) -> ApiError | None:
        """Looks at a question, without asking the model.

        Args:
            question: The question.

        Returns:
            Why it is refused, or None.
        """
        tokenizer = self._engine.tokenizer
        try:
            prompt = render_prompt(tokenizer, question.messages)
        except ConfigError:
            return ApiError(
                400, "invalid_messages", "The model's chat template does not take these turns.", param="messages"
            )
        longest = self._engine.max_length
        if len(prompt) > longest * self._most_characters:
            return ApiError(
                400,
                "context_length_exceeded",
                f"The prompt has {len(prompt):,} characters; the model takes {longest} tokens. Nothing is cut here.",
                param="messages",
            )
        tokens = len(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
        needed = 1
        if question.schema is not None:
            if question.schema is not self.schema and not _is_small(question.schema):
                return _unsupported(f"It may have {_MOST_SCHEMA:,} characters, {_DEEPEST_SCHEMA} levels deep.")
            try:
                needed = grammar.shortest_answer(tokenizer, question.schema, stop=self._engine.stop_tokens)
            except EngineError as error:
                return _unsupported(_keywords(str(error)))
        if tokens + needed > longest:
            return ApiError(
                400,
                "context_length_exceeded",
                f"The prompt has {tokens} tokens and its answer at least {needed}; the model takes {longest} tokens "
                f"together. Shorten the messages by {tokens + needed - longest} tokens or more; nothing is cut here.",
                param="messages",
            )
        if question.max_tokens < needed:
            return ApiError(
                400,
                "max_tokens_too_small",
                f"No answer that fits the schema has fewer than {needed} tokens; {question.max_tokens} are allowed.",
                param="max_tokens",
            )
        return None

    def _let_through(self, question: GenerationRequest, completion: Completion) -> Completion | Exception:
        own = question.schema is not None and question.schema is not self.schema
        if completion.error is not None:
            return _unsupported("Keeping an answer to it takes too long.") if own else completion.error
        if question.schema is None:
            return completion
        try:
            if own:
                decode_json(completion.text)
            else:
                parsing.parse(self._spec, completion.text)
        except (AnswerError, ValueError, RecursionError):
            if own:
                return _unsupported("It is too complex to keep an answer to it to its end.")
            return EngineError("the answer does not fit the schema although its decoding was constrained")
        return completion


def _unsupported(why: str) -> ApiError:
    message = f"Decoding cannot be constrained by this JSON Schema. {why}".strip()
    return ApiError(400, "unsupported_schema", message, param="response_format")


def _keywords(error: str) -> str:
    """Which keywords an error of the grammar library names: its other words can be the request's."""
    named = [word for word in re.findall(r"['\"]([A-Za-z$]+)['\"]", error) if word in _KEYWORDS]
    return f"It has to do with: {', '.join(dict.fromkeys(named))}." if named else ""


def _is_small(schema: Mapping[str, Any]) -> bool:
    """Whether a caller's schema is of a size that can be looked at in no time."""
    level: list[Any] = [schema]
    size = 0
    for _ in range(_DEEPEST_SCHEMA):
        following: list[Any] = []
        for node in level:
            size += len(node) + 4 if isinstance(node, str) else 4
            if isinstance(node, Mapping):
                named = cast("Mapping[str, Any]", node)
                size += sum(map(len, named))
                following += named.values()
            elif isinstance(node, list):
                following += cast("list[Any]", node)
        if size > _MOST_SCHEMA:
            return False
        if not following:
            return True
        level = following
    return False
