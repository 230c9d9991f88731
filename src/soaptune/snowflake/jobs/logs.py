"""The log of a job on Snowflake, which answers with its last lines only: what of an answer is new."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

__all__ = ["Reader", "fresh"]

_REMEMBERED = 2_000


def fresh(seen: Sequence[str], window: Sequence[str]) -> list[str]:
    """The lines of a window that come after those that were seen.

    The window holds the last lines of a growing log, or all of it. Where it can be read in two ways (the same line many
    times over), a line too few is given rather than one twice.

    Args:
        seen: The last lines that were seen.
        window: What the log gives now.

    Returns:
        The new lines.
    """
    if not seen:
        return list(window)
    for end in range(len(window), 0, -1):
        known = min(end, len(seen))
        if window[end - 1] == seen[-1] and list(window[end - known : end]) == list(seen[-known:]):
            return list(window[end:])
    return list(window)


class Reader:
    """Gives each line of a log once, from answers that overlap."""

    def __init__(self) -> None:
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)

    def take(self, text: str) -> list[str]:
        """Reads an answer.

        Args:
            text: The log's end, as it is now. A container's log is kept by lines, so that the last one is complete.

        Returns:
            The lines that were not given before, without their line ends.
        """
        lines = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
        if not lines[-1]:
            lines.pop()
        # Compared without the white space around, which the SDK takes from the first line and the last.
        new = fresh(list(self._seen), [line.strip() for line in lines])
        self._seen.extend(new)
        return lines[len(lines) - len(new) :] if new else []
