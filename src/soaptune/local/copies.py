"""Which jobs and folders below a root hold a dataset's text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from soaptune.handles.deletion import Copy
from soaptune.handles.location import Folder
from soaptune.handles.report import REPORT_FILE
from soaptune.local.cleanup import Stage, manifest_in, read_unchecked, stages
from soaptune.local.environment import left_folders

__all__ = ["copies_of"]


def copies_of(data: Any, root: Path) -> list[Copy]:
    """What is left of a dataset in the folders of jobs, and beside them.

    Known by the dataset's folder and by its fingerprint, which copies and what was made of them carry.

    Args:
        data: The dataset.
        root: The backend's root.

    Returns:
        Whatever holds its text or learned from it; not the dataset itself.
    """
    own = Path(data.location.path).resolve() if isinstance(data.location, Folder) else None
    found: list[Copy] = []
    for stage in stages(root):
        found += _of_job(stage, data.fingerprint, own)
    for store in ("copies", "data"):
        for folder in sorted((root / store).glob("*")):
            if folder.resolve() != own and manifest_in(folder).get("fingerprint") == data.fingerprint:
                found.append(Copy(what="a copy", where=str(folder), remove=f"shutil.rmtree({str(folder)!r})"))
    return found


def _of_job(stage: Stage, fingerprint: str, own: Path | None) -> Iterator[Copy]:
    job_id, output = stage.path.name, stage.path / "output"
    reads = any(_is_it(Path(path).expanduser(), fingerprint, own) for path in stage.inputs)

    def copy(what: str, where: Path, remove: str = f"backend.job({job_id!r}).delete()") -> Copy:
        return Copy(what=f"{what} of the job {job_id}", where=str(where), remove=remove, job=job_id)

    if reads and not stage.ended:
        remove = f"backend.job({job_id!r}).cancel()"
        yield Copy(what=f"the running job {job_id}", where=str(stage.path), remove=remove, job=job_id, running=True)
        return
    if reads:
        for folder in left_folders(stage.path):
            yield copy("a cache", folder, "backend.cleanup()")
    manifest = stage.manifest
    kind = manifest.get("kind")
    if kind == "dataset" and output.resolve() != own and manifest.get("fingerprint") == fingerprint:
        yield copy("the dataset", output)
    elif kind == "dataset" and fingerprint in str(manifest.get("how")):
        yield copy("a dataset that was made of it, the result", output)
    elif kind == "model" and (reads or manifest.get("data_fingerprint") == fingerprint):
        yield copy("a model that learned from it, the result", output)
    elif kind == "report" and (reads or _scored(output) == fingerprint):
        yield copy("answers and inputs in the report", output)
    elif reads:
        yield copy("what was written by a reader of it, the folder", stage.path)
    if reads and stage.spec is not None:
        for name, key in stage.spec.keeps.items():
            kept = stage.path.parents[1] / "keeps" / name / key
            if kept.is_dir():
                yield copy("a kept folder", kept, f"shutil.rmtree({str(kept)!r})")


def _is_it(folder: Path, fingerprint: str, own: Path | None) -> bool:
    return folder.resolve() == own or manifest_in(folder).get("fingerprint") == fingerprint


def _scored(output: Path) -> object:
    """The fingerprint of the dataset that a report is about."""
    found = read_unchecked(output / REPORT_FILE).get("lineage")
    return cast("dict[str, Any]", found).get("data_fingerprint") if isinstance(found, dict) else None
