"""Our trainer types: a loss over the label tokens of a whole step, steps that leave out no row, and progress."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

from functools import cached_property

# `Union`, since ArcticTraining's registry does not read `X | Y`.
from typing import Any, Union, cast

import torch
import torch.nn.functional as F
from arctic_training.checkpoint.ds_engine import DSCheckpointEngine
from arctic_training.checkpoint.hf_engine import HFCheckpointEngine
from arctic_training.config.checkpoint import CheckpointConfig
from arctic_training.model.hf_factory import HFModelFactory
from arctic_training.model.liger_factory import LigerModelFactory
from arctic_training.optimizer.adam_factory import CPUAdamOptimizerFactory, FusedAdamOptimizerFactory
from arctic_training.scheduler.hf_factory import HFSchedulerFactory
from arctic_training.tokenizer.hf_factory import HFTokenizerFactory
from arctic_training.trainer.sft_trainer import SFTTrainer
from arctic_training.trainer.utils import to_device
from deepspeed.runtime.engine import autocast_if_enabled

from soaptune.prompting.tokens import IGNORE_INDEX
from soaptune.runtime.arctic.base_model import BaseModelFactory, used_revision
from soaptune.runtime.arctic.batches import MicroBatch, StepSampler
from soaptune.runtime.arctic.factory import SoaptuneDataFactory
from soaptune.runtime.arctic.optimizers import AdamWFactory, MuonFactory
from soaptune.runtime.arctic.training_log import TrainingLog, sum_over_ranks
from soaptune.runtime.tracking import track_end_here
from soaptune.train.finish import finish_model

__all__ = ["SoaptuneCausalTrainer", "SoaptuneSFTTrainer", "summed_loss"]


def summed_loss(trainer: Any, batch: dict[str, Any], weights: torch.Tensor) -> torch.Tensor:
    """The sum of the cross entropies of a batch's tokens, each times its weight.

    Logits are computed for tokens with a weight alone: the language-model head is given just their hidden states,
    which changes neither the loss nor a gradient, and saves most of the head's work and memory.

    Args:
        trainer: The ArcticTraining trainer.
        batch: What `Collator` makes.
        weights: The weight of each token's loss, shape (rows, longest row).

    Returns:
        A scalar; 0, with a gradient of zeros, for a batch without a weight.
    """
    moved = to_device(batch, trainer.device)
    inputs = {name: moved[name] for name in ("input_ids", "attention_mask", "position_ids") if name in moved}
    # A token is predicted at the position in front of it.
    targets = F.pad(moved["input_ids"][:, 1:], (0, 1))
    weights = F.pad(weights.to(trainer.device)[:, 1:], (0, 1))
    keep = weights > 0
    head = trainer.model_unwrapped.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _module, args: (args[0][keep], *args[1:]))
    try:
        logits = trainer.model(**inputs, use_cache=False).logits
    finally:
        hook.remove()
    losses = F.cross_entropy(logits.float(), targets[keep], reduction="none")
    return (losses * weights[keep]).sum()


def _after_init(self: Any) -> None:
    self.progress = TrainingLog(self)
    self.saved_steps = {}


def _after_train(self: Any) -> None:
    """Turns the last checkpoint into the job's model; the manifest is written last, so that it says "complete"."""
    if self.global_step == 0:
        raise RuntimeError("training ended without a single optimizer step, so there is no model")
    if self.world_size > 1:
        torch.distributed.barrier()  # every rank writes a tokenizer into the checkpoint, which is moved now
    if self.global_rank != 0:
        return
    engine = self.checkpoint_engines[-1]
    finish_model(
        engine.checkpoint_dir,
        training=self.progress.totals(),
        base_revision=used_revision(self.config.model.name_or_path),
    )
    track_end_here(ok=True)


_CALLBACKS = [("post-init", _after_init), ("post-train", _after_train)]


class SoaptuneSFTTrainer(SFTTrainer):
    """Supervised fine-tuning on our token rows.

    The loss of an optimizer step is the mean over its label tokens, of all micro-batches on all ranks, so that it does
    not matter how the step was cut up. The last step of an epoch takes the micro-batches that are left.
    """

    name = "soaptune_sft"
    data_factory: SoaptuneDataFactory
    model_factory: Union[BaseModelFactory, HFModelFactory, LigerModelFactory]  # noqa: UP007
    checkpoint_engine: Union[DSCheckpointEngine, HFCheckpointEngine]  # noqa: UP007
    optimizer_factory: Union[AdamWFactory, MuonFactory, FusedAdamOptimizerFactory, CPUAdamOptimizerFactory]  # noqa: UP007
    scheduler_factory: HFSchedulerFactory
    tokenizer_factory: HFTokenizerFactory
    callbacks = _CALLBACKS

    progress: TrainingLog
    saved_steps: dict[str, int]

    @property
    def sampler(self) -> StepSampler:
        """What lays out the steps of training."""
        return cast("Any", self.train_dataloader).sampler

    @cached_property
    def training_horizon(self) -> int:
        """Optimizer steps of the whole run, of which the learning-rate schedule is made."""
        if self.config.train_iters:
            return int(self.config.train_iters)
        return sum(self.sampler.steps(epoch) for epoch in range(self.config.epochs))

    @property
    def epochs(self) -> range:
        """The epochs that are begun; a step limit can need more or fewer than the config names."""
        epochs, steps = 0, 0
        while steps < self.training_horizon:
            steps += self.sampler.steps(epochs)
            epochs += 1
        return range(self.epoch_idx, epochs)

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """The mean over the label tokens of a batch."""
        loss = summed_loss(self, batch, batch["weights"])
        self.progress.count(batch, loss)
        return loss / (batch["weight"] or 1.0)

    def backward(self, loss: torch.Tensor) -> None:
        """Adds to the gradients; the loss is already the batch's share of the step's, so nothing is to be divided."""
        self.model.backward(loss, scale_wrt_gas=False)

    def step(self, batch: dict[str, Any]) -> None:
        """Trains on a micro-batch, and steps behind the last one of an optimizer step."""
        micro: MicroBatch = batch["micro"]
        # Both count micro-batches to find the end of a step, which is another one for the last step of an epoch.
        self.gas_boundary = micro.last
        self.model.set_gradient_accumulation_boundary(micro.last)
        self.model.train()
        with autocast_if_enabled(self.model):
            loss = self.loss(batch)
        # DeepSpeed averages the gradients over the ranks; what is wanted is their sum.
        self.backward(loss * (batch["weight"] / micro.step_weight * self.world_size))
        learning_rate = self.scheduler.get_last_lr()[0]
        self.model.step()
        self.global_step = self.model.global_steps
        self.global_step_this_run = self.global_step - self.global_step_at_start_this_run
        if micro.last:
            self.progress.step(epoch=micro.epoch, weight=micro.step_weight, learning_rate=learning_rate)
            self.checkpoint()

    def evaluate(self) -> None:
        """Computes the mean loss over the label tokens of the validation rows; prompts have no weight here."""
        self.model.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.no_grad(), autocast_if_enabled(self.model):
            for batch in self.eval_dataloader:
                trained = (batch["labels"] != IGNORE_INDEX).float()
                total[0] += summed_loss(self, batch, trained)
                total[1] += trained.sum()
        loss, tokens = sum_over_ranks(total)
        self.progress.evaluated(loss / tokens)

    def checkpoint(self) -> None:
        """Saves the weights where one is due, once for each step, under the number of the step that made them."""
        for engine in self.checkpoint_engines:
            if self.saved_steps.get(engine.name) != self.global_step and self._is_due(engine.config):
                self.saved_steps[engine.name] = self.global_step
                engine.save(self.model)

    def _is_due(self, config: CheckpointConfig) -> bool:
        steps, epochs = config.save_every_n_steps, config.save_every_n_epochs
        return config.enabled and (
            bool(steps and self.global_step % steps == 0)
            or bool(epochs and self.epoch_finished and (self.epoch_idx + 1) % epochs == 0)
            or (config.save_end_of_training and self.training_finished)
        )


class SoaptuneCausalTrainer(SoaptuneSFTTrainer):
    """Continued pre-training on our token rows, whose labels the data factory makes: the same in all else."""

    name = "soaptune_causal"
