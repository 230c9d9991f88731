"""Which jobs were started under an idempotency key: the last one counts, those before it were retried."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
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

    def lock(self, file: Path) -> AbstractContextManager[object]:
        """What a process holds while it changes a record; the others wait for it.

        Args:
            file: The record.
        """
        from filelock import FileLock

        files.private_folder(self._folder)
        return FileLock(f"{file}.lock", mode=0o600)

    def tries(self, key: str) -> tuple[str, ...]:
        """The ids of the jobs under a key, the first one first; empty when there is none.

        Raises:
            DataError: The record was not written here, or is damaged.
        """
        file = self.file(key)
        if not file.is_file():
            return ()
        record = _record(file)
        named = _named(record)
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

    def forget(self, job_id: str, *, folder: Path) -> None:
        """Takes a job that was removed out of the records; a key without a job can be used again.

        Args:
            job_id: The job's id.
            folder: Its folder. When it is there after all, the job was submitted again in between.
        """
        for file in self._folder.glob("*.json"):
            with contextlib.suppress(DataError):  # not the record of a key
                if job_id in _named(_record(file)):
                    with self.lock(file):
                        self._take_out(job_id, file, folder)

    def _take_out(self, job_id: str, file: Path, folder: Path) -> None:
        record = _record(file)
        if job_id not in _named(record) or folder.exists():
            return
        if left := [one for one in _named(record) if is_job_id(one) and one != job_id]:
            files.write_json(file, {**record, "id": left[-1], "earlier": left[:-1]})
        else:
            file.unlink(missing_ok=True)


def _record(file: Path) -> dict[str, Any]:
    found: Any = files.read_json(file)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _named(record: dict[str, Any]) -> list[Any]:
    """What a record names as its jobs, the first one first; None among them where it is damaged."""
    earlier: Any = record.get("earlier", [])
    return [*(cast("list[Any]", earlier) if isinstance(earlier, list) else [None]), record.get("id")]
