"""How fast the heuristic generator makes examples: ``python -m benchmarks.generate --json``.

Prints one JSON object:

- ``examples_per_s``: examples of the standard mix made in memory per second, facts included, in one process.
- ``bytes_per_s``: bytes of the Arrow table that they make per second.
- ``examples``: how many examples were timed.
- ``bytes_per_example``: bytes of the table per example.
- ``setup_s``: seconds to compile the lexicon and the phrases, once per process; not part of the rates.
"""

from __future__ import annotations

import argparse
import json
import time

from soaptune.generation import load_generator
from soaptune.tasks import SOAP


def measure(examples: int) -> dict[str, float]:
    """Times one run over fresh rows, after a first block that compiles the templates."""
    generator = load_generator(SOAP.hooks["generator"])
    start = time.perf_counter()
    generator.columns(seed=1, start=0, stop=1)
    setup = time.perf_counter() - start
    start = time.perf_counter()
    table = generator.columns(seed=42, start=0, stop=examples)
    seconds = time.perf_counter() - start
    return {
        "examples_per_s": round(examples / seconds, 1),
        "bytes_per_s": round(table.nbytes / seconds, 1),
        "examples": examples,
        "bytes_per_example": round(table.nbytes / examples, 1),
        "setup_s": round(setup, 3),
    }


def main() -> None:
    """Parses the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line")
    parser.add_argument("--examples", type=int, default=100_000, help="how many examples to make")
    options = parser.parse_args()
    print(json.dumps(measure(options.examples), indent=None if options.json else 2))


if __name__ == "__main__":
    main()
