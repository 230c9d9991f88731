"""A split that keeps together what belongs together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from soaptune.common.arrow import Table, arrow
from soaptune.errors import DataError
from soaptune.handles.ledger import RowLedger
from soaptune.handles.operations import derived
from soaptune.handles.preparation.digests import digests_of

if TYPE_CHECKING:
    from soaptune.handles.dataset import Dataset
    from soaptune.handles.folder_dataset import FolderDataset

__all__ = ["Sizes", "split_dataset", "split_table", "target_sizes"]

Sizes: TypeAlias = "str | Sequence[float] | Mapping[str, float]"
"""How large splits are: ``"80/10/10"``, fractions ``(0.8, 0.1, 0.1)``, or rows ``{"train": 800, "test": 100}``."""

_NAMES = ("train", "validation", "test")


def target_sizes(sizes: Sizes, total: int) -> dict[str, int]:
    """How many rows each split should have.

    Args:
        sizes: A string of shares (``"80/10/10"``, ``"8/1/1"``), a sequence, or a mapping from split to size. A
            sequence names ``train``, ``validation`` and ``test``, in that order. Floats are fractions and add up to
            1; whole numbers are rows, and may leave rows over.
        total: The number of rows there are.

    Returns:
        Rows by split. Fractions are rounded so that they add up to ``total``.

    Raises:
        DataError: The sizes cannot be read, are negative, do not add up to 1, or ask for more rows than there are.
    """
    shares: dict[str, float]
    if isinstance(sizes, str):
        if not re.fullmatch(r"\s*\d+(\.\d+)?(\s*/\s*\d+(\.\d+)?){1,2}\s*", sizes):
            raise DataError(f"The sizes {sizes!r} cannot be read; write them as '80/10/10'.")
        parts = [float(part) for part in sizes.split("/")]
        if sum(parts) <= 0:
            raise DataError(f"The sizes {sizes!r} are all zero.")
        shares = {name: part / sum(parts) for name, part in zip(_NAMES, parts, strict=False)}
    else:
        if not isinstance(sizes, Mapping) and len(sizes) > len(_NAMES):
            raise DataError(f"{len(sizes)} sizes were given; name the splits with a mapping {{'train': ...}}.")
        given = dict(sizes) if isinstance(sizes, Mapping) else dict(zip(_NAMES, sizes, strict=False))
        if not given or any(size < 0 for size in given.values()):
            raise DataError("The sizes of splits are positive, and there is at least one.")
        if all(isinstance(size, int) for size in given.values()):
            rows = {name: int(size) for name, size in given.items()}
            if not 0 < sum(rows.values()) <= total:
                raise DataError(f"The sizes ask for {sum(rows.values())} row(s), and there are {total}.")
            return rows
        shares = {name: float(size) for name, size in given.items()}
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise DataError(f"The fractions add up to {sum(shares.values()):g}, not to 1; rows are whole numbers.")
    exact = {name: share * total for name, share in shares.items()}
    found = {name: int(size + 1e-9) for name, size in exact.items()}
    # What rounding down left over goes to those who lost most by it, the first of equals first.
    for name in sorted(exact, key=lambda n: found[n] - exact[n])[: total - sum(found.values())]:
        found[name] += 1
    return found


def split_table(
    table: Table, sizes: Sizes = "80/10/10", *, seed: int = 42, inputs: Sequence[str], group: str = "group"
) -> tuple[dict[str, Table], RowLedger]:
    """Splits rows at random, but never rows that belong together.

    Rows belong together when they share a value of the group column or have the same inputs (white space aside),
    directly or through other rows. Where a row goes depends on the seed and on the rows' inputs, not on their order.
    Sizes are met exactly where all rows stand alone, and as closely as the groups allow otherwise.

    Args:
        table: A `pyarrow.Table` with ``id`` and the input columns.
        sizes: See `target_sizes`.
        seed: Another seed gives another split.
        inputs: The input columns.
        group: The column of scenario ids; it may be missing, and a null in it is no group.

    Returns:
        A table for each split, rows in the order they had, and the ledger with the fate of each row: kept in its
        split, or dropped where the sizes leave it over.

    Raises:
        DataError: The sizes cannot be met, or a column is missing.
    """
    targets = target_sizes(sizes, table.num_rows)
    prefix = f"{seed}\x1f".encode()
    digests = digests_of(table, inputs)
    families = _families(digests, table.column(group).to_pylist() if group in table.column_names else None)
    keys = [hashlib.sha256(prefix + digest).digest() for digest in digests]
    ranked = sorted(families, key=lambda rows: (-len(rows), min(keys[row] for row in rows)))
    placed = _place(ranked, targets, table.num_rows)
    ids: list[str] = table.column("id").to_pylist()
    ledger = RowLedger()
    parts: dict[str, Table] = {}
    for name in targets:
        rows = sorted(placed.get(name, ()))
        parts[name] = table.take(arrow().array(rows, arrow().int64()))
        ledger.extend([ids[row] for row in rows], split=name, fate="kept", step="split")
    left = [ids[row] for row in sorted(placed.get("", ()))]
    ledger.extend(left, split="", fate="dropped", reason="left over by the sizes of the splits", step="split")
    ledger.reconcile(table.num_rows)
    return parts, ledger


def _place(families: Sequence[Sequence[int]], targets: Mapping[str, int], total: int) -> dict[str, list[int]]:
    """Gives each family, the largest first, to the split that is furthest from its size and it fits into."""
    free = {name: size for name, size in targets.items() if size > 0}
    nothing_left_over = sum(free.values()) == total
    placed: dict[str, list[int]] = {}
    for rows in families:
        fitting = [name for name in free if free[name] >= len(rows)]
        if fitting:
            name = max(fitting, key=lambda n: free[n] / targets[n])
        elif nothing_left_over:
            name = max(free, key=lambda n: free[n])
        else:
            name = ""
        placed.setdefault(name, []).extend(rows)
        if name:
            free[name] -= len(rows)
    return placed


def _families(digests: Sequence[bytes], groups: Sequence[str | None] | None) -> list[list[int]]:
    """Row numbers of each set of rows that belong together (union-find over groups and equal inputs)."""
    parent = list(range(len(digests)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[bytes | str, int] = {}
    for row, digest in enumerate(digests):
        mark = groups[row] if groups is not None else None
        for key in (digest, mark):
            if key is not None:
                parent[root(row)] = root(first.setdefault(key, row))
    families: dict[int, list[int]] = {}
    for row in range(len(digests)):
        families.setdefault(root(row), []).append(row)
    return list(families.values())


def split_dataset(dataset: Dataset, sizes: Sizes, *, seed: int, into: str | Path | None) -> FolderDataset:
    """Does what `soaptune.handles.dataset.Dataset.split` says: pools the rows of all splits and splits them anew."""
    tables = [dataset.table(split) for split in dataset.splits]
    pooled = arrow().concat_tables(tables, promote_options="permissive") if len(tables) > 1 else tables[0]
    parts, ledger = split_table(pooled, sizes, seed=seed, inputs=dataset.task.input_fields)
    how = {"step": "split", "sizes": _as_json(sizes), "seed": seed}
    return derived(dataset, parts, ledger, how, into)


def _as_json(sizes: Sizes) -> Any:
    if isinstance(sizes, str):
        return sizes
    return dict(sizes) if isinstance(sizes, Mapping) else list(sizes)
