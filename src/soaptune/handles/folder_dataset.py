"""`FolderDataset`: examples as Parquet files in a folder with a manifest and a row ledger.

A dataset folder holds ``<split>.parquet`` for each split, ``ledger.parquet`` and ``manifest.json``. A dataset that is
written is never changed.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from soaptune.common.arrow import Table
from soaptune.common.columnar import read_parquet, schema_of
from soaptune.common.files import MANIFEST
from soaptune.common.inside import inside
from soaptune.errors import DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.handles.ledger import RowLedger
from soaptune.handles.location import InFolder
from soaptune.handles.manifests import open_manifest
from soaptune.handles.storage import FolderFiles

__all__ = ["FolderDataset", "open_dataset"]


class FolderDataset(InFolder, Dataset):
    """A dataset in a folder of this machine."""

    def __init__(self, path: Path, manifest: DatasetManifest) -> None:
        """Use `soaptune.Dataset.open`, `soaptune.Dataset.load` or `soaptune.Dataset.write` instead.

        Args:
            path: The folder.
            manifest: Its manifest.
        """
        super().__init__(manifest)
        self._path = path

    def download(self, path: str | Path) -> FolderDataset:
        """See `soaptune.Dataset.download`."""
        tables = {split: self.table(split) for split in self.splits}
        manifest = self._manifest
        return Dataset.write(
            path, tables, task=self.task, how=manifest.how, ledger=self.ledger, synthetic=manifest.synthetic
        )

    @property
    def ledger(self) -> RowLedger:
        """What became of every input row."""
        return RowLedger.read(inside(self._path, "ledger.parquet"))

    def verify(self) -> None:
        """Reads all rows and checks that they are the ones that the manifest lists.

        Raises:
            DataError: A file cannot be read, or its rows are others than those that were written.
        """
        from soaptune.handles.writing import fingerprint_file, fingerprint_splits

        found = {split: fingerprint_file(self._file(split)) for split in self.splits}
        changed = [split for split in self.splits if found[split] != self._manifest.split_fingerprints.get(split)]
        if changed:
            raise DataError(f"{self._path}: the rows of {', '.join(changed)} are not those that were written.")
        if fingerprint_splits(found) != self.fingerprint:
            raise DataError(f"{self._path}: the fingerprint in {MANIFEST} is not that of the rows.")

    def split(
        self,
        sizes: str | tuple[float, ...] | Mapping[str, float] = "80/10/10",
        *,
        seed: int = 42,
        into: str | Path | None = None,
    ) -> FolderDataset:
        """See `soaptune.Dataset.split`."""
        from soaptune.handles.preparation.split import split_dataset

        return split_dataset(self, sizes, seed=seed, into=into)

    def deduplicate(self, *, into: str | Path | None = None) -> FolderDataset:
        """See `soaptune.Dataset.deduplicate`."""
        from soaptune.handles.preparation.deduplicate import deduplicate_dataset

        return deduplicate_dataset(self, into=into)

    def leakage(self, split: str, *, against: str = "train") -> tuple[str, ...]:
        """See `soaptune.Dataset.leakage`."""
        from soaptune.handles.preparation.deduplicate import shared_inputs

        return shared_inputs(self.table(split), self.table(against), fields=self.task.input_fields)

    def empty_counts(self, split: str, fields: Sequence[str]) -> dict[str, int]:
        """See `soaptune.Dataset.empty_counts`."""
        table = self._read(split, list(fields))
        return {
            field: sum(1 for value in table.column(field).to_pylist() if value is None or not value.strip())
            for field in fields
        }

    def _remove(self, *, dry_run: bool) -> list[str]:
        names = [*(f"{split}.parquet" for split in self.splits), "ledger.parquet", MANIFEST]
        # A name with a path in it would lead out of the folder.
        found = [file for name in names if (file := self._path / name).parent == self._path and os.path.lexists(file)]
        try:
            for file in [] if dry_run else found:
                file.unlink()
            if not dry_run and not any(self._path.iterdir()):
                self._path.rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise DataError(f"{self._path} cannot be removed: {error.strerror}; delete() again goes on") from error
        return [str(file) for file in found]

    def _file(self, split: str) -> Path:
        self._check_split(split)
        return inside(self._path, f"{split}.parquet")

    def _named(self) -> str:
        return "The dataset"

    def _columns(self, split: str) -> list[str]:
        path = self._file(split)
        try:
            return schema_of(path).names
        except (OSError, ValueError) as error:
            raise _unreadable(path) from error

    def _read(self, split: str, columns: list[str] | None) -> Table:
        path = self._file(split)
        try:
            return read_parquet(path, columns=columns, rows=self._manifest.counts.get(split))
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise _unreadable(path) from error

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={count}" for split, count in self._manifest.counts.items())
        return f"Dataset(task={self.task.name!r}, {counts}, path={str(self._path)!r})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(s)}</td><td>{n:,}</td></tr>" for s, n in self._manifest.counts.items())
        note = "<p>Synthetic text: not for clinical decisions.</p>" if self._manifest.synthetic else ""
        fields = ", ".join(self.task.fields)
        return (
            f"<p><b>Dataset</b> for the task {html.escape(self.task.name)} ({html.escape(fields)})</p>"
            f"<table><tr><th>split</th><th>rows</th></tr>{rows}</table>{note}"
            f"<p>{html.escape(str(self._path))}<br>{html.escape(self.fingerprint)}</p>"
        )


def open_dataset(path: str | Path) -> FolderDataset:
    """Opens a dataset folder; see `soaptune.Dataset.open`."""
    folder = Path(path).expanduser()
    if not (folder / MANIFEST).is_file() and (folder / "output" / MANIFEST).is_file():
        folder = folder / "output"
    manifest = open_manifest(FolderFiles(folder), DatasetManifest, hint="Other files load with Dataset.load().")
    for split in manifest.counts:
        if not inside(folder, f"{split}.parquet").is_file():
            raise DataError(f"{folder} is incomplete: the file {split}.parquet is missing.")
    return FolderDataset(folder.absolute(), manifest)


def _unreadable(path: Path) -> DataError:
    return DataError(f"{path} cannot be read; it was changed or cut off after it was written.")
