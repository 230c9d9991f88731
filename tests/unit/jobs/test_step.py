"""A step checks everything before anything starts, and Ctrl-C does not leave its job behind."""

import logging

import pytest

from soaptune.errors import BackendError, CheckFailed, Violation
from soaptune.jobs.needs import CortexNeed, Needs
from soaptune.jobs.plan import Plan
from soaptune.jobs.step import Step, cancelled_by_interrupt


def finding(code, level="error"):
    return Violation(path="x", code=code, message=f"{code} is not right", level=level)


class Sorter(Step):
    """A step with findings made to order."""

    name: str = "sort"
    wrong: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()

    def check(self):
        return [finding(code) for code in self.wrong]

    def preflight(self, data, *, on):
        assert not self.wrong, "preflight ran although the check had failed"
        return [finding(code) for code in self.missing] + [finding("slow", "warning")]

    def plan(self, data, *, given):
        needs = Needs(cortex=tuple(CortexNeed(model=model) for model in self.asks))
        return Plan(name=self.name, kind="data", files={}, entrypoint=("python", data), needs=needs)

    def compile(self, data, *, on):
        return on.lower(self.plan(data, given=on.capabilities))

    def submit(self, data, *, on, key=None):
        return self._submit(data, on=on, key=key)

    def run(self, data, *, on):
        return self._run(data, on=on)


def test_a_step_runs_to_its_result(memory):
    backend = memory.MemoryBackend(states=["pending", "running", "done"])
    assert Sorter().run("d", on=backend) == "made"
    assert [spec for spec, _ in backend.submitted] == [Sorter().compile("d", on=backend)]


def test_every_run_submits_under_a_key_of_its_own(memory):
    backend = memory.MemoryBackend()
    Sorter().run("d", on=backend)
    Sorter().run("d", on=backend)
    first, second = (key for _, key in backend.submitted)
    assert first
    assert second
    assert first != second


@pytest.mark.parametrize("step", [Sorter(wrong=("a", "b")), Sorter(missing=("a", "b"))])
def test_errors_are_told_all_at_once_before_anything_starts(memory, step):
    backend = memory.MemoryBackend()
    with pytest.raises(CheckFailed, match=r"(?s)Sorter cannot run, 2 thing.*\[a\].*\[b\]"):
        step.run("d", on=backend)
    assert backend.submitted == []


def test_what_the_backend_finds_stops_the_step_too(memory):
    backend = memory.MemoryBackend(findings=[finding("no-such-pool")])
    with pytest.raises(CheckFailed, match="no-such-pool"):
        Sorter().submit("d", on=backend)
    assert backend.submitted == []


def test_what_the_backend_can_never_do_stops_the_step_with_all_else(memory):
    backend = memory.MemoryBackend()
    with pytest.raises(CheckFailed, match=r"(?s)2 thing.*\[needs-snowflake\].*\[a\]"):
        Sorter(asks=("some-model",), missing=("a",)).submit("d", on=backend)
    assert backend.submitted == []


def test_warnings_are_shown_and_stop_nothing(memory, caplog):
    backend = memory.MemoryBackend(findings=[finding("little-disk", "warning")])
    with caplog.at_level(logging.WARNING, logger="soaptune"):
        Sorter().run("d", on=backend)
    assert [record.getMessage().split("]")[0] for record in caplog.records] == [
        "Sorter: warning [slow",
        "Sorter: warning [little-disk",
    ]


def test_the_key_of_a_submission_reaches_the_backend(memory):
    backend = memory.MemoryBackend()
    Sorter().submit("d", on=backend, key="k")
    assert backend.submitted[0][1] == "k"


def test_an_interrupt_cancels_the_job_and_goes_on(memory):
    backend = memory.MemoryBackend(states=["running", KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        Sorter().run("d", on=backend)
    assert backend.last.cancelled


def test_an_interrupt_goes_on_when_the_job_cannot_be_cancelled(memory, monkeypatch, caplog):
    def refuses(_key):
        raise BackendError("the account is gone")

    backend = memory.MemoryBackend()
    monkeypatch.setattr(backend, "find", refuses)
    with pytest.raises(KeyboardInterrupt), cancelled_by_interrupt(backend, "k"):
        raise KeyboardInterrupt
    assert "the account is gone" in caplog.text


def test_an_interrupt_before_the_job_is_known_cancels_it_too(memory, monkeypatch):
    backend = memory.MemoryBackend()
    submit = backend.submit

    def interrupted(*arguments, **how):
        submit(*arguments, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Sorter().run("d", on=backend)
    assert backend.last.cancelled


def test_an_interrupt_during_the_checks_cancels_nothing(memory, monkeypatch):
    backend = memory.MemoryBackend()
    Sorter().submit("d", on=backend, key="k")

    def interrupted(_spec):
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "preflight", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Sorter()._run("d", on=backend, key="k")
    assert not backend.last.cancelled
