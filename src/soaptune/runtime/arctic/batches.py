"""Which rows make a batch, and how a batch is laid out in tensors."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from soaptune.prompting.tokens import IGNORE_INDEX

__all__ = ["BatchSampler", "Collator"]


class BatchSampler(Sampler[list[int]]):
    """Batches of equal work for each rank, by number of rows or by number of tokens.

    With `shuffle` the order is drawn anew for every epoch from the seed; without it rows come in the given order
    (for a curriculum). With a token budget, rows of a window are grouped by length, so that little is padded.
    """

    WINDOW = 20

    def __init__(
        self, lengths: Sequence[int], *, rows: int, tokens: int, shuffle: bool, seed: int, rank: int, ranks: int
    ) -> None:
        self.lengths = list(lengths)
        self.rows, self.tokens, self.shuffle, self.seed, self.rank, self.ranks = (
            rows,
            tokens,
            shuffle,
            seed,
            rank,
            ranks,
        )
        self.epoch = 0
        self._length = len(self._batches(0)) // ranks

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches(self.epoch)
        self.epoch += 1
        # Every epoch has the same number of batches, since the schedule is laid out for that many.
        for index in range(self._length):
            yield batches[(index * self.ranks + self.rank) % len(batches)]

    def _batches(self, epoch: int) -> list[list[int]]:
        rng = random.Random(f"{self.seed}-{epoch}")
        order = list(range(len(self.lengths)))
        if self.shuffle:
            rng.shuffle(order)
        if self.tokens:
            batches = self._of_like_length(order, rng)
        else:
            batches = [order[i : i + self.rows] for i in range(0, len(order), self.rows)]
        # Ranks must make the same number of steps; the last rows are repeated rather than left out.
        while len(batches) % self.ranks:
            batches.append(batches[-1])
        return batches

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

    def __init__(self, pad_token_id: int) -> None:
        self.pad = pad_token_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Makes a batch.

        Args:
            rows: Token rows, or one pack.

        Returns:
            ``input_ids``, ``labels`` and ``real`` (False on padding), each of shape (rows, longest row), with
            ``attention_mask`` for rows or ``position_ids`` and ``packed_sample_seqlens`` for a pack.
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
        if seqlens:
            parts = [torch.arange(n) for n in seqlens]
            batch["position_ids"] = torch.cat(parts).unsqueeze(0)
            batch["packed_sample_seqlens"] = [seqlens]
        else:
            batch["attention_mask"] = torch.ones_like(ids)
        return batch
