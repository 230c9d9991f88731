"""Constrained decoding for a batch of which some rows have a schema; see `soaptune.runtime.engines.grammar`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from soaptune.errors import EngineError
from soaptune.runtime.engines.decoding import Constraint, Row

__all__ = ["constraint", "processor"]


def processor(tokenizer: Any, schema: Mapping[str, Any], *, limit: int, stop: frozenset[int]) -> Any:
    """What keeps one answer to a schema; each row has its own, since rows leave the batch as they finish.

    Args:
        tokenizer: The model's tokenizer.
        schema: A JSON Schema.
        limit: How many tokens the answer may have.
        stop: Ids of the tokens that end an answer.

    Raises:
        EngineError: The grammar library is not installed, or cannot follow the schema.
    """
    try:
        grammar: Any = importlib.import_module("soaptune.runtime.engines.grammar")
    except ImportError as error:
        raise EngineError(
            "constrained decoding needs a grammar library; install it with: pip install 'soaptune[serve]'"
        ) from error
    return grammar.logits_processor(tokenizer, schema, 1, limit=limit, stop=stop)


def constraint(rows: Sequence[Row], processors: Sequence[Any]) -> Constraint | None:
    """What keeps a batch of rows to their schemas.

    Args:
        rows: The rows of a batch.
        processors: For each row what `processor` gave, or None where the answer is free.

    Returns:
        A function for `soaptune.runtime.engines.decoding.decode`, or None when no row has a schema.
    """
    if not any(processors):
        return None
    of_row = {id(row): one for row, one in zip(rows, processors, strict=True) if one is not None}

    def constrain(live: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        for index, row in enumerate(live):
            one = of_row.get(id(row))
            if one is not None:
                so_far = torch.tensor([row.prompt + row.answer], device=logits.device)
                logits[index : index + 1] = one(so_far, logits[index : index + 1])
                row.closed = bool(one.closed[0])
        return logits

    return constrain
