"""Which jobs were started under an idempotency key: the last one counts, those before it were retried."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard, cast

from soaptune.common import files
from soaptune.errors import DataError

__all__ = ["Keys", "is_job_id"]


def is_job_id(text: object) -> TypeGuard[str]:
    """Whether a text can be a job's id, which becomes part of a path; also of ids that a file names."""
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,120}", text) is not None


class Keys:
    """The records of all keys, ``<root>/keys/<sha256>.json`` each: ``{"id": ..., "key": ..., "earlier": [...]}``."""

    def __init__(self, folder: Path) -> None:
        """Names the folder of the records."""
        self._folder = folder

    def file(self, key: str) -> Path:
        """The record of a key."""
        return self._folder / (hashlib.sha256(key.encode()).hexdigest() + ".json")

    def tries(self, key: str) -> tuple[str, ...]:
        """The ids of the jobs under a key, the first one first; empty when there is none.

        Raises:
            DataError: The record was not written here, or is damaged.
        """
        file = self.file(key)
        if not file.is_file():
            return ()
        found: Any = files.read_json(file)
        record = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        earlier: Any = record.get("earlier", [])
        named = [*cast("list[Any]", earlier), record.get("id")] if isinstance(earlier, list) else []
        tries = [one for one in named if is_job_id(one)]
        if not tries or len(tries) != len(named) or record.get("key", key) != key:
            raise DataError(f"{file} is not the record of a key: remove it, and submit under another key")
        return tuple(tries)

    def add(self, key: str, earlier: Sequence[str], job_id: str) -> tuple[str, ...]:
        """Writes down that a job is started under a key.

        Args:
            key: The key.
            earlier: The jobs that were started under it before.
            job_id: The job's id.

        Returns:
            All ids, as `tries` gives them.
        """
        files.write_json(self.file(key), {"id": job_id, "key": key, "earlier": list(earlier)})
        return (*earlier, job_id)
