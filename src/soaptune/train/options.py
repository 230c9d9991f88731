"""The groups of training choices that a `TrainSpec` is made of; names are those of PEFT, torch and DeepSpeed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from soaptune.config import Config, OtherName
from soaptune.train import names

__all__ = [
    "PROJECTIONS",
    "CheckpointOptions",
    "DeepSpeedOptions",
    "LoraOptions",
    "OptimizerName",
    "OptimizerOptions",
    "SchedulerName",
    "SchedulerOptions",
]

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj", "up_proj", "gate_proj")
"""The linear layers of a Llama-type block (Llama, Mistral, Qwen, Gemma): attention's four and the MLP's three."""

OptimizerName = Literal["adamw", "muon", "cpu_adam", "fused_adam"]
SchedulerName = Literal["linear", "cosine", "constant", "constant_with_warmup", "warmup_stable_decay"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class LoraOptions(Config):
    """Low-rank adaptation, in PEFT's words."""

    other_names: ClassVar[Mapping[str, OtherName]] = names.LORA_NAMES

    r: Annotated[int, Field(ge=1)] = 16
    """Rank of the update of each adapted matrix."""

    lora_alpha: Annotated[float, Field(gt=0)] = 32
    """The update is scaled by ``lora_alpha / r``."""

    lora_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout in front of the update."""

    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"] = PROJECTIONS
    """Names of the adapted layers, or ``"all-linear"`` for all linear layers but the output embedding."""

    bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained too."""

    use_rslora: bool = False
    """Scale by ``lora_alpha / sqrt(r)`` instead (rank-stabilised LoRA)."""

    modules_to_save: tuple[str, ...] = ()
    """Layers that are trained and saved whole beside the update, such as ``"embed_tokens"``."""


class OptimizerOptions(Config):
    """The optimizer.

    ``adamw`` is torch's and runs everywhere. ``muon`` takes Muon for matrices and AdamW for the rest. ``cpu_adam`` and
    ``fused_adam`` are DeepSpeed's; both build C++ when they start, so they need a compiler on the machine that trains.
    """

    other_names: ClassVar[Mapping[str, OtherName]] = names.OPTIMIZER_NAMES

    name: OptimizerName = "adamw"

    learning_rate: Annotated[float, Field(gt=0.0)] = 5e-4
    """Peak learning rate, of AdamW."""

    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """AdamW's decay rates of the running averages of gradient and squared gradient."""

    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decoupled weight decay."""

    muon_learning_rate: Annotated[float, Field(gt=0.0)] | None = None
    """Peak learning rate of the matrices under ``muon``; it has a default of its own there."""


class SchedulerOptions(Config):
    """How the learning rate goes up and down again."""

    other_names: ClassVar[Mapping[str, OtherName]] = names.SCHEDULER_NAMES

    name: SchedulerName = "linear"

    warmup_ratio: Fraction = 0.1
    """Fraction of all steps in which the rate rises from zero to its peak."""

    decay_ratio: Fraction | None = None
    """Fraction of all steps, at the end, in which ``warmup_stable_decay`` brings the rate to zero."""


class DeepSpeedOptions(Config):
    """How DeepSpeed spreads the training state over GPUs and main memory."""

    other_names: ClassVar[Mapping[str, OtherName]] = names.DEEPSPEED_NAMES

    stage: Literal[0, 1, 2, 3] = 0
    """ZeRO stage: 0 nothing, 1 optimizer state, 2 and gradients, 3 and weights are partitioned over the ranks."""

    offload_optimizer: bool = False
    """Keep the optimizer's state in main memory and step there; needs stage 1 or more and ``cpu_adam``."""

    offload_param: bool = False
    """Keep the weights in main memory between uses; needs stage 3."""


class CheckpointOptions(Config):
    """When weights are written to the job's ``output/checkpoints`` folder, in the Hugging Face layout."""

    other_names: ClassVar[Mapping[str, OtherName]] = names.CHECKPOINT_NAMES

    save_every_steps: Annotated[int, Field(ge=0)] = 0
    """Write a checkpoint each time so many optimizer steps are done; 0 for never."""

    save_every_epochs: Annotated[int, Field(ge=0)] = 0
    """Write a checkpoint each time so many epochs are done; 0 for never."""

    save_end_of_training: bool = True
    """Write the weights at the end. They are what the job's `Model` consists of."""
