"""The SQL of datasets in tables: what is selected, how rows are ordered, compared and fingerprinted.

Identifiers are quoted by `soaptune.snowflake.names.quote`; a user's query stands in parentheses, as it was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from soaptune.common.fingerprint import fingerprint
from soaptune.handles.location import TableSplit
from soaptune.snowflake.names import literal, quote
from soaptune.snowflake.tables.spec import ACCOUNT_FINGERPRINT, table_of

__all__ = [
    "BUCKETS",
    "digest",
    "fingerprint_query",
    "relation",
    "row_text",
    "rows",
    "rows_fingerprint",
    "split_fingerprint",
    "stored",
    "text",
]

BUCKETS = 3
"""How many hexadecimal digits of a row's hash choose its bucket."""

_SPACES = "".join(map(chr, [*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)])) + (
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Python's `str.split` takes for white space, so that rows that are equal here are equal in a local dataset."""


def relation(source: TableSplit) -> str:
    """What stands behind FROM for a split.

    Args:
        source: The split.
    """
    name = table_of(source)
    if name is not None:
        return name.sql
    # The closing parenthesis on a line of its own: the query may end with a comment.
    return f"(\n{(source.sql or '').strip().rstrip(';')}\n)"


def text(column: str) -> str:
    """A column as text."""
    return f"CAST({quote(column)} AS VARCHAR)"


def stored(column: str, source: TableSplit) -> str:
    """A field's column as the dataset stores its values: see `soaptune.tasks.spec.TaskSpec.encode`.

    Args:
        column: The column of the dataset.
        source: The split.
    """
    own = source.columns[column]
    if not own:
        return literal(source.absent[column])
    value = f"TO_JSON(TO_VARIANT({quote(own)}))" if column in source.values else text(own)
    return f"COALESCE({value}, {literal(source.absent[column])})" if column in source.absent else value


def rows(split: str, source: TableSplit, *, fields: Sequence[str], columns: Iterable[str] | None = None) -> str:
    """A query over a split whose columns have the dataset's names, and ``SOAPTUNE_ROW``, the number of the row.

    Args:
        split: The split's name, for ids that are made.
        source: The split.
        fields: The task's fields, by which rows without order or id are ordered.
        columns: The columns to select; all of them when None. ``id`` is always there.
    """
    known = source.columns
    present = [field for field in fields if field in known]
    by = (
        quote(source.order)
        if source.order
        else ", ".join(text(known[column]) for column in ("id", *present, "group", "facts") if known.get(column))
    )
    number = f"ROW_NUMBER() OVER (ORDER BY {by or '1'}) - 1"
    wanted: list[str] = [*known] if columns is None else [c for c in columns if c in known]
    texts: set[str] = {"id", "group", *fields}
    chosen: list[str] = [f"{number} AS {quote('SOAPTUNE_ROW')}", f"{_id(split, source, number)} AS {quote('id')}"]
    if source.complete:
        wanted += present
    chosen += [
        f"{stored(column, source) if column in texts else quote(known[column])} AS {quote(column)}"
        for column in dict.fromkeys(wanted)
        if column != "id"
    ]
    query = f"SELECT {', '.join(chosen)} FROM {relation(source)} AS {quote('T')}"
    if not source.complete:
        return query
    lacking = " AND ".join(f"TRIM({quote(column)}) <> ''" for column in present if column not in source.absent)
    return f"SELECT * FROM ({query}) AS {quote('C')} WHERE {lacking or 'TRUE'}"


def _id(split: str, source: TableSplit, number: str) -> str:
    if source.made_ids:
        counted = f"CAST({number} AS VARCHAR)"
        # Not LPAD, which would cut off what is longer.
        padded = f"CASE WHEN LENGTH({counted}) < 6 THEN LPAD({counted}, 6, '0') ELSE {counted} END"
        return f"{literal(split + '-')} || {padded}"
    own = text(source.columns["id"])
    return f"{literal(split + '-')} || {own}" if source.prefixed_ids else own


def digest(columns: Sequence[str]) -> str:
    """An expression that is equal for rows whose texts are equal, runs of white space counting as one space.

    Args:
        columns: Columns of the query that `rows` gives.
    """
    spaces = literal(f"[{_SPACES}]+")
    parts = [f"TRIM(REGEXP_REPLACE(COALESCE({quote(column)}, ''), {spaces}, ' '))" for column in columns]
    return f"SHA2({' || '.join(_sized(part) for part in parts)}, 256)"


def _sized(part: str) -> str:
    return f"CAST(LENGTH({part}) AS VARCHAR) || ':' || {part}"


def row_text(values: Sequence[str | None]) -> str:
    """What of a row is hashed: each value with its length before it."""
    return "".join("-" if value is None else f"{len(value)}:{value}" for value in values)


def fingerprint_query(query: str, columns: Sequence[str]) -> str:
    """A query that gives rows and a hash for each bucket of a split; no text leaves the account.

    Args:
        query: What `rows` gave.
        columns: The text columns to hash, sorted.
    """
    parts = [f"COALESCE({_sized(text(column))}, '-')" for column in columns]
    hashed = f"SELECT SHA2({' || '.join(parts)}, 256) AS H FROM ({query}) AS {quote('Q')}"
    return (
        f"SELECT LEFT(H, {BUCKETS}) AS B, COUNT(*) AS N, "
        f"SHA2(LISTAGG(H, '') WITHIN GROUP (ORDER BY H), 256) AS D FROM ({hashed}) GROUP BY LEFT(H, {BUCKETS})"
    )


def rows_fingerprint(texts: Iterable[str]) -> str:
    """The fingerprint that SQL gives for rows, computed here; see `row_text`."""
    buckets: dict[str, list[str]] = {}
    for item in texts:
        hashed = hashlib.sha256(item.encode("utf-8")).hexdigest()
        buckets.setdefault(hashed[:BUCKETS], []).append(hashed)
    return split_fingerprint(
        {b: (len(h), hashlib.sha256("".join(sorted(h)).encode()).hexdigest()) for b, h in buckets.items()}
    )


def split_fingerprint(buckets: Mapping[str, tuple[int, str]]) -> str:
    """The fingerprint of a split from the rows and the hash of each bucket."""
    whole = fingerprint({bucket: [count, hashed] for bucket, (count, hashed) in buckets.items()})
    return ACCOUNT_FINGERPRINT + whole.removeprefix("sha256:")
