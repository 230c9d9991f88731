"""What it costs to import soaptune, and to compile a training spec.

``python -m benchmarks.import_time --json`` prints one JSON object:

- ``import_ms_over_python``: milliseconds that ``import soaptune`` adds to a Python process which does nothing;
  the difference of the medians over fresh processes. At most 150 is what we promise.
- ``compile_ms``: milliseconds of ``TrainSpec.preset("tiny-lora").to_yaml()`` in a process that has imported
  `TrainSpec` before; the median over fresh processes, so that nothing is warm from an earlier call.
- ``runs``: how many fresh processes each median is of.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

COMPILE = """
import time
from soaptune import TrainSpec
start = time.perf_counter()
TrainSpec.preset("tiny-lora").to_yaml()
print((time.perf_counter() - start) * 1e3)
"""


def python(code: str) -> tuple[float, str]:
    """Runs a piece of code in a fresh process, away from the checkout: (milliseconds, what it printed)."""
    with tempfile.TemporaryDirectory() as elsewhere:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, check=True, capture_output=True, text=True)
        return (time.perf_counter() - start) * 1e3, done.stdout


def measure(runs: int) -> dict[str, float]:
    """Measures everything; the three kinds of process take turns, so that a busy moment hits all of them."""
    bare: list[float] = []
    imported: list[float] = []
    compiled: list[float] = []
    python("import soaptune")  # the first one after an installation writes the byte code
    for _ in range(runs):
        bare.append(python("pass")[0])
        imported.append(python("import soaptune")[0])
        compiled.append(float(python(COMPILE)[1]))
    return {
        "import_ms_over_python": round(statistics.median(imported) - statistics.median(bare), 1),
        "compile_ms": round(statistics.median(compiled), 1),
        "runs": runs,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line for people")
    parser.add_argument("--runs", type=int, default=9, help="fresh processes for each figure")
    options = parser.parse_args()
    found = measure(options.runs)
    print(json.dumps(found) if options.json else "  ".join(f"{key}: {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
