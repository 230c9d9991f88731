"""``python -m soaptune.runtime probe``: questions that a step's preflight asks a child process."""

from __future__ import annotations

import sys

from soaptune.runtime import probe

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Answers the question on standard input; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given != ["probe"]:
        print("usage: python -m soaptune.runtime probe < question.json", file=sys.stderr)
        return 2
    return probe.main()


if __name__ == "__main__":
    raise SystemExit(main())
