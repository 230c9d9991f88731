"""Decoding: token by token for a batch of prompts, dropping the rows that are done.

Written for small models on few cores, where the bookkeeping of a general generation loop and the copying of caches cost
more than the model itself (see also `soaptune.runtime.engines.attention`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from soaptune.errors import EngineError
from soaptune.runtime.engines.attention import growing_cache

__all__ = ["Constraint", "Row", "decode"]

_COMPACT_AT = 0.25
"""The share of rows that must be done before the others are moved together."""
_GREEDY_BELOW = 1e-5
"""A temperature below this draws the likeliest token, which logits divided by it could no longer name."""


@dataclass
class Row:
    """One prompt while it is being answered.

    Attributes:
        prompt: Token ids.
        limit: How many tokens the answer may have.
        temperature: 0 for the likeliest token, otherwise the temperature of the draw.
        generator: What random draws come from; None when the temperature is 0.
        answer: Token ids of the answer so far, its end token included.
        stopped: Whether the answer has its end token.
        closed: Whether a constraint led the answer to its end because its tokens ran out.
        error: Why the answer cannot be given; a row's fault is its own, and the others of its batch go on.
        wanted: Says whether somebody still waits for the answer; a row leaves the batch when nobody does.
    """

    prompt: list[int]
    limit: int
    temperature: float = 0.0
    generator: torch.Generator | None = None
    answer: list[int] = field(default_factory=list[int])
    stopped: bool = False
    closed: bool = False
    error: EngineError | None = None
    wanted: Callable[[], bool] | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more is to be generated."""
        if self.stopped or self.error is not None or len(self.answer) >= self.limit:
            return True
        return self.wanted is not None and not self.wanted()


Constraint = Callable[[Sequence[Row], torch.Tensor], torch.Tensor]
"""Takes the rows and their next-token logits, shape (rows, vocabulary), and gives logits with what is not allowed at
minus infinity."""


@torch.inference_mode()
def decode(
    model: Any,
    rows: Sequence[Row],
    *,
    stop: frozenset[int],
    pad: int,
    constrain: Constraint | None = None,
    on_done: Callable[[int], None] | None = None,
) -> None:
    """Answers a batch of prompts, filling `Row.answer`.

    Args:
        model: A causal language model.
        rows: The prompts.
        stop: Ids of the tokens that end an answer.
        pad: The id that fills shorter prompts up on their left; it is masked, any id does.
        constrain: What restricts the next tokens.
        on_done: Called with the number of rows that just became done.
    """
    live = [row for row in rows if not row.done]
    if not live:
        return
    device = model.device
    width = max(len(row.prompt) for row in live)
    # A mask for the longest answer, up to a bound, saves growing the mask at every step.
    mask = torch.zeros(len(live), width + max(row.limit for row in live), dtype=torch.long, device=device)
    ids = torch.full((len(live), width), pad, dtype=torch.long, device=device)
    for index, row in enumerate(live):
        ids[index, width - len(row.prompt) :] = torch.tensor(row.prompt, device=device)
        mask[index, width - len(row.prompt) : width] = 1
    positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)
    cache = growing_cache()
    active = torch.arange(len(live), device=device)  # rows of the tensors that still stand for a live row
    while live:
        out = model(
            input_ids=ids,
            attention_mask=mask[:, :width],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = out.logits[:, -1].float()[active]
        if constrain is not None:
            logits = constrain(live, logits)
        chosen = _choose(live, logits)
        tokens = cast("list[int]", chosen.tolist())  # pyright: ignore[reportUnknownMemberType]
        for row, token in zip(live, tokens, strict=True):
            row.answer.append(token)
            row.stopped = token in stop
        kept = [index for index, row in enumerate(live) if not row.done]
        if on_done is not None and len(kept) < len(live):
            on_done(len(live) - len(kept))
        if not kept:
            return
        live = [live[index] for index in kept]
        chosen, active = chosen[kept], active[kept]
        if len(live) <= (1 - _COMPACT_AT) * len(mask):
            for layer in cache.layers:
                layer.batch_select_indices(active)
            mask, positions = mask[active], positions[active]
            active = torch.arange(len(live), device=device)
        ids = torch.full((len(mask), 1), pad, dtype=torch.long, device=device)
        ids[active, 0] = chosen
        positions = positions[:, -1:] + 1
        mask[:, width] = 1
        width += 1


def _choose(rows: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
    chosen = logits.argmax(-1)
    for index, row in enumerate(rows):
        if row.temperature > _GREEDY_BELOW and row.error is None:
            try:
                shares = torch.softmax(logits[index] / row.temperature, -1).cpu()
                chosen[index] = torch.multinomial(shares, 1, generator=row.generator)[0]
            except RuntimeError:
                row.error = EngineError("no token can be drawn at this temperature")
    return chosen
