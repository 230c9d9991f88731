"""What a job says of itself is shown, and whatever it says does no harm."""

import builtins
import math
import sys
import types
import warnings
from typing import ClassVar

import pytest
from rich.errors import LiveError
from rich.progress import Progress

from soaptune.errors import BackendError, JobCancelled, JobFailed
from soaptune.jobs import watch as progress
from soaptune.jobs.spec import JobSpec


@pytest.fixture
def job(memory):
    def make(**how):
        return memory.MemoryJob(JobSpec(name="train", entrypoint=("python",)), **how)

    return make


def test_a_line_says_what_people_want_to_know():
    line = progress.read({"done": 3, "total": 10, "unit": "steps", "loss": 1.23456, "tokens_per_s": 2200.4})
    assert (line.done, line.total, line.share) == (3, 10, 0.3)
    assert line.text == "steps  loss 1.235  2,200 tokens/s"
    assert progress.read({"unit": "examples", "phase": "model, answers"}).text == "model, answers: examples"


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"done": None, "total": None},
        {"done": "x", "total": [], "unit": 3, "loss": "high", "tokens_per_s": {}},
        {"done": 5, "total": 0},
        {"done": 5, "total": -1, "loss": math.nan, "tokens_per_s": math.inf},
        {"done": 10**400, "total": -(10**400), "loss": True, "unit": None},
    ],
)
def test_a_strange_line_is_shown_as_far_as_it_makes_sense(line):
    assert progress.read(line).share == 0.0
    assert "loss" not in progress.read(line).text


@pytest.fixture
def minutes(monkeypatch):
    """A clock that the test moves."""
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(
        progress, "time", types.SimpleNamespace(monotonic=lambda: clock.now, sleep=lambda _seconds: None)
    )
    return clock


def watched(made, clock, monkeypatch, *lines):
    """Watches a job that shows one line at each look, each a number of seconds after the one before."""
    looks = iter(lines)

    def look():
        seconds, line = next(looks, (0, lines[-1][1]))
        clock.now += seconds
        return line

    monkeypatch.setattr(made, "progress", look)
    made.states = ["running"] * len(lines) + ["done"]
    progress.watch(made)


def test_without_a_terminal_each_tenth_gets_a_line(job, minutes, monkeypatch, capsys):
    steps = [(0.5, {"done": done, "total": 200, "unit": "steps"}) for done in range(201)]
    watched(job(), minutes, monkeypatch, *steps)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[:2] == ["train: started", "train: 20/200 steps  2.0/s  1:30 left"]
    assert lines[-1] == "train: 200/200 steps  2.0/s"


def test_a_slow_job_gets_a_line_a_minute_with_rate_and_time_left(job, minutes, monkeypatch, capsys):
    lines = [(0, {}), (59, {}), (1, {}), (60, {})]
    lines += [(30, {"done": done, "total": 1000, "unit": "steps", "loss": 2.0}) for done in range(1, 6)]
    watched(job(), minutes, monkeypatch, *lines)
    assert capsys.readouterr().err.splitlines() == [
        "train: started",
        "train: running for 1:00, nothing counted yet",
        "train: running for 2:00, nothing counted yet",
        "train: 2/1000 steps  loss 2.000  2.0/min  8:19:00 left",
        "train: 4/1000 steps  loss 2.000  2.0/min  8:18:00 left",
    ]


def test_each_part_of_a_job_counts_anew(job, minutes, monkeypatch, capsys):
    def line(done, phase):
        return {"done": done, "total": 6, "unit": "examples", "phase": phase}

    looks = [(1, line(done, phase)) for phase in ("base model, answers", "model, answers") for done in (0, 6)]
    watched(job(), minutes, monkeypatch, *looks)
    assert capsys.readouterr().err.splitlines() == [
        "train: started",
        "train: base model, answers: 6/6 examples  6.0/s",
        "train: model, answers: 6/6 examples  6.0/s",
    ]


def test_a_short_job_still_gets_its_last_line(job, capsys):
    progress.watch(job(progress=[{"done": 4, "total": 4, "unit": "rows"}]))
    assert capsys.readouterr().err == "train: started\ntrain: 4/4 rows\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_nobody_listening_does_not_stop_the_run(job, monkeypatch, terminal):
    class Closed:
        encoding = "utf-8"

        def write(self, _text):
            raise BrokenPipeError

        flush = write

        def isatty(self):
            return terminal

    monkeypatch.setenv("TERM", "xterm-256color")
    made = job(states=["running", "running", "done"], progress=[{"done": 1, "total": 1}])
    monkeypatch.setattr(sys, "stderr", Closed())
    progress.watch(made)
    assert made.status == "done"


@pytest.mark.parametrize("forced", ["", "1"])
def test_progress_that_cannot_be_read_does_not_stop_the_run(job, monkeypatch, forced):
    def lost():
        raise ConnectionError

    monkeypatch.setenv("FORCE_COLOR", forced)
    made = job(states=["running", "running", "done"])
    monkeypatch.setattr(made, "progress", lost)
    progress.watch(made)


def test_where_no_bar_can_be_shown_there_are_lines(job, monkeypatch, capsys):
    def refuse(_self):
        raise LiveError("Only one live display may be active at once")  # what rich 13 does inside another display

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(Progress, "start", refuse)
    progress.watch(job(progress=[{"done": 4, "total": 4, "unit": "rows"}]))
    assert capsys.readouterr().err == "train: started\ntrain: 4/4 rows\n"


def test_on_a_terminal_there_is_a_bar_with_the_loss(job, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm-256color")
    line = {"done": 7, "total": 9, "unit": "steps", "loss": 0.5, "tokens_per_s": 100}
    progress.watch(job(states=["running", "running", "done"], progress=[line]))
    shown = capsys.readouterr().err
    assert "train" in shown
    assert "loss 0.500" in shown
    assert "7/9" in shown


@pytest.mark.parametrize("forced", ["", "1"])
def test_a_failure_goes_through_the_display(job, monkeypatch, forced):
    monkeypatch.setenv("FORCE_COLOR", forced)
    with pytest.raises(JobFailed):
        progress.watch(job(states=["running", "failed"], reason="exit status 1"))


class ZMQInteractiveShell:
    """What a notebook's kernel calls its shell; rich knows a notebook by this name."""


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)


def test_a_notebook_without_widgets_gets_plain_lines_and_no_warning(job, notebook, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # not installed
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        progress.watch(job(progress=[{"done": 4, "total": 4, "unit": "rows"}]))
    assert [str(each.message) for each in caught] == []
    assert capsys.readouterr().err == "train: started\ntrain: 4/4 rows\n"


def test_a_notebook_with_widgets_gets_a_bar(job, notebook, monkeypatch, capsys):
    class Output:
        """As ipywidgets' one, as far as rich uses it."""

        shown: ClassVar[list[object]] = []

        def __enter__(self):
            return self

        def __exit__(self, *_error):
            return None

        def clear_output(self, *, wait):
            self.shown.append(wait)

    widgets = types.ModuleType("ipywidgets")
    widgets.Output = Output
    display = types.ModuleType("IPython.display")
    display.display = lambda *_args, **_how: Output.shown.append("displayed")
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    progress.watch(job(states=["running", "running", "done"], progress=[{"done": 4, "total": 4, "unit": "rows"}]))
    assert "displayed" in Output.shown
    assert "train: 4/4" not in capsys.readouterr().err


@pytest.mark.parametrize(("state", "error"), [("failed", JobFailed), ("cancelled", JobCancelled)])
def test_the_end_of_a_job_that_could_not_write_it_is_tracked_once(job, monkeypatch, state, error):
    watched, synced = job(states=["running", state]), []
    monkeypatch.setattr(watched, "sync", lambda: synced.append(watched.status) or True)
    with pytest.raises(error):
        progress.watch(watched)
    assert synced == [state]


def test_a_job_that_is_done_has_tracked_itself(job, monkeypatch):
    watched = job(states=["running", "done"])
    monkeypatch.setattr(watched, "sync", lambda: pytest.fail("its run is there already"))
    progress.watch(watched)


def test_a_tracker_out_of_reach_does_not_hide_why_a_job_failed(job, monkeypatch):
    def out_of_reach():
        raise BackendError("no way to the account")

    watched = job(states=["failed"], reason="exit status 3")
    monkeypatch.setattr(watched, "sync", out_of_reach)
    with pytest.raises(JobFailed, match="exit status 3"):
        progress.watch(watched)


def test_a_job_that_nobody_tracks_has_nothing_to_write(job):
    assert job(states=["failed"]).sync() is False
