"""Asking: a question is checked beside the batch that runs, waits its turn, and is dropped when its asker leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from soaptune.engines import Completion, GenerationRequest
from soaptune.runtime.serve.answering import Answerer
from soaptune.runtime.serve.batching import Batcher, Overloaded
from soaptune.runtime.serve.surface import ApiError

__all__ = ["Asker"]


@dataclass(frozen=True)
class _Question:
    request: GenerationRequest
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits for the answer any more."""


class Asker:
    """Has questions answered by an `Answerer`, many at once.

    Args:
        answerer: Checks and answers.
        waiting: How many questions may wait.
    """

    def __init__(self, answerer: Answerer, *, waiting: int = 512) -> None:
        self._answerer = answerer
        self._batcher: Batcher[_Question, Completion] = Batcher(self._answer, waiting=waiting)
        self._waiting = waiting
        self._checked = 0
        # A caller's own schema can take long to look at; questions without one do not wait behind it.
        self._plain = ThreadPoolExecutor(1, "checking")
        self._own_schema = ThreadPoolExecutor(1, "checking-schemas")

    @property
    def alive(self) -> bool:
        """Whether questions are being answered."""
        return self._batcher.alive

    async def ask(self, request: GenerationRequest) -> Completion:
        """Answers a question. When the task that awaits it is cancelled, nothing more is done for it.

        Raises:
            ApiError: The question is refused, or too many wait.
            EngineError: The engine failed.
        """
        await self._check(request)
        question = _Question(request)
        try:
            future = self._batcher.ask(question)
        except Overloaded as error:
            raise _overloaded(error.seconds) from None
        try:
            return await asyncio.wrap_future(future)
        finally:
            question.gone.set()

    async def _check(self, request: GenerationRequest) -> None:
        if self._checked >= self._waiting:
            raise _overloaded(1)
        own = request.schema is not None and request.schema is not self._answerer.schema
        pool = self._own_schema if own else self._plain
        self._checked += 1
        try:
            refusal = await asyncio.get_running_loop().run_in_executor(pool, self._answerer.check, request)
        finally:
            self._checked -= 1
        if refusal is not None:
            raise refusal

    def close(self) -> None:
        """Ends the threads after the questions that wait now."""
        for pool in (self._plain, self._own_schema):
            pool.shutdown(wait=False, cancel_futures=True)
        self._batcher.close()

    def _answer(self, questions: Sequence[_Question]) -> list[Completion | Exception]:
        return self._answerer.answer(
            [question.request for question in questions], wanted=lambda index: not questions[index].gone.is_set()
        )


def _overloaded(seconds: int) -> ApiError:
    return ApiError(503, "overloaded", "Too many requests wait; try again later.", retry_after=seconds)
