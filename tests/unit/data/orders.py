"""A task of another domain with a generator of its own: short orders in a shop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa


class OrderGenerator:
    """Makes orders; every third row repeats the first."""

    def levels(self) -> tuple[str, ...]:
        return ("short",)

    def columns(
        self,
        *,
        seed: int,
        start: int,
        stop: int,
        verbosity: Mapping[str, float] | None = None,
        pools: str = "standard",
    ) -> Any:
        rows = range(start, stop)
        amounts = [1 if i % 3 == 0 else i + seed for i in rows]
        return pa.table(
            {
                "id": [f"order-{i}" for i in rows],
                "request": [f"I would like {n} chairs." for n in amounts],
                "amount": [str(n) for n in amounts],
            }
        )


class WrongColumns(OrderGenerator):
    def columns(self, **options: Any) -> Any:
        return super().columns(**options).drop_columns(["amount"])
