"""The data factory: labelled token rows with every row accounted for, then packs, then batches."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from arctic_training.callback.mixin import callback_wrapper
from arctic_training.config.data import DataConfig
from arctic_training.data.factory import DataFactory
from arctic_training.data.utils import DatasetType
from datasets import Dataset, concatenate_datasets
from pydantic import Field
from torch.utils.data import DataLoader

from soaptune.errors import DataError
from soaptune.handles.ledger import RowFate, RowLedger
from soaptune.prompting.tokens import IGNORE_INDEX
from soaptune.runtime.arctic.batches import Collator, MicroBatches, StepSampler
from soaptune.runtime.arctic.rows import next_fit, tokenize

__all__ = ["SoaptuneDataConfig", "SoaptuneDataFactory", "require_rows_for_ranks"]


class SoaptuneDataConfig(DataConfig):
    """Data options of our factory."""

    ledger_path: Path = Path("../output/ledger.parquet")
    """ Where the fate of every row is written. """

    packing: Literal["none", "next_fit"] = "none"
    """ Whether several rows share one sequence of `max_length` tokens. """

    overlong: Literal["drop", "truncate"] = "drop"
    """ What becomes of rows over `max_length`: left out, or truncated at the end. Both go to the ledger. """

    shuffle: bool = True
    """ Whether rows come in an order drawn from the seed, or as given. """

    batch_tokens: int = Field(default=0, ge=0)
    """ When above 0, batches are made of rows of like length with at most this many tokens, padding included. """

    prompt_loss_weight: float = Field(default=0.0, ge=0.0, le=1.0)
    """ Weight of the prompt's tokens in the loss; 0 trains the answers alone. """

    prompt_loss_sample: float = Field(default=1.0, gt=0.0, le=1.0)
    """ Share of the prompt's tokens whose loss is computed, drawn at random; their weight makes up for it. """


class SoaptuneDataFactory(DataFactory):
    """Makes token rows whose labels are the answers' tokens and their end tokens, nothing else."""

    name = "soaptune_sft"
    config: SoaptuneDataConfig

    def __call__(self) -> tuple[DataLoader[Any], Any]:
        """Loads, tokenizes and batches all sources, and writes the ledger.

        Returns:
            The loaders for training and for evaluation (None without evaluation data).
        """
        self._ledger = RowLedger()
        try:
            return super().__call__()
        finally:  # a run without rows fails, and the ledger has the reasons
            if self.global_rank == 0:
                self._ledger.write(self.config.ledger_path)

    def process(self, dataset: DatasetType) -> DatasetType:
        """Tokenizes and labels rows, leaves out what cannot be used, and notes what became of each.

        Args:
            dataset: Columns ``id`` and ``messages`` or ``text``.

        Returns:
            Columns ``id``, ``input_ids`` and ``labels``.

        Raises:
            ValueError: No row is left.
        """
        assert isinstance(dataset, Dataset)
        rows = dataset.map(
            tokenize,
            batched=True,
            batch_size=256,
            fn_kwargs={
                "tokenizer": self.tokenizer,
                "max_length": self.config.max_length,
                "overlong": self.config.overlong,
            },
            remove_columns=dataset.column_names,
            num_proc=self.config.num_proc if self.config.num_proc > 1 else None,
            desc="Tokenizing",
        )
        fates: list[RowFate] = list(rows["fate"])
        self._note(rows, fates)
        kept = [i for i, fate in enumerate(fates) if fate != "dropped"]
        if not kept:
            reasons = sorted(set(rows["reason"][:]))
            raise ValueError(
                f"no rows left in the split {self._split!r}: all {len(fates)} were dropped ({', '.join(reasons)}; "
                f"max_length {self.config.max_length})"
            )
        if len(kept) < len(fates):
            print(
                f"soaptune: {len(fates) - len(kept)} of {len(fates)} rows dropped, see {self.config.ledger_path}",
                file=sys.stderr,
            )
            rows = rows.select(kept)
        return rows.select_columns(["id", "input_ids", "labels"])

    def _note(self, rows: Dataset, fates: list[RowFate]) -> None:
        split = self._split
        for row_id, fate, reason, lost in zip(rows["id"][:], fates, rows["reason"][:], rows["lost"][:], strict=True):
            self._ledger.add(id=row_id, split=split, fate=fate, reason=reason, tokens=lost, step="train")

    @callback_wrapper("load")
    def load(self, data_sources: list[Any]) -> DatasetType:
        """Loads the sources one after the other and packs their rows.

        Args:
            data_sources: The sources of one split.

        Returns:
            Token rows, or packs of them.

        Raises:
            DataError: There are fewer than ranks.
        """
        parts: list[Any] = []
        for source in data_sources:
            self._split = "validation" if source.config.split == "eval" else source.config.split
            parts.append(source())
        rows = concatenate_datasets(parts)
        if not self._packs:
            require_rows_for_ranks(len(rows), self.world_size, split=self._split, what="rows")
            return rows
        if self.config.shuffle:
            rows = rows.shuffle(seed=self.config.seed)
        packs = next_fit([len(ids) for ids in rows["input_ids"]], self.config.max_length)
        require_rows_for_ranks(len(packs), self.world_size, split=self._split, what="packs of rows")
        return Dataset.from_generator(
            _packed, gen_kwargs={"rows": rows, "packs": packs}, cache_dir=str(self.config.cache_dir / "packs")
        )

    @callback_wrapper("create_dataloader")
    def create_dataloader(self, dataset: DatasetType) -> DataLoader[Any]:
        """Makes the loader of one split.

        Args:
            dataset: Token rows or packs.

        Returns:
            A loader whose batches `Collator` describes.
        """
        rows: Any = dataset
        config = self.config
        lengths = [len(ids) for ids in rows["input_ids"]]
        sampler = StepSampler(
            lengths,
            self._weights(rows, lengths),
            rows=self.micro_batch_size,
            tokens=config.batch_tokens,
            accumulation=self.trainer.config.gradient_accumulation_steps,
            shuffle=config.shuffle,
            seed=config.seed,
            rank=self.global_rank,
            ranks=self.world_size,
        )
        pad: Any = self.tokenizer.pad_token_id
        collator = Collator(
            0 if pad is None else int(pad),
            prompt_weight=config.prompt_loss_weight,
            prompt_sample=config.prompt_loss_sample,
            seed=config.seed,
        )
        # The rows are token ids on disk already: a worker process would cost more than it saves.
        return DataLoader(MicroBatches(rows, collator), sampler=sampler, batch_size=None, collate_fn=_as_it_is)

    def _weights(self, rows: Any, lengths: list[int]) -> list[float]:
        """The weight of each row's or pack's tokens in the loss. `Collator` gives the same weight to each token."""
        weight = self.config.prompt_loss_weight
        firsts = [len(parts) for parts in rows["packed_sample_seqlens"]] if self._packs else [1] * len(lengths)
        found: list[float] = []
        for labels, first in zip(rows["labels"], firsts, strict=True):
            trained = len(labels) - labels.count(IGNORE_INDEX)
            found.append(trained + weight * (len(labels) - trained - first))
        return found

    @property
    def _packs(self) -> bool:
        return self.config.packing != "none"


def require_rows_for_ranks(count: int, ranks: int, *, split: str, what: str) -> None:
    """Refuses a split of which some ranks would get nothing: they would wait for each other for ever.

    The preflight counts the rows that are given; here it is what is left of them.

    Args:
        count: How many there are.
        ranks: How many processes share them.
        split: The split.
        what: What is counted: ``"rows"``.

    Raises:
        DataError: There are fewer than ranks.
    """
    if count < ranks:
        raise DataError(
            f"{count} {what} are left in the split {split!r}, and {ranks} ranks need one each: train on fewer GPUs or "
            'nodes, with more rows, or with packing="none" (the row ledger has what became of each row)'
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _packed(rows: Dataset, packs: list[list[int]]) -> Any:
    for pack in packs:
        part = rows[pack]
        yield {
            "id": "",
            "input_ids": [token for ids in part["input_ids"] for token in ids],
            "labels": [label for labels in part["labels"] for label in labels],
            "packed_sample_seqlens": [len(ids) for ids in part["input_ids"]],
        }
