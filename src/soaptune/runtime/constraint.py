"""Constrained decoding for a batch of which some rows have a schema; the grammar is `soaptune.runtime.grammar`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from soaptune.errors import EngineError
from soaptune.runtime.decoding import Constraint, Row

__all__ = ["constraint"]


def constraint(tokenizer: Any, rows: Sequence[Row], schemas: Sequence[Mapping[str, Any] | None]) -> Constraint | None:
    """What keeps rows to their schemas.

    Args:
        tokenizer: The model's tokenizer.
        rows: The rows of a batch.
        schemas: For each row a JSON Schema, or None where the answer is free.

    Returns:
        A function for `soaptune.runtime.decoding.decode`, or None when no row has a schema.

    Raises:
        EngineError: The grammar library is not installed.
    """
    if all(schema is None for schema in schemas):
        return None
    try:
        grammar: Any = importlib.import_module("soaptune.runtime.grammar")
    except ImportError as error:
        raise EngineError(
            "constrained decoding needs a grammar library; install it with: pip install 'soaptune[serve]'"
        ) from error
    # A processor of its own for each row, since rows leave the batch as they finish.
    processors = {
        id(row): grammar.logits_processor(tokenizer, schema, 1)
        for row, schema in zip(rows, schemas, strict=True)
        if schema is not None
    }

    def constrain(live: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        for index, row in enumerate(live):
            processor = processors.get(id(row))
            if processor is not None:
                so_far = torch.tensor([row.prompt + row.answer], device=logits.device)
                logits[index : index + 1] = processor(so_far, logits[index : index + 1])
        return logits

    return constrain
