"""Which rows are the same: a digest of each row's fields, white space aside."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from soaptune.common.arrow import Table
from soaptune.errors import DataError

__all__ = ["digests_of"]


def digests_of(table: Table, fields: Sequence[str]) -> list[bytes]:
    """One digest per row of the fields' texts, runs of white space counting as one space."""
    for name in fields:
        if name not in table.column_names:
            raise DataError(f"The table has no column {name!r}.")
    columns: list[list[str | None]] = [table.column(name).to_pylist() for name in fields]
    digests: list[bytes] = []
    for values in zip(*columns, strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for value in values:
            text = " ".join((value or "").split()).encode("utf-8")
            digest.update(len(text).to_bytes(8, "little") + text)
        digests.append(digest.digest())
    return digests
