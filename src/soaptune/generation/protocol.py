"""What a generator looks like from outside, and how one is found by its import path."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from soaptune.common.arrow import Table, arrow
from soaptune.errors import ConfigError
from soaptune.generation.arrays import numpy
from soaptune.tasks.hooks import load_hook

__all__ = ["ExampleGenerator", "Pools", "load_generator"]

Pools = Literal["standard", "held_out"]
"""Which values and templates rows are made of. Nothing of ``held_out`` occurs in ``standard``."""


@runtime_checkable
class ExampleGenerator(Protocol):
    """Makes examples of one task out of templates. A task names its own as ``"package.module:Class"``.

    The class is made without arguments. A row depends on the seed, the options and its index alone, so that any slice
    of the rows can be made anywhere and is the same as that slice of the whole.
    """

    def levels(self) -> tuple[str, ...]:
        """The verbosity levels that this generator knows, the shortest first."""
        ...

    def columns(
        self,
        *,
        seed: int,
        start: int,
        stop: int,
        verbosity: Mapping[str, float] | None = None,
        pools: Pools = "standard",
    ) -> Table:
        """Makes the rows ``start`` to ``stop - 1``.

        Args:
            seed: Fixes everything.
            start: The first row's index, at least 0.
            stop: The index after the last row's.
            verbosity: Share of the rows at each verbosity level; None for the generator's own mix.
            pools: Which values and templates to use.

        Returns:
            A `pyarrow.Table` with one row for each example: ``id``, the task's input and output fields, ``facts``,
            ``group``, and any further columns as metadata.
        """
        ...


def load_generator(path: str, *, allow_code: Collection[str] = ()) -> ExampleGenerator:
    """Imports a generator's class and makes one.

    Args:
        path: The class as ``"package.module:Class"``.
        allow_code: The modules and packages whose code may run beside soaptune's own.

    Returns:
        The generator.

    Raises:
        ConfigError: The path is malformed or not allowed, cannot be imported, or leads to what is not a generator.
        MissingExtraError: numpy or pyarrow is not installed.
    """
    # First, so that a missing package is not taken for a generator that cannot be imported.
    numpy()
    arrow()
    found: Any = load_hook(path, allow_code=allow_code)
    made: object = found() if isinstance(found, type) else found
    if not isinstance(made, ExampleGenerator):
        raise ConfigError(f"{path!r} is not a generator: it needs the methods columns() and levels().")
    return made
