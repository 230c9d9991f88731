"""Words that error messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'? there are: 'x', 'y')``, to be put after the name that is not known."""
    names = list(known)
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(given.casefold(), list(folded), n=1)
    listed = ", ".join(repr(name) for name in names[:30]) + (", …" if len(names) > 30 else "")
    guess = f"did you mean {folded[near[0]]!r}? " if near else ""
    return f" ({guess}there are: {listed or 'none'})"
