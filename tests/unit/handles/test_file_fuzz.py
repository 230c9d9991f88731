"""Damaged files of every form: each is read or refused, and none ends the process that reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[3]
ROWS = [
    {
        "ticket": f"the lamp {n} is broken",
        "title": f"lamp {n}",
        "urgency": n % 5,
        "tags": ["a", f"b{n}"],
        "at": {"x": n},
    }
    for n in range(40)
]


def table() -> pa.Table:
    made = pa.Table.from_pylist(ROWS)
    return made.append_column("kind", pa.array([f"k{n % 3}" for n in range(40)]).dictionary_encode())


def arrow_file(path: Path, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(path, table().schema, options=options) as writer:
        writer.write_table(table(), max_chunksize=16)


def arrow_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, table().schema) as writer:
        writer.write_table(table(), max_chunksize=16)


def saved(path: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(path))


SEEDS: dict[str, Callable[[Path], None]] = {
    "file.arrow": arrow_file,
    "packed.arrow": lambda path: arrow_file(path, "zstd"),
    "stream.arrow": arrow_stream,
    "rows.parquet": lambda path: pq.write_table(table(), path),
    "rows.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS)) and None,
    "saved": saved,
}


def survives(seed: str, folder: Path, first: int, last: int) -> None:
    """Reads damaged copies; a process that dies by a signal names the copy that killed it."""
    SEEDS[seed](folder / seed)
    command = [sys.executable, "-m", "tests.unit.handles.file_fuzz", str(folder / seed), str(first), str(last)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"status {done.returncode} at {lines[-1:]}\n{done.stderr[-2000:]}"
    assert len(lines) == 2 * (last - first)
    assert any("refused" in line for line in lines), "nothing was damaged"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, seed: str) -> None:
    survives(seed, tmp_path, 0, 30)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("seed", SEEDS)
def test_thousands_of_damaged_files_are_read_or_refused(tmp_path: Path, seed: str, part: int) -> None:
    survives(seed, tmp_path, 1_000 * (part + 1), 1_000 * (part + 1) + 500)
