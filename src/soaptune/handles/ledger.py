"""The row ledger: what became of every input row."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from typing_extensions import Self

from soaptune.common.arrow import Table, arrow, parquet
from soaptune.common.columnar import read_parquet
from soaptune.common.files import write_bytes
from soaptune.errors import DataError

__all__ = ["LedgerRow", "RowFate", "RowLedger"]

RowFate = Literal["kept", "cut", "dropped", "deduplicated", "quarantined", "failed"]
"""What can become of a row. ``cut`` rows are used, but without some of their tokens; the last four are not used."""

_FATES: tuple[RowFate, ...] = get_args(RowFate)
_IN_USE = ("kept", "cut")


class LedgerRow(NamedTuple):
    """One line of the ledger."""

    id: str
    """The row's id, unique in the ledger."""
    split: str
    """The split the row was in when its fate was decided; for kept rows the split they are in."""
    fate: RowFate
    """What became of it."""
    reason: str
    """Why; empty for rows that were kept as they are. Never text of the row."""
    tokens: int
    """How many tokens were cut or dropped; 0 where tokens were not counted."""
    step: str
    """The step that decided (``"load"``, ``"split"``, ``"train"``)."""


class RowLedger:
    """A growing list of rows and their fates. Rows are added once; `reconcile` says whether that was so."""

    def __init__(self) -> None:
        self._rows: list[LedgerRow] = []

    def add(self, id: str, *, split: str, fate: RowFate, reason: str = "", tokens: int = 0, step: str) -> None:
        """Adds one row.

        Args:
            id: The row's id.
            split: The split it belongs to.
            fate: What became of it.
            reason: Why, in few words and without text of the row.
            tokens: How many tokens were cut or dropped.
            step: The step that decided.

        Raises:
            DataError: The fate is not one of `RowFate`, or the number of tokens is negative.
        """
        self.extend([id], split=split, fate=fate, reason=reason, tokens=tokens, step=step)

    def extend(
        self, ids: Sequence[str], *, split: str, fate: RowFate, reason: str = "", tokens: int = 0, step: str
    ) -> None:
        """Adds rows that share a fate; the other arguments are those of `add`."""
        if fate not in _FATES:
            raise DataError(f"{fate!r} is not a fate of a row; the fates are {', '.join(_FATES)}.")
        if tokens < 0:
            raise DataError("A row cannot have lost a negative number of tokens.")
        self._rows.extend(LedgerRow(id, split, fate, reason, tokens, step) for id in ids)

    def merge(self, other: RowLedger) -> RowLedger:
        """The ledger after a further step.

        A row that stands in both has the later fate, with one exception: a row that was cut earlier and then merely
        kept is still a row that was cut. Rows that only one ledger knows are taken over.

        Args:
            other: The ledger of the later step.

        Returns:
            A new ledger; both parts stay as they are.
        """
        merged = {row.id: row for row in self._rows}
        for row in other._rows:
            before = merged.get(row.id)
            if before is not None and before.fate == "cut" and row.fate == "kept":
                row = before._replace(split=row.split)
            merged[row.id] = row
        result = RowLedger()
        result._rows = list(merged.values())
        return result

    def counts(self) -> dict[RowFate, int]:
        """How many rows had each fate, with a 0 for those that none had."""
        found = Counter(row.fate for row in self._rows)
        return {fate: found[fate] for fate in _FATES}

    def in_use(self) -> dict[str, int]:
        """How many rows of each split are used (kept or cut)."""
        return dict(Counter(row.split for row in self._rows if row.fate in _IN_USE))

    def reconcile(self, expected_total: int) -> None:
        """Checks that every input row has exactly one fate.

        Args:
            expected_total: The number of input rows.

        Raises:
            DataError: Rows are missing or too many, or one row has two fates.
        """
        seen = Counter(row.id for row in self._rows)
        twice = sum(count > 1 for count in seen.values())
        if twice:
            raise DataError(f"The row ledger does not reconcile: {twice} row(s) have more than one fate.")
        if len(self._rows) != expected_total:
            counts = ", ".join(f"{fate} {n}" for fate, n in self.counts().items() if n)
            raise DataError(
                f"The row ledger does not reconcile: {expected_total} row(s) went in, "
                f"{len(self._rows)} have a fate ({counts or 'none'})."
            )

    def rows(self) -> tuple[LedgerRow, ...]:
        """All lines, in the order in which they were added."""
        return tuple(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[LedgerRow]:
        return iter(self._rows)

    def table(self) -> Table:
        """The ledger as a `pyarrow.Table` with the columns id, split, fate, reason, tokens and step."""
        pa = arrow()
        names = LedgerRow._fields
        columns: list[Sequence[object]] = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(names)
        schema = pa.schema([(name, pa.int64() if name == "tokens" else pa.string()) for name in names])
        return pa.Table.from_arrays(
            [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
        )

    def write(self, path: str | Path) -> None:
        """Writes the ledger as a Parquet file, whole or not at all."""
        sink = arrow().BufferOutputStream()
        parquet().write_table(self.table(), sink, compression="zstd")
        write_bytes(path, sink.getvalue().to_pybytes())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Reads what `write` wrote.

        Raises:
            DataError: The file is missing, broken or not a ledger.
        """
        try:
            table = read_parquet(path)
            columns: list[list[object]] = [table.column(name).to_pylist() for name in LedgerRow._fields]
        except DataError:
            raise
        except (OSError, ValueError, LookupError) as error:
            raise DataError(f"{path} cannot be read as a row ledger.") from error
        ledger = cls()
        for number, values in enumerate(zip(*columns, strict=True), start=1):
            if not _is_row(values):
                raise DataError(f"{path}, row {number}: this is no row of a ledger.")
            ledger._rows.append(LedgerRow._make(values))
        return ledger

    def _summary(self) -> list[tuple[str, str, str, int, int]]:
        """Step, fate, reason, rows and tokens, one line each; reasons that name another row are told together."""
        rows: Counter[tuple[str, str, str]] = Counter()
        tokens: Counter[tuple[str, str, str]] = Counter()
        for row in self._rows:
            key = (row.step, row.fate, "" if row.fate == "deduplicated" else row.reason)
            rows[key] += 1
            tokens[key] += row.tokens
        return [(*key, count, tokens[key]) for key, count in rows.most_common(20)]

    def __repr__(self) -> str:
        counts = ", ".join(f"{fate}={n}" for fate, n in self.counts().items() if n)
        return f"RowLedger({len(self._rows)} rows{': ' if counts else ''}{counts})"

    def __str__(self) -> str:
        head = ("step", "fate", "reason", "rows", "tokens")
        lines = [head, *((s, f, r, f"{n:,}", f"{t:,}") for s, f, r, n, t in self._summary())]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([repr(self), *table])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{html.escape(s)}</td><td>{f}</td><td>{html.escape(r)}</td><td>{n:,}</td><td>{t:,}</td></tr>"
            for s, f, r, n, t in self._summary()
        )
        head = "<tr><th>step</th><th>fate</th><th>reason</th><th>rows</th><th>tokens</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{cells}</table>"


def _is_row(values: Sequence[object]) -> bool:
    found = dict(zip(LedgerRow._fields, values, strict=True))
    tokens = found.pop("tokens")
    return (
        isinstance(tokens, int)
        and tokens >= 0
        and all(isinstance(text, str) for text in found.values())
        and found["fate"] in _FATES
    )
