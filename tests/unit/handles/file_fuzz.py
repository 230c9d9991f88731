"""Reads files that were damaged at random, in a process of its own.

`python -m tests.unit.handles.file_fuzz SEED FIRST LAST` prints how each ended; whoever
started it looks whether it has lived to its end.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

SPEC: dict[str, Any] = {
    "name": "tickets",
    "system_prompt": "Say what the ticket is about.",
    "user_template": "{ticket}",
    "output_schema": {
        "type": "object",
        "properties": {"title": {"type": "string"}, "urgency": {"type": "integer"}},
        "required": ["title", "urgency"],
    },
    "output_fields": ("title", "urgency"),
    "input_fields": ("ticket",),
}


def damaged(data: bytes, number: int) -> bytes:
    """The data with some bytes changed, or cut off, or with a part of it twice; the same for the same number."""
    draw = random.Random(number)
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        place = draw.randrange(len(made))
        match draw.randrange(6):
            case 0 | 1:
                made[place] = draw.randrange(256)
            case 2:
                made[place] ^= 1 << draw.randrange(8)
            case 3:  # where offsets, lengths and counts lie
                place &= ~7
                made[place : place + 8] = draw.choice((b"\xff" * 8, b"\0" * 8, b"\xff" * 3 + b"\x7f", b"\0\0\0\x40"))
            case 4:
                del made[place:]
                if not made:
                    return b""
            case _:
                made[place:place] = made[max(0, place - 64) : place]
    return bytes(made)


def read(file: Path) -> str:
    from soaptune.errors import SoaptuneError
    from soaptune.handles.dataset import Dataset
    from soaptune.tasks.spec import TaskSpec

    with tempfile.TemporaryDirectory() as into:
        try:
            Dataset.load(file, task=TaskSpec(**SPEC), on_bad_row="ledger", into=Path(into) / "out").verify()
        except SoaptuneError as error:
            return f"refused {type(error).__name__}"
    return "read"


def main(seed: Path, first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, last):
            place = Path(folder) / f"{number}{seed.suffix}"
            if seed.is_dir():
                shutil.copytree(seed, place)
                # Mostly the tables; the small files beside them now and then.
                names = sorted(f for f in place.rglob("*") if f.is_file() and (f.suffix == ".arrow" or not number % 4))
                target = names[number % len(names)]
            else:
                shutil.copy(seed, place)
                target = place
            target.write_bytes(damaged(target.read_bytes(), number))
            print(number, target.name, flush=True)
            print(number, read(place), flush=True)
            shutil.rmtree(place) if place.is_dir() else place.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
