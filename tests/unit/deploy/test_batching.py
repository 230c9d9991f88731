import threading
import time

import pytest

from soaptune.runtime.serve.batching import Batcher, Overloaded


def test_what_waits_is_answered_together():
    batches, go = [], threading.Event()

    def answer(questions):
        go.wait(5)
        batches.append(len(questions))
        return [question * 2 for question in questions]

    batcher = Batcher(answer, size=4)
    first = batcher.ask(1)
    time.sleep(0.05)  # the first is being answered
    others = [batcher.ask(number) for number in range(2, 8)]
    go.set()
    assert [future.result(5) for future in (first, *others)] == [2, 4, 6, 8, 10, 12, 14]
    assert batches == [1, 4, 2]
    batcher.close()
    assert not batcher.alive


def test_one_question_cannot_spoil_the_answers_of_others():
    def answer(questions):
        if 0 in questions:
            raise ZeroDivisionError
        return questions

    batcher = Batcher(answer, window=0.2)
    futures = [batcher.ask(number) for number in (1, 0, 2)]
    assert futures[0].result(5) == 1
    assert isinstance(futures[1].exception(5), ZeroDivisionError)
    assert futures[2].result(5) == 2
    batcher.close()


def test_a_refusal_is_for_its_asker_alone():
    batcher = Batcher(lambda questions: [KeyError() if q == 0 else q for q in questions], window=0.2)
    futures = [batcher.ask(number) for number in (0, 1)]
    assert isinstance(futures[0].exception(5), KeyError)
    assert futures[1].result(5) == 1
    batcher.close()


def test_too_many_that_wait_are_turned_away():
    go = threading.Event()

    def answer(questions):
        go.wait(5)
        return questions

    batcher = Batcher(answer, size=1, waiting=2)
    first = batcher.ask(0)
    time.sleep(0.05)
    waiting = [batcher.ask(1), batcher.ask(2)]
    with pytest.raises(Overloaded):
        batcher.ask(3)
    go.set()
    assert [future.result(5) for future in (first, *waiting)] == [0, 1, 2]
    batcher.close()


def test_who_has_left_is_not_answered():
    asked, go = [], threading.Event()

    def answer(questions):
        go.wait(5)
        asked.extend(questions)
        return questions

    batcher = Batcher(answer, size=1)
    batcher.ask(0)
    time.sleep(0.05)
    left, stays = batcher.ask(1), batcher.ask(2)
    assert left.cancel()
    go.set()
    assert stays.result(5) == 2
    assert asked == [0, 2]
    batcher.close()


def test_who_leaves_makes_room_at_once():
    go = threading.Event()
    batcher = Batcher(lambda questions: go.wait(5) and questions, size=1, waiting=2)
    first = batcher.ask(0)
    time.sleep(0.05)
    leaving = [batcher.ask(1), batcher.ask(2)]
    with pytest.raises(Overloaded) as caught:
        batcher.ask(3)
    assert caught.value.seconds >= 1
    assert leaving[0].cancel()
    stays = batcher.ask(3)
    go.set()
    assert [first.result(5), leaving[1].result(5), stays.result(5)] == [0, 2, 3]
    batcher.close()


def test_a_batch_that_fails_is_not_tried_one_by_one():
    sizes, go = [], threading.Event()

    def answer(questions):
        go.wait(5)
        sizes.append(len(questions))
        if 0 in questions:
            raise SystemError
        return questions

    batcher = Batcher(answer, size=16, window=0.2)
    futures = [batcher.ask(number) for number in range(16)]
    go.set()
    assert [future.result(5) for future in futures[1:]] == list(range(1, 16))
    assert len(sizes) == 9  # the whole, and two halves at each of four levels
    batcher.close()


def test_what_is_no_exception_does_not_end_the_answering():
    class Panic(BaseException):
        pass

    def answer(questions):
        if 0 in questions:
            raise Panic
        return questions

    batcher = Batcher(answer)
    with pytest.raises(RuntimeError, match="Panic"):
        batcher.ask(0).result(5)
    assert batcher.ask(1).result(5) == 1
    batcher.close()


def test_closing_answers_what_waits():
    batcher = Batcher(lambda questions: questions, window=0.1)
    futures = [batcher.ask(number) for number in range(3)]
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 1, 2]
