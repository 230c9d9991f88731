"""Our trainer types: a loss over the trained tokens alone, a schedule that ends at the last step, and progress."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

# `Union`, since ArcticTraining's registry does not read `X | Y`.
from typing import Any, Union

import torch
import torch.nn.functional as F
from arctic_training.checkpoint.ds_engine import DSCheckpointEngine
from arctic_training.checkpoint.hf_engine import HFCheckpointEngine
from arctic_training.model.hf_factory import HFModelFactory
from arctic_training.model.liger_factory import LigerModelFactory
from arctic_training.optimizer.adam_factory import CPUAdamOptimizerFactory, FusedAdamOptimizerFactory
from arctic_training.scheduler.hf_factory import HFSchedulerFactory
from arctic_training.tokenizer.hf_factory import HFTokenizerFactory
from arctic_training.trainer.causal_trainer import CausalTrainer
from arctic_training.trainer.sft_trainer import SFTTrainer
from arctic_training.trainer.utils import to_device

from soaptune.prompting.tokens import IGNORE_INDEX
from soaptune.runtime.arctic.base_model import BaseModelFactory, used_revision
from soaptune.runtime.arctic.callbacks import ProgressWriter
from soaptune.runtime.arctic.factory import SoaptuneDataFactory
from soaptune.runtime.arctic.optimizers import AdamWFactory, MuonFactory
from soaptune.train.finish import finish_model

__all__ = ["SoaptuneCausalTrainer", "SoaptuneSFTTrainer", "token_loss"]


def token_loss(trainer: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The mean cross entropy over the trained tokens of a batch.

    Logits are computed for trained tokens alone: the language-model head is given just their hidden states, which
    changes neither the loss nor a gradient, and saves most of the head's work and memory.

    Args:
        trainer: The ArcticTraining trainer.
        batch: What `Collator` makes.

    Returns:
        A scalar.

    Raises:
        ValueError: No token of the batch is trained.
    """
    batch = to_device(batch, trainer.device)
    labels, real = batch.pop("labels"), batch.pop("real")
    batch.pop("packed_sample_seqlens", None)
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
    if "position_ids" in batch:  # the last token of a packed row must not predict the next row's first
        starts = F.pad(batch["position_ids"][:, 1:] == 0, (0, 1), value=False)
        targets = targets.masked_fill(starts, IGNORE_INDEX)
    keep = targets != IGNORE_INDEX
    weights = None
    data = trainer.config.data
    if data.prompt_loss_weight > 0 and trainer.model.training:
        following = F.pad(real[:, 1:], (0, 1), value=False) & ~keep
        prompt = following & (torch.rand(keep.shape, device=keep.device) < data.prompt_loss_sample)
        next_ids = F.pad(batch["input_ids"][:, 1:], (0, 1), value=IGNORE_INDEX)
        targets = torch.where(prompt, next_ids, targets)
        weight = data.prompt_loss_weight / data.prompt_loss_sample
        weights = torch.where(keep, 1.0, weight)
        keep = keep | prompt
        weights = weights[keep]
    if not bool(keep.any()):
        raise ValueError("no token of this batch is trained; check the labels with the row ledger")
    head = trainer.model_unwrapped.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _module, args: (args[0][keep], *args[1:]))
    try:
        logits = trainer.model(**batch, use_cache=False).logits
    finally:
        hook.remove()
    losses = F.cross_entropy(logits.float(), targets[keep], reduction="none")
    loss = losses.mean() if weights is None else (losses * weights).sum() / weights.sum()
    trainer.progress.count(int(real.sum()), loss.item(), training=trainer.model.training)
    return loss


def _horizon(trainer: Any) -> int:
    """Optimizer steps of the whole run: ArcticTraining's own count leaves out gradient accumulation."""
    if trainer.config.train_iters:
        return int(trainer.config.train_iters)
    batches = trainer.config.epochs * len(trainer.train_dataloader)
    return max(1, batches // trainer.config.gradient_accumulation_steps)


def _after_init(self: Any) -> None:
    self.progress = ProgressWriter(self)


def _after_step(self: Any) -> None:
    self.progress.step()


def _after_evaluate(self: Any) -> None:
    self.progress.evaluated()


def _after_train(self: Any) -> None:
    """Turns the last checkpoint into the job's model; the manifest is written last, so that it says "complete"."""
    if self.global_rank != 0:
        return
    engine = self.checkpoint_engines[-1]
    finish_model(
        engine.checkpoint_dir,
        training=self.progress.totals(),
        base_revision=used_revision(self.config.model.name_or_path),
    )


_CALLBACKS = [
    ("post-init", _after_init),
    ("post-step", _after_step),
    ("post-evaluate", _after_evaluate),
    ("post-train", _after_train),
]


class SoaptuneSFTTrainer(SFTTrainer):
    """Supervised fine-tuning on our token rows."""

    name = "soaptune_sft"
    data_factory: SoaptuneDataFactory
    model_factory: Union[BaseModelFactory, HFModelFactory, LigerModelFactory]  # noqa: UP007
    checkpoint_engine: Union[DSCheckpointEngine, HFCheckpointEngine]  # noqa: UP007
    optimizer_factory: Union[AdamWFactory, MuonFactory, FusedAdamOptimizerFactory, CPUAdamOptimizerFactory]  # noqa: UP007
    scheduler_factory: HFSchedulerFactory
    tokenizer_factory: HFTokenizerFactory
    callbacks = _CALLBACKS

    training_horizon = property(_horizon)

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """See `token_loss`."""
        return token_loss(self, batch)


class SoaptuneCausalTrainer(CausalTrainer):
    """Continued pre-training on our token rows."""

    name = "soaptune_causal"
    data_factory: SoaptuneDataFactory
    model_factory: Union[BaseModelFactory, HFModelFactory, LigerModelFactory]  # noqa: UP007
    checkpoint_engine: Union[DSCheckpointEngine, HFCheckpointEngine]  # noqa: UP007
    optimizer_factory: Union[AdamWFactory, MuonFactory, FusedAdamOptimizerFactory, CPUAdamOptimizerFactory]  # noqa: UP007
    scheduler_factory: HFSchedulerFactory
    tokenizer_factory: HFTokenizerFactory
    callbacks = _CALLBACKS

    training_horizon = property(_horizon)

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """See `token_loss`."""
        return token_loss(self, batch)
