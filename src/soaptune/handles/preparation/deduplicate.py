"""Exact de-duplication, and the inputs that two splits share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from soaptune.common.arrow import Table, arrow
from soaptune.handles.ledger import RowLedger
from soaptune.handles.operations import derived
from soaptune.handles.preparation.digests import digests_of

if TYPE_CHECKING:
    from soaptune.handles.dataset import Dataset
    from soaptune.handles.folder_dataset import FolderDataset

__all__ = ["deduplicate_dataset", "deduplicate_table", "deduplicate_tables", "shared_inputs"]


def deduplicate_table(table: Table, *, fields: Sequence[str], split: str = "train") -> tuple[Table, RowLedger]:
    """Leaves out rows that repeat an earlier one in all the given fields (white space aside).

    Args:
        table: A `pyarrow.Table` with ``id`` and the fields.
        fields: The columns to compare: the task's inputs and outputs.
        split: The split's name, for the ledger.

    Returns:
        The table without the repetitions, and the ledger with the fate of each row.
    """
    tables, ledger = deduplicate_tables({split: table}, fields=fields)
    return tables[split], ledger


def deduplicate_tables(tables: Mapping[str, Table], *, fields: Sequence[str]) -> tuple[dict[str, Table], RowLedger]:
    """Does what `deduplicate_table` does over several splits: of equal rows, the one in the first split stays."""
    first: dict[bytes, str] = {}
    ledger = RowLedger()
    kept: dict[str, Table] = {}
    for split, table in tables.items():
        ids: list[str] = table.column("id").to_pylist()
        rows: list[int] = []
        for row, digest in enumerate(digests_of(table, fields)):
            original = first.setdefault(digest, ids[row])
            if original == ids[row]:
                rows.append(row)
                ledger.add(ids[row], split=split, fate="kept", step="deduplicate")
            else:
                reason = f"equal to row {original}"
                ledger.add(ids[row], split=split, fate="deduplicated", reason=reason, step="deduplicate")
        kept[split] = table.take(arrow().array(rows, arrow().int64()))
    ledger.reconcile(sum(table.num_rows for table in tables.values()))
    return kept, ledger


def shared_inputs(table: Table, against: Table, *, fields: Sequence[str]) -> tuple[str, ...]:
    """The ids of the rows of a table whose given fields equal those of some row of another (white space aside)."""
    known = set(digests_of(against, fields))
    ids: list[str] = table.column("id").to_pylist()
    return tuple(id for id, digest in zip(ids, digests_of(table, fields), strict=True) if digest in known)


def deduplicate_dataset(dataset: Dataset, *, into: str | Path | None) -> FolderDataset:
    """Does what `soaptune.handles.dataset.Dataset.deduplicate` says."""
    tables = {split: dataset.table(split) for split in dataset.splits}
    kept, ledger = deduplicate_tables(tables, fields=dataset.task.fields)
    return derived(dataset, kept, ledger, {"step": "deduplicate"}, into)
