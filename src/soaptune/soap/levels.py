"""The verbosity levels: which passages a visit of each level has, how often, and how long its lists are."""

from __future__ import annotations

from collections.abc import Mapping

from soaptune.errors import ConfigError
from soaptune.generation.arrays import Ints, numpy
from soaptune.soap.vocabulary import read_json

__all__ = ["Levels"]


class Levels:
    """The levels of ``phrases_levels.json`` as arrays.

    Attributes:
        names: The levels, the shortest first.
        mix: The share of rows at each level, unless the caller says otherwise.
        present: By passage, the probability at each level; None for one that is always there.
        counts: By list, the least and most items at each level, shape ``(levels, 2)``.
    """

    def __init__(self) -> None:
        np = numpy()

        source = read_json("phrases_levels.json")
        levels = source["levels"]
        self.names: tuple[str, ...] = tuple(levels)
        self.mix: dict[str, float] = source["mix"]
        passages = read_json("phrases_dialogue.json")["passages"]
        self.present: dict[str, Ints | None] = {
            passage: None
            if passage in source["always"]
            else np.array([levels[name]["present"].get(passage, 0.0) for name in self.names])
            for passage in passages
        }
        self.counts: dict[str, Ints] = {
            item: np.array([levels[name]["counts"][item] for name in self.names])
            for item in levels[self.names[0]]["counts"]
        }

    def weights(self, verbosity: Mapping[str, float] | None) -> list[float]:
        """The share of each level.

        Args:
            verbosity: Shares by level, not negative and not all zero; None for the levels' own.

        Returns:
            One weight for each level.

        Raises:
            ConfigError: A level is unknown, or the shares are not a mix.
        """
        mix = self.mix if verbosity is None else verbosity
        unknown = sorted(set(mix) - set(self.names))
        if unknown:
            raise ConfigError(f"There is no verbosity level {unknown[0]!r}; the levels are {', '.join(self.names)}.")
        weights = [float(mix.get(name, 0.0)) for name in self.names]
        if min(weights) < 0 or sum(weights) <= 0:
            raise ConfigError("The verbosity levels' shares must not be negative, and not all of them zero.")
        return weights
