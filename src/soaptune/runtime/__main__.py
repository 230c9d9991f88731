"""What runs in a process of its own: ``python -m soaptune.runtime run`` is a step's job."""

from __future__ import annotations

import sys

from soaptune.runtime.run import run

_COMMANDS = {"run": run}


def main(arguments: list[str]) -> int:
    """Runs a command; returns its exit status."""
    if len(arguments) != 1 or arguments[0] not in _COMMANDS:
        print(f"usage: python -m soaptune.runtime {{{','.join(_COMMANDS)}}}", file=sys.stderr)
        return 2
    return _COMMANDS[arguments[0]]()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
