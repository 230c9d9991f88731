"""Which rows make a batch and which batches an optimizer step, and how a batch is laid out in tensors."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, Sampler

from soaptune.prompting.tokens import IGNORE_INDEX

__all__ = ["Collator", "MicroBatch", "MicroBatches", "StepSampler"]


class MicroBatch(NamedTuple):
    """What one rank computes at once: a part of an optimizer step."""

    items: tuple[int, ...]
    """Indices of its rows, or of its pack."""
    epoch: int
    step_weight: float
    """Weight of all label tokens of the step, of all its micro-batches on all ranks: what the loss is divided by."""
    last: bool
    """Whether the optimizer steps after it."""
    filler: bool
    """Whether it only keeps this rank in step with the others, and is neither trained on nor counted."""


class StepSampler(Sampler[MicroBatch]):
    """Lays out the steps of each epoch: micro-batches by number of rows or of tokens, and `accumulation` per rank.

    Every row takes part in exactly one step of each epoch: the last step of an epoch has the micro-batches that are
    left. With `shuffle` the order is drawn anew for every epoch from the seed; without it rows come in the given order
    (for a curriculum). With a token budget, rows of a window are grouped by length, so that little is padded.
    """

    WINDOW = 20

    def __init__(
        self,
        lengths: Sequence[int],
        weights: Sequence[float],
        *,
        rows: int,
        tokens: int,
        accumulation: int,
        shuffle: bool,
        seed: int,
        rank: int,
        ranks: int,
    ) -> None:
        self.lengths, self.weights = list(lengths), list(weights)
        untrained = sum(weight <= 0 for weight in self.weights)
        if untrained:
            raise ValueError(
                f"no token is trained in {untrained} of {len(self.weights)} rows; check the labels with the row ledger"
            )
        self.rows, self.tokens, self.accumulation = rows, tokens, accumulation
        self.shuffle, self.seed, self.rank, self.ranks = shuffle, seed, rank, ranks
        self.epoch = 0
        self._counts: dict[int, int] = {}

    def steps(self, epoch: int) -> int:
        """How many optimizer steps an epoch has."""
        return math.ceil(self._count(epoch) / (self.accumulation * self.ranks))

    def __len__(self) -> int:
        """How many micro-batches each rank has in the epoch that comes next."""
        whole, left = divmod(self._count(self.epoch), self.accumulation * self.ranks)
        return whole * self.accumulation + math.ceil(left / self.ranks)

    def __iter__(self) -> Iterator[MicroBatch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        batches = self._batches(epoch)
        size = self.accumulation * self.ranks
        # All ranks must compute the same number of micro-batches; the shortest row costs least.
        filler = (min(range(len(self.lengths)), key=self.lengths.__getitem__),)
        for start in range(0, len(batches), size):
            step = batches[start : start + size]
            weight = sum(self.weights[i] for batch in step for i in batch)
            per_rank = math.ceil(len(step) / self.ranks)
            for index in range(per_rank):
                at = index * self.ranks + self.rank
                missing = at >= len(step)
                items = filler if missing else tuple(step[at])
                yield MicroBatch(items, epoch, weight, index == per_rank - 1, missing)

    def _count(self, epoch: int) -> int:
        # Only the order of rows under a token budget changes how many batches there are.
        key = epoch if self.shuffle and self.tokens else 0
        if key not in self._counts:
            self._counts[key] = len(self._batches(key))
        return self._counts[key]

    def _batches(self, epoch: int) -> list[list[int]]:
        rng = random.Random(f"{self.seed}-{epoch}")
        order = list(range(len(self.lengths)))
        if self.shuffle:
            rng.shuffle(order)
        if self.tokens:
            return self._of_like_length(order, rng)
        return [order[i : i + self.rows] for i in range(0, len(order), self.rows)]

    def _of_like_length(self, order: list[int], rng: random.Random) -> list[list[int]]:
        window = max(1, self.WINDOW * self.tokens // max(1, sum(self.lengths) // max(1, len(self.lengths))))
        batches: list[list[int]] = []
        for start in range(0, len(order), window):
            part = sorted(order[start : start + window], key=lambda i: self.lengths[i])
            made = list(self._by_tokens(part))
            rng.shuffle(made)
            batches += made
        return batches

    def _by_tokens(self, order: list[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        longest = 0
        for index in order:
            longest = max(longest, self.lengths[index])
            if batch and longest * (len(batch) + 1) > self.tokens:
                yield batch
                batch, longest = [], self.lengths[index]
            batch.append(index)
        if batch:
            yield batch


class Collator:
    """Lays rows out in tensors of shape (rows, longest row), padded on the right.

    A pack keeps its rows apart by positions that begin anew; unpacked rows need no mask at all, since under causal
    attention what stands to the right of a token cannot change it. The all-ones mask says so to transformers, which
    then takes the fast causal kernel.
    """

    def __init__(
        self, pad_token_id: int, *, prompt_weight: float = 0.0, prompt_sample: float = 1.0, seed: int = 0
    ) -> None:
        self.pad, self.prompt_weight, self.prompt_sample, self.seed = pad_token_id, prompt_weight, prompt_sample, seed

    def __call__(self, rows: Sequence[dict[str, Any]], draws: Sequence[str] = ()) -> dict[str, Any]:
        """Makes a batch.

        Args:
            rows: Token rows, or one pack.
            draws: For each row the name of the draw of its prompt's tokens: the same name, the same tokens.

        Returns:
            ``input_ids``, ``labels``, ``weights`` (of each token's loss in training) and ``real`` (False on padding),
            each of shape (rows, longest row), with ``attention_mask`` for rows or ``position_ids`` and
            ``packed_sample_seqlens`` for a pack; ``weight``, the expected sum of the weights, and ``n_rows``.
        """
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        labels = torch.full((len(rows), width), IGNORE_INDEX, dtype=torch.long)
        real = torch.zeros((len(rows), width), dtype=torch.bool)
        for index, row in enumerate(rows):
            n = len(row["input_ids"])
            ids[index, :n] = torch.as_tensor(row["input_ids"])
            labels[index, :n] = torch.as_tensor(row["labels"])
            real[index, :n] = True
        batch: dict[str, Any] = {"input_ids": ids, "labels": labels, "real": real}
        seqlens = rows[0].get("packed_sample_seqlens")
        first = torch.zeros_like(real)
        first[:, 0] = True
        if seqlens:
            batch["position_ids"] = torch.cat([torch.arange(n) for n in seqlens]).unsqueeze(0)
            batch["packed_sample_seqlens"] = [seqlens]
            first = batch["position_ids"] == 0
        else:
            batch["attention_mask"] = torch.ones_like(ids)
        labels.masked_fill_(first, IGNORE_INDEX)  # nothing in front of a row's first token predicts it
        batch["weights"] = (labels != IGNORE_INDEX).float()
        batch["weight"] = float(batch["weights"].sum())
        if self.prompt_weight > 0:
            self._weigh_prompts(batch, real & ~first & (labels == IGNORE_INDEX), draws)
        return {**batch, "n_rows": len(seqlens or rows)}

    def _weigh_prompts(self, batch: dict[str, Any], prompt: torch.Tensor, draws: Sequence[str]) -> None:
        # By its expected sum, and not by what was drawn: the weight of a whole step is known before its first batch.
        batch["weight"] += self.prompt_weight * int(prompt.sum())
        if self.prompt_sample < 1.0:
            for index, draw in enumerate(draws):
                generator = torch.Generator().manual_seed(random.Random(f"{self.seed}-{draw}").getrandbits(62))
                prompt[index] &= torch.rand(prompt.shape[1], generator=generator) < self.prompt_sample
        batch["weights"][prompt] = self.prompt_weight / self.prompt_sample


class MicroBatches(Dataset[dict[str, Any]]):
    """Token rows or packs, read by `MicroBatch`."""

    def __init__(self, rows: Any, collator: Collator) -> None:
        self.rows, self.collator = rows, collator

    def __getitem__(self, micro: MicroBatch) -> dict[str, Any]:
        """What the collator makes of the rows of a micro-batch, with ``micro``."""
        columns = self.rows[list(micro.items)]
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        batch = self.collator(rows, [f"{micro.epoch}-{item}" for item in micro.items])
        if micro.filler:
            nothing = {"weights": torch.zeros_like(batch["weights"]), "real": torch.zeros_like(batch["real"])}
            labels = torch.full_like(batch["labels"], IGNORE_INDEX)
            batch = {**batch, **nothing, "labels": labels, "weight": 0.0, "n_rows": 0}
        return {**batch, "micro": micro}
