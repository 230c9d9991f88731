"""A job of a user's own that counts its runs in a SQLite database which outlives it."""

from __future__ import annotations

from typing import Any

from soaptune.jobs.spec import JobSpec

SCRIPT = """\
import os, pathlib, sqlite3
from soaptune.runtime.keeps import kept_folder

folder = kept_folder("answers")
with sqlite3.connect(folder / "cache.db") as database:
    database.execute("CREATE TABLE IF NOT EXISTS runs (name TEXT)")
    database.execute("INSERT INTO runs VALUES (?)", (os.environ["RUN"],))
    print(*(name for (name,) in database.execute("SELECT name FROM runs ORDER BY rowid")))
database.close()
(folder / "parts").mkdir(exist_ok=True)
(folder / "parts" / (os.environ["RUN"] + ".txt")).write_text("left")
(folder / "parts" / "first.txt").unlink() if os.environ["RUN"] == "second" else None
print(*sorted(file.name for file in (folder / "parts").iterdir()))
raise SystemExit(int(os.environ.get("STATUS", "0")))
"""


def keeping(run: str, *, key: str = "v1", **env: str) -> JobSpec:
    """The job.

    Args:
        run: What it writes down of itself.
        key: The key of its kept folder.
        **env: Further environment variables.
    """
    given: dict[str, Any] = {"files": {"main.py": SCRIPT}, "entrypoint": ("python", "main.py")}
    return JobSpec(name="keeping", keeps={"answers": key}, env={"RUN": run, **env}, **given)
