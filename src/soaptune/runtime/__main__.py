"""Processes of their own: ``python -m soaptune.runtime run`` is a step's job, ``probe`` answers a preflight."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    # Each is imported only when it is wanted: a preflight waits for its answer.
    if given == ["run"]:
        from soaptune.runtime.run import run

        return run()
    if given == ["probe"]:
        from soaptune.runtime import probe

        return probe.main()
    print("usage: python -m soaptune.runtime run | python -m soaptune.runtime probe < question.json", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
