"""The wording of visits: reads the phrase files and compiles them into scripts for the dialogue and the note."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from soaptune.generation.pools import Pool
from soaptune.generation.protocol import Pools
from soaptune.generation.scripts import Phrase, Script, Slots
from soaptune.soap.vocabulary import read_json

__all__ = ["SECTIONS", "compile_scripts", "spread"]

SECTIONS = ("S", "O", "A", "P")
"""The fields of a note."""

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SPEAKERS = {"D: ": "Doctor: ", "P: ": "{who}: "}


def spread(text: str) -> list[str]:
    """All texts that a template with choices stands for.

    Args:
        text: A template in which ``[one|another]`` offers a choice.

    Returns:
        One text for each combination of choices.
    """
    parts = _CHOICE.split(text)
    return [
        "".join(made) for made in itertools.product(*([p] if k % 2 == 0 else p.split("|") for k, p in enumerate(parts)))
    ]


def _phrases(entries: Sequence[str | Mapping[str, Any]]) -> list[Phrase]:
    made: list[Phrase] = []
    for entry in entries:
        text = entry if isinstance(entry, str) else str(entry["text"])
        when: Mapping[str, Sequence[str]] = {} if isinstance(entry, str) else entry.get("when", {})
        wanted = {axis: tuple(values) for axis, values in when.items()}
        made += [Phrase(_with_speakers(one), wanted) for one in spread(text)]
    return made


def _with_speakers(text: str) -> str:
    lines = (_SPEAKERS[line[:3]] + line[3:] if line[:3] in _SPEAKERS else line for line in text.split("\n"))
    # A choice may end a question that the template has already ended.
    return "\n".join(lines).replace("?.", "?")


def compile_scripts(*, pools: Pools, axes: Mapping[str, Sequence[str]], slots: Slots, pool: Pool) -> dict[str, Script]:
    """Compiles the dialogue and the four sections of the note.

    Args:
        pools: Which phrases to use; the standard ones and the held-out ones have none in common.
        axes: The axes that phrases may depend on.
        slots: The slots that phrases may name.
        pool: Where their literal text goes.

    Returns:
        The scripts by name: ``dialogue``, ``S``, ``O``, ``A``, ``P``.
    """
    note = read_json("phrases_note.json")
    sources: dict[str, Any] = {"dialogue": read_json("phrases_dialogue.json"), **{s: note[s] for s in SECTIONS}}
    return {
        name: Script(
            name,
            passages={passage: _phrases(ways[pools]) for passage, ways in source["passages"].items()},
            orders=source["orders"],
            join=source["join"],
            axes=axes,
            slots=slots,
            pool=pool,
        )
        for name, source in sources.items()
    }
