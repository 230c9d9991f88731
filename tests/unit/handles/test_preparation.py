from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.preparation.deduplicate import deduplicate_table, shared_inputs
from soaptune.handles.preparation.split import split_table, target_sizes
from soaptune.tasks.spec import TaskSpec

quick = settings(max_examples=60, deadline=None)

# Few different texts and groups, so that rows often share one.
families = st.lists(st.tuples(st.integers(0, 30), st.none() | st.sampled_from("abcdef")), min_size=1, max_size=60)


def table_of(rows: list[tuple[int, str | None]]) -> pa.Table:
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(rows))],
            "text": [f"text {number}" for number, _ in rows],
            "group": pa.array([group for _, group in rows], pa.string()),
        }
    )


def where(parts: dict[str, pa.Table]) -> dict[str, str]:
    return {id: split for split, part in parts.items() for id in part.column("id").to_pylist()}


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        ("80/10/10", 1000, {"train": 800, "validation": 100, "test": 100}),
        ("8/1/1", 10, {"train": 8, "validation": 1, "test": 1}),
        (" 90 / 10 ", 10, {"train": 9, "validation": 1}),
        ((0.8, 0.1, 0.1), 1301, {"train": 1041, "validation": 130, "test": 130}),
        ([0.5, 0.5], 3, {"train": 2, "validation": 1}),
        ({"train": 0.5, "rest": 0.5}, 4, {"train": 2, "rest": 2}),
        ({"train": 3, "test": 1}, 9, {"train": 3, "test": 1}),
        ((8, 1, 1), 10, {"train": 8, "validation": 1, "test": 1}),
        ("80/10/10", 0, {"train": 0, "validation": 0, "test": 0}),
    ],
)
def test_sizes_are_shares_fractions_or_rows(sizes: Any, total: int, expected: dict[str, int]) -> None:
    assert target_sizes(sizes, total) == expected


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("80-10-10", "write them as '80/10/10'"),
        ("0/0/0", "all zero"),
        ((0.8, 0.1), "add up to 0.9"),
        ((80.0, 10.0, 10.0), "add up to 100"),
        ((0.5, 0.2, 0.2, 0.1), "name the splits"),
        ({"train": -1}, "positive"),
        ({"train": 11}, r"ask for 11 row\(s\), and there are 10"),
        ({}, "at least one"),
    ],
)
def test_sizes_that_cannot_be_met_are_refused(sizes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        target_sizes(sizes, 10)


@quick
@given(st.integers(1, 500), st.lists(st.integers(0, 100), min_size=2, max_size=3).filter(any))
def test_shares_add_up_to_all_rows(total: int, shares: list[int]) -> None:
    sizes = target_sizes("/".join(map(str, shares)), total)
    assert sum(sizes.values()) == total
    for size, share in zip(sizes.values(), shares, strict=True):
        assert abs(size - total * share / sum(shares)) < 1


@quick
@given(st.integers(1, 200), st.integers())
def test_rows_that_stand_alone_are_split_exactly(total: int, seed: int) -> None:
    rows: list[tuple[int, str | None]] = [(i, None) for i in range(total)]
    parts, _ = split_table(table_of(rows), "80/10/10", seed=seed, inputs=["text"])
    assert {name: part.num_rows for name, part in parts.items()} == target_sizes("80/10/10", total)


@quick
@given(families, st.integers(0, 9), st.randoms(use_true_random=False))
def test_families_stay_together_whatever_the_order_of_rows(
    rows: list[tuple[int, str | None]], seed: int, chance: random.Random
) -> None:
    table = table_of(rows)
    parts, ledger = split_table(table, "60/20/20", seed=seed, inputs=["text"])
    place = where(parts)
    assert len(place) == len(rows) == ledger.counts()["kept"]
    for column in ("text", "group"):
        homes: dict[str, set[str]] = {}
        for id, value in zip(table.column("id").to_pylist(), table.column(column).to_pylist(), strict=True):
            if value is not None:
                homes.setdefault(value, set()).add(place[id])
        assert all(len(home) == 1 for home in homes.values())
    order = list(range(len(rows)))
    chance.shuffle(order)
    shuffled, _ = split_table(table.take(order), "60/20/20", seed=seed, inputs=["text"])
    assert where(shuffled) == place


@quick
@given(families, st.data())
def test_every_row_has_one_fate_when_sizes_leave_rows_over(
    rows: list[tuple[int, str | None]], data: st.DataObject
) -> None:
    train = data.draw(st.integers(0, len(rows)))
    test = data.draw(st.integers(0 if train else 1, len(rows) - train)) if train < len(rows) else 0
    parts, ledger = split_table(table_of(rows), {"train": train, "test": test}, seed=1, inputs=["text"])
    ledger.reconcile(len(rows))
    assert ledger.counts()["kept"] == sum(part.num_rows for part in parts.values())
    if train + test < len(rows):
        assert parts["train"].num_rows <= train
        assert parts["test"].num_rows <= test
    else:
        assert ledger.counts()["dropped"] == 0


def test_another_seed_gives_another_split_and_rows_keep_their_order() -> None:
    table = table_of([(i, None) for i in range(100)])
    one, two = (split_table(table, "50/50", seed=seed, inputs=["text"])[0] for seed in (1, 2))
    assert where(one) != where(two)
    numbers = [int(id[1:]) for id in one["train"].column("id").to_pylist()]
    assert numbers == sorted(numbers)
    assert numbers != list(range(50))


def test_families_of_several_rows_go_to_every_split() -> None:
    table = table_of([(i, f"g{i // 5}") for i in range(1000)])
    parts, _ = split_table(table, "80/10/10", seed=3, inputs=["text"])
    assert [part.num_rows for part in parts.values()] == [800, 100, 100]


@quick
@given(st.lists(st.sampled_from(["a b", "a  b", " a\nb ", "ab", "c", ""]), max_size=20))
def test_of_equal_rows_the_first_stays(texts: list[str]) -> None:
    table = pa.table({"id": [f"r{i}" for i in range(len(texts))], "text": pa.array(texts, pa.string())})
    kept, ledger = deduplicate_table(table, fields=["text"])
    ledger.reconcile(len(texts))
    normal = [" ".join(text.split()) for text in texts]
    assert kept.column("id").to_pylist() == [f"r{i}" for i, text in enumerate(normal) if text not in normal[:i]]
    for row in ledger:
        if row.fate == "deduplicated":
            original = int(row.reason.removeprefix("equal to row r"))
            assert normal[original] == normal[int(row.id[1:])]


def test_fields_do_not_run_into_each_other() -> None:
    table = pa.table({"id": ["a", "b"], "x": ["1 2", "1"], "y": ["3", "2 3"]})
    assert deduplicate_table(table, fields=["x", "y"])[0].num_rows == 2
    with pytest.raises(DataError, match="no column 'z'"):
        deduplicate_table(table, fields=["z"])


def test_shared_inputs_are_told_by_id() -> None:
    table = pa.table({"id": ["a", "b"], "x": ["one", "two"]})
    against = pa.table({"id": ["c"], "x": [" two\n"]})
    assert shared_inputs(table, against, fields=["x"]) == ("b",)


def test_a_dataset_splits_and_deduplicates_with_its_whole_history(tmp_path: Path, task: TaskSpec) -> None:
    def rows(*names: str, **more: Any) -> pa.Table:
        n = len(names)
        text = [name[0] for name in names]
        return pa.table({"id": list(names), "ticket": text, "title": text, "urgency": ["1"] * n, **more})

    splits = {"train": rows("a", "b", "a2", room=[1, 2, 3]), "test": rows("b2", "c", "d")}
    data = Dataset.write(tmp_path / "data", splits, task=task, how={"step": "test"}, synthetic=True)
    assert data.leakage("test") == ("b2",)
    unique = data.deduplicate()
    assert unique.counts == {"train": 2, "test": 2}
    assert unique.leakage("test") == ()
    assert {row.id: row.reason for row in unique.ledger if row.reason} == {
        "a2": "equal to row a",
        "b2": "equal to row b",
    }
    anew = unique.split({"train": 2, "test": 1}, seed=7, into=tmp_path / "anew")
    anew.ledger.reconcile(6)
    assert Counter(row.fate for row in anew.ledger) == {"kept": 3, "deduplicated": 2, "dropped": 1}
    assert anew.manifest.synthetic
    assert anew.manifest.how["step"] == "split"
    assert anew.manifest.how["sizes"] == {"train": 2, "test": 1}
    assert anew.manifest.how["from"]["how"]["from"]["fingerprint"] == data.fingerprint
    anew.verify()
