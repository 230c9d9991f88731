"""From rows as a file has them to rows as a dataset needs them: columns mapped, values checked, ids given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from soaptune.common import columnar
from soaptune.common.arrow import Table, arrow
from soaptune.common.wording import did_you_mean
from soaptune.errors import AnswerError, DataError
from soaptune.handles.readers.stored import decoded_outputs
from soaptune.handles.readers.values import (
    BAD,
    MISSING,
    Check,
    Form,
    facts_check,
    group_check,
    id_check,
    input_check,
    metadata,
    output_check,
)
from soaptune.tasks.fact import facts_type
from soaptune.tasks.spec import RESERVED_COLUMNS, HasSpec, TaskSpec, as_spec
from soaptune.tasks.task import Task

__all__ = ["RawRows", "Wanted", "wanted_columns", "well_formed"]


@dataclass
class RawRows:
    """The rows of one file. Text formats add them one by one, columnar ones bring a table."""

    file: str
    """The file, as the user named it."""
    columns: dict[str, None] = field(default_factory=dict[str, None])
    """The columns seen, in order."""
    table: Table | None = None
    """The rows of a columnar file."""
    records: list[Mapping[str, Any] | None] = field(default_factory=list[Mapping[str, Any] | None])
    """The rows of a text file; None where a row could not be read at all."""
    lines: list[int | None] = field(default_factory=list[int | None])
    """The line on which each row of a text file begins."""
    bad: dict[int, str] = field(default_factory=dict[int, str])
    """Why a row could not be read, by its index."""
    typed: bool = True
    """Whether the values have types of their own; those of CSV are cells of text."""
    stored: bool = False
    """Whether the source has the mark of a dataset's own files, in which outputs that are no strings are JSON text."""

    @property
    def form(self) -> Form:
        """What the values are, for their checks."""
        if self.table is not None:
            return "columns"
        return "values" if self.typed else "cells"

    def add(self, record: Mapping[str, Any], *, line: int | None) -> None:
        """Adds a row of a text file."""
        columnar.within(self.file, rows=len(self.records) + 1)
        self.columns.update(dict.fromkeys(record))
        self.records.append(record)
        self.lines.append(line)

    def add_bad(self, reason: str, *, line: int | None) -> None:
        """Adds a row that could not be read."""
        columnar.within(self.file, rows=len(self.records) + 1)
        self.bad[len(self.records)] = reason
        self.records.append(None)
        self.lines.append(line)

    @property
    def count(self) -> int:
        """The number of rows, bad ones included."""
        return self.table.num_rows if self.table is not None else len(self.records)

    def where(self, index: int) -> str:
        """``"notes.csv, row 3 (line 7)"``; the first row is row 1."""
        line = self.lines[index] if index < len(self.lines) else None
        return f"{self.file}, row {index + 1}" + ("" if line is None else f" (line {line})")

    def values(self, column: str) -> Sequence[Any]:
        """The values of a column, `MISSING` where a row lacks it."""
        if self.table is None:
            return [MISSING if record is None else record.get(column, MISSING) for record in self.records]
        array = self.table.column(column)
        try:
            # A map comes as pairs unless one asks for what the other formats have.
            return array.to_pylist(maps_as_pydicts="strict") if "map<" in str(array.type) else array.to_pylist()
        except UnicodeDecodeError:
            return [_decoded(value) for value in array.cast(arrow().binary()).to_pylist()]

    def metadata(self, column: str, keep: Sequence[int]) -> Any:
        """A column that is not the task's, as an Arrow array of the rows that are kept."""
        if self.table is None:
            values = self.values(column)
            return metadata([values[index] for index in keep])
        array = self.table.column(column)
        return array if len(keep) == len(array) else array.take(arrow().array(keep, arrow().int64()))


def _decoded(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return BAD


@dataclass(frozen=True)
class Wanted:
    """Which column of a file is which column of the dataset."""

    given: dict[str, str]
    """The mapping as the user gave it: dataset column -> column of the file."""
    allow_empty: frozenset[str]
    """Fields that may be empty."""
    make_ids: bool
    """Whether a column ``id`` of the file is left alone."""

    def column(self, name: str, seen: Collection[str]) -> str | None:
        """The file's column for a column of the dataset, or None when the file is not asked for it."""
        if name in self.given:
            return self.given[name]
        if name == "id" and self.make_ids:
            return None
        return name if name in seen or name not in RESERVED_COLUMNS else None


def wanted_columns(
    spec: TaskSpec, columns: Mapping[str, str], *, allow_empty: Collection[str], make_ids: bool
) -> Wanted:
    """Checks the options that speak of columns.

    Raises:
        DataError: An option names a field that the task does not have.
    """
    known = [*spec.fields, *RESERVED_COLUMNS]
    given: Any = columns
    if not isinstance(given, Mapping):
        field = spec.fields[0] if spec.fields else "id"
        raise DataError(f"columns= maps fields to columns of the file: columns={{{field!r}: ...}}.")
    for name in columns:
        if name not in known:
            swapped = columns[name] in known
            hint = " The keys are the task's fields, the values the file's columns." if swapped else ""
            raise DataError(f"columns= has {name!r}, no field of the task{did_you_mean(name, known)}.{hint}")
    if isinstance(allow_empty, str):
        raise DataError(f"allow_empty= is a collection of fields; for one field: ({allow_empty!r},).")
    for name in allow_empty:
        if name not in spec.fields:
            raise DataError(f"allow_empty= has {name!r}, no field of the task{did_you_mean(name, spec.fields)}.")
    if make_ids and "id" in columns:
        raise DataError("columns= maps 'id', and ids='make' says not to take ids from the file.")
    return Wanted(dict(columns), frozenset(allow_empty), make_ids)


def well_formed(
    rows: RawRows,
    wanted: Wanted,
    *,
    task: TaskSpec | HasSpec,
    split: str,
    bad_rows: Literal["error", "ledger"],
    first: int = 0,
) -> tuple[Table, list[tuple[int, str]]]:
    """The rows of a file in the form of a dataset.

    Args:
        rows: The file's rows.
        wanted: Which column is which.
        task: The task; where it has its class, the class's own validators are asked too.
        split: The split the file becomes, for the ids that are made.
        bad_rows: Whether a row that cannot be used is an error.
        first: How many rows of the split came before these, for the ids that are made.

    Returns:
        The table, and the rows that were left out as (row number counted from 1, reason).

    Raises:
        DataError: A column is missing, or a row cannot be used and that is an error.
    """
    spec = as_spec(task)
    places = _places(rows, wanted, spec)
    bad = dict(rows.bad)
    found = {
        name: [MISSING] * rows.count if column is None else list(rows.values(column)) for name, column in places.items()
    }
    decoded = decoded_outputs(found, spec, marked=rows.stored, skip=rows.bad)
    found.update(decoded)
    for name, column in places.items():
        check = _check_for(name, spec, wanted, "values" if name in decoded else rows.form)
        for index, value in enumerate(found[name]):
            if index in rows.bad:
                continue
            found[name][index], problem = check(value)
            if problem:
                bad.setdefault(index, f"column {column or name!r}: {problem}")
    if isinstance(task, Task):
        _check_records(cast("Task[Any]", task), found, bad, range(rows.count))
    if "id" in places:
        _mark_repeated(found["id"], bad)
    else:
        found["id"] = [f"{split}-{first + index:06d}" for index in range(rows.count)]
    dropped = sorted(bad.items())
    if dropped and bad_rows == "error":
        index, reason = dropped[0]
        more = f" {len(dropped) - 1} more row(s) cannot be used." if len(dropped) > 1 else ""
        raise DataError(f"{rows.where(index)}, {reason}.{more} on_bad_row='ledger' leaves such rows out.")
    keep = [index for index in range(rows.count) if index not in bad]
    return _table(rows, found, places, keep, spec), [(index + 1, reason) for index, reason in dropped]


def _check_records(
    task: Task[Any], found: Mapping[str, list[Any]], bad: dict[int, str], indices: Iterable[int]
) -> None:
    """Has the task's class look at the outputs of each row as a whole, and keeps what it makes of them."""
    if task.output is dict:
        return
    fields = task.output_fields
    for index in indices:
        if index in bad:
            continue
        try:
            stored = task.normalise({field: found[field][index] for field in fields})
        except AnswerError as error:
            bad[index] = f"column {error.field or fields[0]!r}: the class {task.output.__name__} refuses the value"
            continue
        for name, value in stored.items():
            found[name][index] = value


def _places(rows: RawRows, wanted: Wanted, spec: TaskSpec) -> dict[str, str | None]:
    """The file's column for each column of the dataset that the file has or must have."""
    if not rows.columns and rows.bad:
        index, reason = next(iter(rows.bad.items()))
        raise DataError(f"{rows.where(index)}, {reason}. No row of the file can be read.")
    places: dict[str, str | None] = {}
    for name in ("id", *spec.fields, "facts", "group"):
        column = wanted.column(name, rows.columns)
        if column is not None and column in rows.columns:
            places[name] = column
        elif name not in wanted.given and (name in wanted.allow_empty or _has_default(name, spec)):
            places[name] = None
        elif column is not None:
            field_of = "" if column == name else f" for the field {name!r}"
            raise DataError(
                f"{rows.file} has no column {column!r}{field_of}{did_you_mean(column, rows.columns)}. "
                f'A column of another name is mapped with columns={{{name!r}: "..."}}.'
            )
    return places


def _has_default(name: str, spec: TaskSpec) -> bool:
    return name in spec.output_fields and spec.has_default(name)


def _check_for(name: str, spec: TaskSpec, wanted: Wanted, form: Form) -> Check:
    if name == "id":
        return id_check
    if name == "group":
        return group_check
    if name == "facts":
        return facts_check
    may_be_empty = name in wanted.allow_empty
    if name in spec.output_fields:
        return output_check(name, spec, may_be_empty=may_be_empty, form=form)
    return input_check(may_be_empty=may_be_empty)


def _mark_repeated(ids: Sequence[Any], bad: dict[int, str]) -> None:
    first: dict[str, int] = {}
    for index, id in enumerate(ids):
        if index in bad:
            continue
        if id in first:
            bad[index] = f"column 'id': its id is that of row {first[id] + 1} too"
        else:
            first[id] = index


def _table(
    rows: RawRows, found: Mapping[str, list[Any]], places: Mapping[str, str | None], keep: Sequence[int], spec: TaskSpec
) -> Table:
    pa = arrow()
    columns: dict[str, Any] = {}
    for name in ("id", *spec.fields, *(n for n in ("facts", "group") if n in places)):
        kind = facts_type() if name == "facts" else pa.string()
        columns[name] = pa.array([found[name][index] for index in keep], type=kind)
    taken = {column for column in places.values() if column is not None}
    for column in rows.columns:
        if column in taken:
            continue
        name = column
        while name in columns or name in RESERVED_COLUMNS or (name != column and name in rows.columns):
            name = f"original_{name}"  # the file's column is another thing than the dataset's of that name
        columns[name] = rows.metadata(column, keep)
    return pa.table(columns)
