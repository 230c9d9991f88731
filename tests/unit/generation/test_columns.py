"""Columns of choices and of text, without a domain."""

from __future__ import annotations

import numpy as np
import pytest

from soaptune.errors import ConfigError, DataError
from soaptune.generation import load_generator
from soaptune.generation.fact_column import fact_column
from soaptune.generation.pools import Pool, Ragged
from soaptune.generation.random import Draws, permutation
from soaptune.generation.scripts import Phrase, Script, Slots


def test_a_draw_depends_on_seed_row_and_name_alone():
    whole = Draws(7, np.arange(1000)).below("colour", 9)
    part = Draws(7, np.arange(300, 400)).below("colour", 9)
    assert (whole[300:400] == part).all()
    assert (whole != Draws(8, np.arange(1000)).below("colour", 9)).any()
    assert (whole != Draws(7, np.arange(1000)).below("shape", 9)).any()


def test_values_of_a_draw_never_change_between_releases():
    assert Draws(42, np.arange(6)).below("x", 1000).tolist() == [965, 387, 248, 756, 243, 427]


def test_draws_stay_in_bounds_and_reach_all_of_them():
    draws = Draws(1, np.arange(5000))
    assert set(draws.below("a", 3)) == {0, 1, 2}
    assert set(draws.between("b", 2, 4)) == {2, 3, 4}
    bound = np.where(np.arange(5000) % 2 == 0, 1, 5)
    assert (draws.below("c", bound) < bound).all()


def test_weights_are_shares():
    picked = Draws(1, np.arange(20_000)).weighted("w", (1, 0, 3))
    counts = np.bincount(picked, minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] / 20_000 - 0.25) < 0.02


def test_certain_things_happen_and_impossible_ones_do_not():
    draws = Draws(1, np.arange(100))
    assert draws.chance("yes", 1.0).all()
    assert not draws.chance("no", 0.0).any()


def test_distinct_draws_do_not_repeat_and_end_where_the_choices_end():
    counts = np.arange(200) % 6
    picked = Draws(3, np.arange(200)).distinct("d", counts, 4)
    for row, count in zip(picked.tolist(), counts.tolist(), strict=True):
        real = [x for x in row if x >= 0]
        assert len(real) == len(set(real)) == min(count, 4)
        assert all(x < count for x in real)


def test_a_permutation_holds_every_number_once():
    order = permutation(5, "cells", 97)
    assert sorted(order.tolist()) == list(range(97))
    assert order.tolist() != permutation(6, "cells", 97).tolist()


def test_a_pool_gives_one_id_for_one_string_and_knows_it_with_a_capital():
    pool = Pool()
    a, b = pool.add("apple"), pool.add("pear")
    assert (pool.add("apple"), a % 2, b % 2) == (a, 0, 0)
    frozen = pool.freeze()
    assert frozen.strings(np.array([a, a + 1, 0, b])).to_pylist() == ["apple", "Apple", "", "pear"]


def test_pieces_are_joined_row_by_row():
    pool = Pool()
    a, b = pool.add("ab"), pool.add("c")
    joined = pool.freeze().joined(np.array([a, b, b, a]), np.array([0, 2, 2, 4]))
    assert joined.to_pylist() == ["abc", "", "cab"]


def test_ragged_lists_give_their_items():
    lists = Ragged([[1, 2], [], [3]])
    assert lists.take(np.array([0, 2]), np.array([1, 0])).tolist() == [2, 3]
    assert lists.take(np.array([0, 1]), np.array([[0, -1], [-1, -1]])).tolist() == [[1, 0], [0, 0]]


def small_script(pool: Pool, slots: Slots, **changes: object) -> Script:
    options = {
        "passages": {
            "greet": [Phrase("Hi {name}.", {"mood": ("good",)}), Phrase("{Name}, hm.", {"mood": ("bad",)})],
            "ask": [Phrase("How is {city}?", {})],
        },
        "orders": [["greet", "ask"]],
        "join": " ",
        "axes": {"mood": ("good", "bad")},
        "slots": slots,
        "pool": pool,
        **changes,
    }
    return Script("letter", **options)  # type: ignore[arg-type]


def test_a_script_writes_all_rows_and_says_where_each_slot_stands():
    pool, slots = Pool(), Slots(["name", "city"])
    script = small_script(pool, slots)
    ann, rome = pool.add("ann"), pool.add("Rome")
    frozen = pool.freeze()
    written = script.write(
        Draws(0, np.arange(3)),
        present={"greet": np.array([True, True, False])},
        axes={"mood": np.array([0, 1, 0])},
        slots=np.array([[ann, rome], [ann, rome], [ann, 0]]),
        pool=frozen,
    )
    assert written.strings(frozen).to_pylist() == ["Hi ann. How is Rome?", "Ann, hm. How is Rome?", "How is ?"]
    assert written.positions.tolist() == [[3, 15], [0, 16], [-1, -1]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"orders": [["greet"]]}, "order must hold"),
        ({"passages": {"greet": [Phrase("x", {"mood": ("good",)})]}, "orders": [["greet"]]}, "no phrase for"),
        ({"passages": {"greet": [Phrase("x", {"mood": ("odd",)})]}, "orders": [["greet"]]}, "does not exist"),
        ({"passages": {"greet": [Phrase("{nobody}", {})]}, "orders": [["greet"]]}, "does not fill"),
    ],
)
def test_a_script_that_cannot_work_says_why(changes: dict[str, object], said: str):
    with pytest.raises(DataError, match=said):
        small_script(Pool(), Slots(["name", "city"]), **changes)


def test_a_fact_that_the_input_does_not_say_is_refused():
    pool, slots = Pool(), Slots(["name", "city"])
    talk = small_script(pool, slots, passages={"ask": [Phrase("Well, {name}.", {})]}, orders=[["ask"]])
    note = small_script(pool, slots, passages={"ask": [Phrase("In {city}.", {})]}, orders=[["ask"]])
    values = np.array([[pool.add("ann"), pool.add("Rome")]])
    frozen, draws = pool.freeze(), Draws(0, np.arange(1))
    texts = [s.write(draws, present={}, axes={}, slots=values, pool=frozen) for s in (talk, note)]
    kinds = ("person", "place")
    with pytest.raises(DataError, match="place"):
        fact_column(
            source="talk",
            said_in=texts[0],
            written_in={"A": texts[1]},
            kinds=kinds,
            said=values,
            written=values,
            pool=frozen,
        )
    found = fact_column(
        source="talk",
        said_in=texts[0],
        written_in={"A": texts[0]},
        kinds=kinds,
        said=values,
        written=values,
        pool=frozen,
    )
    assert found.to_pylist() == [
        [{"field": "A", "kind": "person", "value": "ann", "start": 6, "end": 9, "source": "talk"}]
    ]


@pytest.mark.parametrize(
    "path", ["nonsense", "__main__:Gen", "no.such.module:Gen", "json:loads", "collections:Counter"]
)
def test_what_is_no_generator_is_refused(path: str):
    with pytest.raises((ConfigError, TypeError)):
        load_generator(path, allow_code=("__main__", "no", "json", "collections"))
