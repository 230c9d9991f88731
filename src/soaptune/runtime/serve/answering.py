"""Answering: what the engine is asked, what is refused before, and what is not let through after."""

from __future__ import annotations

from collections.abc import Sequence

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
        self.shortest = grammar.shortest_answer(engine.tokenizer, self.schema, stop=engine.stop_tokens)

    def __call__(self, questions: Sequence[GenerationRequest]) -> list[Completion | Exception]:
        """Answers questions.

        Args:
            questions: The questions.

        Returns:
            For each its completion, or the error that its asker gets.

        Raises:
            SoaptuneError: The engine cannot answer any of them.
        """
        results: dict[int, Completion | Exception] = {}
        accepted: dict[int, GenerationRequest] = {}
        for index, question in enumerate(questions):
            refusal = self._refusal(question)
            if refusal is None:
                accepted[index] = question
            else:
                results[index] = refusal
        completions = self._engine.generate(list(accepted.values()))
        for (index, question), completion in zip(accepted.items(), completions, strict=True):
            results[index] = self._let_through(question, completion)
        return [results[index] for index in range(len(questions))]

    def _refusal(self, question: GenerationRequest) -> ApiError | None:
        tokenizer = self._engine.tokenizer
        try:
            prompt = render_prompt(tokenizer, question.messages)
        except ConfigError:
            return ApiError(
                400, "invalid_messages", "The model's chat template does not take these turns.", param="messages"
            )
        tokens = len(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
        needed = 1
        if question.schema is not None:
            try:
                needed = grammar.shortest_answer(tokenizer, question.schema, stop=self._engine.stop_tokens)
            except EngineError as error:
                return ApiError(400, "unsupported_schema", f"{error}.", param="response_format")
        longest = self._engine.max_length
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
        if completion.error is not None:
            return completion.error
        if question.schema is None:
            return completion
        try:
            if question.schema is self.schema:
                parsing.parse(self._spec, completion.text)
            else:
                decode_json(completion.text)
        except (AnswerError, ValueError, RecursionError):
            return EngineError("the answer does not fit the schema although its decoding was constrained")
        return completion
