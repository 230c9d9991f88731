"""Batching: requests that wait while others are answered are answered together, by one thread.

A library would bring a server of its own; all that is needed here is a queue and a thread, since the engine itself
sorts, pads and drops rows.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Batcher", "Overloaded"]

Q = TypeVar("Q")
R = TypeVar("R")


class Overloaded(Exception):
    """More requests wait already than may."""


class Batcher(Generic[Q, R]):
    """Answers questions in batches.

    Args:
        answer: Answers a batch: for each question its answer, or the exception that its asker gets. When it raises,
            the questions of the batch are tried one by one, so that one cannot spoil the answers of the others.
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
        self._queue: queue.Queue[tuple[Q, Future[R]] | None] = queue.Queue(waiting)
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
            A future of its answer.

        Raises:
            Overloaded: Too many questions wait.
        """
        future: Future[R] = Future()
        try:
            self._queue.put_nowait((question, future))
        except queue.Full:
            raise Overloaded from None
        return future

    def close(self) -> None:
        """Ends the thread after the questions that wait now."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            last = self._gather(batch)
            asked = [(question, future) for question, future in batch if future.set_running_or_notify_cancel()]
            for (_, future), result in zip(asked, self._results([question for question, _ in asked]), strict=True):
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            if last:
                return

    def _gather(self, batch: list[tuple[Q, Future[R]]]) -> bool:
        """Adds what comes within the window; True when the thread is to end after this batch."""
        end = time.monotonic() + self._window
        while len(batch) < self._size:
            try:
                item = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return False
            if item is None:
                return True
            batch.append(item)
        return False

    def _results(self, questions: list[Q]) -> list[R | Exception]:
        if not questions:
            return []
        try:
            return list(self._answer(questions))
        except Exception as error:  # whatever it is, somebody waits for an answer
            if len(questions) == 1:
                return [error]
        return [result for question in questions for result in self._results([question])]
