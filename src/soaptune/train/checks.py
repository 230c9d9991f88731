"""What is wrong with a `TrainSpec`: rules between fields, all findings at once. Reads nothing but the spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from soaptune.errors import Violation

if TYPE_CHECKING:
    from soaptune.train.spec import TrainSpec

__all__ = ["check_spec"]


def check_spec(spec: TrainSpec) -> list[Violation]:
    """Gives all findings, in the order of the spec's fields."""
    return [*_model(spec), *_method(spec), *_batches(spec), *_optimizer(spec), *_deepspeed(spec), *_output(spec)]


def _model(spec: TrainSpec) -> Iterator[Violation]:
    if spec.base.is_folder and spec.revision is not None:
        yield Violation(
            path="revision",
            code="revision-of-folder",
            message=f"{spec.model} is a folder, and a folder has no revisions",
            hint="Leave revision out, or give the model's name on the hub.",
        )
    if spec.initialization == "random" and spec.method == "lora":
        yield Violation(
            path="initialization",
            code="lora-on-random-weights",
            message="an adapter on random weights that are not saved cannot be used afterwards",
            hint='Use method="full" with initialization="random".',
        )
    if spec.attn_implementation.startswith("flash_attention") and spec.dtype == "fp32":
        yield Violation(
            path="attn_implementation",
            code="flash-attention-in-fp32",
            message=f"{spec.attn_implementation} computes in bf16 or fp16 only",
            hint='Use dtype="bf16", or attn_implementation="sdpa".',
        )


def _method(spec: TrainSpec) -> Iterator[Violation]:
    if spec.lora is not None and spec.method != "lora":
        yield Violation(
            path="lora",
            code="lora-without-method",
            message=f"LoRA options are given, but the method is {spec.method!r}",
            hint='Set method="lora", or leave lora out.',
        )


def _batches(spec: TrainSpec) -> Iterator[Violation]:
    if spec.packing != "none" and spec.per_device_batch_size != 1:
        yield Violation(
            path="per_device_batch_size",
            code="packing-batch-size",
            message=f"with packing, one pack is a batch, but per_device_batch_size is {spec.per_device_batch_size}",
            hint="Set per_device_batch_size=1; a pack already holds several examples. "
            "For more of them in a step use gradient_accumulation_steps.",
        )
    if spec.packing != "none" and spec.batch_tokens:
        yield Violation(
            path="batch_tokens",
            code="packing-and-batch-tokens",
            message="packing and batch_tokens are two ways to do the same",
            hint='Set packing="none" or batch_tokens=0.',
        )
    if spec.batch_tokens and spec.batch_tokens < spec.max_length:
        yield Violation(
            path="batch_tokens",
            code="batch-tokens-below-max-length",
            level="warning",
            message=f"an example of up to {spec.max_length} tokens can be larger than a batch of {spec.batch_tokens}",
            hint="Such an example makes a batch of its own.",
        )


def _optimizer(spec: TrainSpec) -> Iterator[Violation]:
    optimizer, scheduler = spec.optimizer, spec.scheduler
    if optimizer.muon_learning_rate is not None and optimizer.name != "muon":
        yield Violation(
            path="optimizer.muon_learning_rate",
            code="muon-rate-without-muon",
            message=f"muon_learning_rate is set, but the optimizer is {optimizer.name!r}",
            hint='Set optimizer.name="muon", or leave muon_learning_rate out.',
        )
    if optimizer.name == "muon" and spec.deepspeed.stage > 0:
        yield Violation(
            path="optimizer.name",
            code="muon-needs-whole-matrices",
            message=f"Muon works on whole matrices, which ZeRO stage {spec.deepspeed.stage} takes apart",
            hint="Set deepspeed.stage=0, or use adamw.",
        )
    if scheduler.name == "warmup_stable_decay" and (scheduler.decay_ratio is None or spec.max_steps is None):
        yield Violation(
            path="scheduler.decay_ratio",
            code="decay-needs-steps",
            message="warmup_stable_decay needs to know when to go down: decay_ratio and max_steps have to be set",
            hint="Set both, or use the linear schedule.",
        )
    if scheduler.decay_ratio is not None and scheduler.name != "warmup_stable_decay":
        yield Violation(
            path="scheduler.decay_ratio",
            code="decay-without-schedule",
            message=f"decay_ratio has no meaning for the schedule {scheduler.name!r}",
            hint='Set scheduler.name="warmup_stable_decay", or leave decay_ratio out.',
        )
    if scheduler.warmup_ratio + (scheduler.decay_ratio or 0.0) > 1.0:
        yield Violation(
            path="scheduler.warmup_ratio",
            code="schedule-longer-than-training",
            message="warmup_ratio and decay_ratio together are more than the whole training",
        )


def _deepspeed(spec: TrainSpec) -> Iterator[Violation]:
    deepspeed, name = spec.deepspeed, spec.optimizer.name
    if deepspeed.offload_optimizer and deepspeed.stage == 0:
        yield Violation(
            path="deepspeed.offload_optimizer",
            code="offload-without-stage",
            message="the optimizer can be offloaded from ZeRO stage 1 on, but the stage is 0",
            hint="Set deepspeed.stage to 1, 2 or 3.",
        )
    if deepspeed.offload_optimizer and name != "cpu_adam":
        yield Violation(
            path="optimizer.name",
            code="offload-needs-cpu-adam",
            message=f"an offloaded optimizer steps on the CPU, which {name!r} does not do under DeepSpeed",
            hint='Set optimizer.name="cpu_adam", or deepspeed.offload_optimizer=False.',
        )
    if deepspeed.offload_param and deepspeed.stage != 3:
        yield Violation(
            path="deepspeed.offload_param",
            code="offload-param-without-stage-3",
            message=f"weights can be offloaded in ZeRO stage 3 only, but the stage is {deepspeed.stage}",
            hint="Set deepspeed.stage=3.",
        )
    if name == "cpu_adam" and not deepspeed.offload_optimizer:
        yield Violation(
            path="optimizer.name",
            code="cpu-adam-without-offload",
            level="warning",
            message="cpu_adam takes weights in main memory; on a GPU it works with an offloaded optimizer only",
            hint="Set deepspeed.offload_optimizer=True, or use adamw.",
        )


def _output(spec: TrainSpec) -> Iterator[Violation]:
    if not spec.checkpoints.save_end_of_training:
        yield Violation(
            path="checkpoints.save_end_of_training",
            code="weights-not-saved",
            message="the weights at the end of training would be thrown away",
            hint="Set checkpoints.save_end_of_training=True.",
        )
    if spec.eval_interval and spec.eval_split == spec.train_split:
        yield Violation(
            path="eval_split",
            code="evaluates-on-training-rows",
            level="warning",
            message=f"the loss is evaluated on {spec.eval_split!r}, the rows that are trained on",
        )
