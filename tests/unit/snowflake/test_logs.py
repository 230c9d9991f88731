from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soaptune.snowflake.jobs.logs import Reader, fresh


def test_a_growing_log_gives_what_was_added() -> None:
    assert fresh(["a", "b"], ["a", "b", "c"]) == ["c"]


def test_a_window_that_has_moved_on_gives_what_lies_behind_the_overlap() -> None:
    assert fresh(["a", "b", "c"], ["b", "c", "d", "e"]) == ["d", "e"]


def test_a_window_without_overlap_is_new() -> None:
    assert fresh(["a", "b"], ["x", "y"]) == ["x", "y"]


def test_the_whole_log_gives_what_comes_after_the_last_lines_that_were_seen() -> None:
    assert fresh(["c", "d"], ["a", "b", "c", "d", "e"]) == ["e"]


@given(st.integers(32, 60), st.lists(st.integers(0, 30), max_size=12))
def test_every_line_of_a_log_is_given_once_however_it_is_looked_at(window: int, steps: list[int]) -> None:
    log = [f"line {number}" for number in range(sum(steps))]
    reader, taken, end = Reader(), list[str](), 0
    for step in steps:
        end += step
        taken += reader.take("\n".join(log[max(0, end - window) : end]))

    assert taken == log


def test_a_line_many_times_over_is_never_given_twice() -> None:
    reader = Reader()

    assert reader.take("same\nsame") == ["same", "same"]
    assert reader.take("same\nsame\nsame") == []


def test_white_space_that_the_sdk_strips_does_not_make_a_line_new() -> None:
    reader = Reader()

    assert reader.take("indented\n  more") == ["indented", "  more"]
    assert reader.take("  indented\n  more\n") == []


def test_an_empty_log_has_no_lines() -> None:
    assert Reader().take("") == []


def test_a_bar_that_was_redrawn_is_shown_once() -> None:
    assert Reader().take("10%\r50%\r100%\n") == ["100%"]
