from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soaptune.errors import DataError
from soaptune.handles.ledger import LedgerRow, RowLedger

fates = st.sampled_from(["kept", "cut", "dropped", "deduplicated", "quarantined", "failed"])


def ledger_of(given_fates: dict[str, str], step: str = "a") -> RowLedger:
    ledger = RowLedger()
    for id, fate in given_fates.items():
        ledger.add(id, split="train", fate=fate, step=step)  # type: ignore[arg-type]
    return ledger


def test_a_ledger_reads_back_as_it_was_written(tmp_path: Path) -> None:
    ledger = RowLedger()
    ledger.extend(["a", "b"], split="train", fate="kept", step="load")
    ledger.add("c", split="test", fate="cut", reason="too long", tokens=12, step="train")
    ledger.write(tmp_path / "ledger.parquet")
    again = RowLedger.read(tmp_path / "ledger.parquet")
    assert again.rows() == ledger.rows()
    assert again.rows()[2] == LedgerRow("c", "test", "cut", "too long", 12, "train")
    assert again.counts() == {"kept": 2, "cut": 1, "dropped": 0, "deduplicated": 0, "quarantined": 0, "failed": 0}
    assert again.in_use() == {"train": 2, "test": 1}


def test_an_empty_ledger_reads_back(tmp_path: Path) -> None:
    RowLedger().write(tmp_path / "ledger.parquet")
    assert len(RowLedger.read(tmp_path / "ledger.parquet")) == 0


def test_a_missing_or_broken_ledger_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a row ledger"):
        RowLedger.read(tmp_path / "none.parquet")
    (tmp_path / "half.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as a row ledger"):
        RowLedger.read(tmp_path / "half.parquet")


def test_totals_that_do_not_add_up_are_told() -> None:
    ledger = ledger_of({"a": "kept", "b": "dropped"})
    ledger.reconcile(2)
    with pytest.raises(DataError, match=r"3 row\(s\) went in, 2 have a fate \(kept 1, dropped 1\)"):
        ledger.reconcile(3)
    ledger.add("a", split="train", fate="dropped", step="a")
    with pytest.raises(DataError, match=r"1 row\(s\) have more than one fate"):
        ledger.reconcile(3)


def test_unknown_fates_and_negative_tokens_are_refused() -> None:
    with pytest.raises(DataError, match="'lost' is not a fate"):
        ledger_of({"a": "lost"})
    with pytest.raises(DataError, match="negative"):
        RowLedger().add("a", split="train", fate="cut", tokens=-1, step="a")


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=2), fates), st.dictionaries(st.text(max_size=2), fates))
def test_after_a_merge_every_row_has_one_fate(before: dict[str, str], after: dict[str, str]) -> None:
    merged = ledger_of(before).merge(ledger_of(after, "b"))
    merged.reconcile(len(before | after))
    for row in merged:
        if before.get(row.id) == "cut" and after.get(row.id) == "kept":
            assert row.fate == "cut"
        else:
            assert row.fate == after.get(row.id, before.get(row.id))


def test_it_prints_as_a_table_and_escapes_html() -> None:
    ledger = RowLedger()
    ledger.extend([f"r{i}" for i in range(1200)], split="train", fate="kept", step="load")
    ledger.add("x", split="train", fate="dropped", reason="a <b>", tokens=3, step="load")
    assert repr(ledger) == "RowLedger(1201 rows: kept=1200, dropped=1)"
    assert [line.split() for line in str(ledger).splitlines()[1:]] == [
        ["step", "fate", "reason", "rows", "tokens"],
        ["load", "kept", "1,200", "0"],
        ["load", "dropped", "a", "<b>", "1", "3"],
    ]
    assert "a &lt;b&gt;" in ledger._repr_html_()
