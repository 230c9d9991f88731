"""Perplexity of reference answers: teacher-forced, over the tokens that training would train, whatever the padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from soaptune.prompting.tokens import IGNORE_INDEX, LabelledRow

__all__ = ["AnswerLoss", "answer_losses"]


@dataclass(frozen=True, slots=True)
class AnswerLoss:
    """What a model makes of one reference answer.

    Attributes:
        loss: The negative log-likelihood of the answer's tokens, summed, in nats.
        tokens: How many tokens that are, the end token included.
    """

    loss: float
    tokens: int


@torch.inference_mode()
def answer_losses(
    model: Any,
    rows: Iterable[LabelledRow],
    *,
    max_length: int,
    batch_size: int = 32,
    batch_tokens: int = 16_384,
    on_progress: Callable[[int], None] | None = None,
) -> list[AnswerLoss | None]:
    """Computes the loss of reference answers.

    Args:
        model: A causal language model.
        rows: Labelled conversations.
        max_length: How many tokens the model takes.
        batch_size: How many rows go through the model together at most.
        batch_tokens: How many tokens they may have together, padding included.
        on_progress: Called with the number of rows that were just finished.

    Returns:
        The loss of each row, in order; None for a row that is too long or has no trained token. Perplexity is
        ``exp(sum of losses / sum of tokens)``.
    """
    given = list(rows)
    losses: list[AnswerLoss | None] = [None] * len(given)
    fit = [i for i, row in enumerate(given) if len(row.input_ids) <= max_length and row.n_trained]
    fit.sort(key=lambda i: len(given[i].input_ids))
    start = 0
    while start < len(fit):
        size = 1
        while (
            start + size < len(fit)
            and size < batch_size
            and len(given[fit[start + size]].input_ids) * (size + 1) <= batch_tokens
        ):
            size += 1
        batch = fit[start : start + size]
        for index, loss in zip(batch, _losses(model, [given[i] for i in batch]), strict=True):
            losses[index] = loss
        start += size
        if on_progress is not None:
            on_progress(size)
    return losses


def _losses(model: Any, rows: Sequence[LabelledRow]) -> list[AnswerLoss]:
    width = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORE_INDEX)
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        ids[index, :length] = torch.tensor(row.input_ids)
        labels[index, :length] = torch.tensor(row.labels)
        mask[index, :length] = 1
    # A causal model does not see what stands behind, so padding on the right changes nothing; logits are computed only
    # from the first trained token on.
    first = max(1, int((labels != IGNORE_INDEX).int().argmax(-1).min()))
    device = model.device
    out = model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        use_cache=False,
        logits_to_keep=width - first + 1,
    )
    targets = labels[:, first:].to(device)
    logits = out.logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, ignore_index=IGNORE_INDEX, reduction="none"
    )
    counts = (targets != IGNORE_INDEX).sum(-1)
    return [AnswerLoss(float(loss), int(count)) for loss, count in zip(losses.double().sum(-1), counts, strict=True)]
