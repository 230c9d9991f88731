"""Batching: requests that wait while others are answered are answered together, by one thread.

A library would bring a server of its own; all that is needed here is a queue and a thread, since the engine itself
sorts, pads and drops rows. What nobody waits for any more leaves the queue at once.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Batcher", "Overloaded"]

Q = TypeVar("Q")
R = TypeVar("R")

_LONGEST_PAUSE = 60
"""Seconds after which who was turned away should try again at the latest."""


class Overloaded(Exception):
    """More requests wait already than may.

    Attributes:
        seconds: About how long it takes to answer those that wait.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Batcher(Generic[Q, R]):
    """Answers questions in batches.

    Args:
        answer: Answers a batch: for each question its answer, or the exception that its asker gets. When it raises,
            the halves of the batch are tried by themselves, so that one cannot spoil the answers of the others.
        size: How many questions are answered together at most.
        window: Seconds to wait for company after the first question; short, since a batch that runs is a wait itself.
        waiting: How many questions may wait.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[R | Exception]],
        *,
        size: int = 32,
        window: float = 0.005,
        waiting: int = 512,
    ) -> None:
        self._answer = answer
        self._size = size
        self._window = window
        self._limit = waiting
        self._waiting: dict[Future[R], Q] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._pace = 0.0  # seconds of the last batch
        # A daemon, so that a batch that runs cannot keep a process alive that is asked to end.
        self._thread = threading.Thread(target=self._work, name="answering", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether questions are being answered."""
        return self._thread.is_alive()

    def ask(self, question: Q) -> Future[R]:
        """Puts a question into the queue.

        Returns:
            A future of its answer. Cancelling it while it waits takes the question out of the queue.

        Raises:
            Overloaded: Too many questions wait.
        """
        future: Future[R] = Future()
        with self._changed:
            if len(self._waiting) >= self._limit:
                batches = len(self._waiting) / self._size
                raise Overloaded(min(_LONGEST_PAUSE, max(1, math.ceil(batches * self._pace))))
            self._waiting[future] = question
            self._changed.notify()
        future.add_done_callback(self._drop)
        return future

    def close(self) -> None:
        """Ends the thread after the questions that wait now."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _drop(self, future: Future[R]) -> None:
        with self._changed:
            self._waiting.pop(future, None)

    def _work(self) -> None:
        while batch := self._next_batch():
            begin = time.monotonic()
            asked = [(question, future) for future, question in batch if future.set_running_or_notify_cancel()]
            for (_, future), result in zip(asked, self._results([question for question, _ in asked]), strict=True):
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            self._pace = time.monotonic() - begin

    def _next_batch(self) -> list[tuple[Future[R], Q]]:
        """Waits for questions, and a moment for their company; empty when the thread is to end."""
        with self._changed:
            taken: list[tuple[Future[R], Q]] = []
            while not taken and (self._waiting or not self._closed):
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(lambda: len(self._waiting) >= self._size or self._closed, self._window)
                taken = list(itertools.islice(self._waiting.items(), self._size))
            for future, _ in taken:
                del self._waiting[future]
            return taken

    def _results(self, questions: list[Q]) -> list[R | Exception]:
        if not questions:
            return []
        try:
            return list(self._answer(questions))
        except BaseException as error:  # a panic in Rust is no Exception, and somebody waits for an answer
            if len(questions) == 1:
                return [error if isinstance(error, Exception) else RuntimeError(type(error).__name__)]
        half = len(questions) // 2
        return [*self._results(questions[:half]), *self._results(questions[half:])]
