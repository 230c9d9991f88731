"""Constrained decoding for a batch of which some rows have a schema; see `soaptune.runtime.engines.grammar`."""

from __future__ import annotations

import importlib
import math
import time
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


def constraint(rows: Sequence[Row], processors: Sequence[Any], *, seconds: float | None = None) -> Constraint | None:
    """What keeps a batch of rows to their schemas. A row whose schema cannot be followed on gets an error.

    Args:
        rows: The rows of a batch.
        processors: For each row what `processor` gave, or None where the answer is free.
        seconds: How much of this thread's time a row's schema may take before it counts as too complex, since the
            whole batch waits for it; None for as much as it takes.

    Returns:
        A function for `soaptune.runtime.engines.decoding.decode`, or None when no row has a schema.
    """
    if not any(processors):
        return None
    of_row = {id(row): one for row, one in zip(rows, processors, strict=True) if one is not None}
    left = dict.fromkeys(of_row, math.inf if seconds is None else seconds)

    def constrain(live: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        for index, row in enumerate(live):
            one = of_row.get(id(row))
            if one is None:
                continue
            start = time.thread_time()
            try:
                so_far = torch.tensor([row.prompt + row.answer], device=logits.device)
                logits[index : index + 1] = one(so_far, logits[index : index + 1])
                row.closed = bool(one.closed[0])
            except Exception as error:  # whatever it is, it is this row's alone
                row.error = EngineError(f"the answer cannot be kept to its schema ({type(error).__name__})")
            left[id(row)] -= time.thread_time() - start
            if left[id(row)] < 0:
                row.error = EngineError("the schema is too complex: keeping an answer to it takes too long")
        return logits

    return constrain
