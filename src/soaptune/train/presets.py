"""Specs that are known to work, each with the source of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from soaptune.train.options import (
    PROJECTIONS,
    DeepSpeedOptions,
    LoraOptions,
    OptimizerOptions,
    SchedulerOptions,
)
from soaptune.train.spec import TrainSpec

__all__ = ["PRESETS"]

# Source: the two recipes of Snowflake's public sample, Snowflake-Labs/sf-samples, samples/ml/ml_jobs/llm_finetune/src/
# Qwen3-1.7B-LoRA-config.yaml and Qwen3-1.7B-config.yaml at 0172c72 (2026-02-11). What a recipe leaves out has
# ArcticTraining's default here; a test compares both.
_QWEN_LORA = TrainSpec(
    model="Qwen/Qwen3-1.7B",
    method="lora",
    lora=LoraOptions(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=PROJECTIONS),
    max_length=4096,
    packing="next_fit",
    epochs=1,
    per_device_batch_size=1,
    optimizer=OptimizerOptions(name="cpu_adam", learning_rate=5e-4),
    deepspeed=DeepSpeedOptions(stage=3, offload_optimizer=True),
)
_QWEN_FULL = TrainSpec(
    model="Qwen/Qwen3-1.7B",
    method="full",
    max_length=4096,
    packing="next_fit",
    epochs=2,
    per_device_batch_size=1,
    optimizer=OptimizerOptions(name="cpu_adam", learning_rate=1e-5),
    deepspeed=DeepSpeedOptions(stage=3, offload_optimizer=True),
)

# Source: measured with the embedded model on two CPU cores (docs/tiny.md). fp32, because bf16 is slower than fp32 on a
# CPU without AVX-512; no gradient checkpointing, because a model of 5 M parameters has memory to spare.
_TINY_LORA = TrainSpec(
    model="soaptune/tiny",
    method="lora",
    lora=LoraOptions(r=32, lora_alpha=64, lora_dropout=0.0, target_modules=PROJECTIONS),
    max_length=2048,
    batch_tokens=3072,
    epochs=2,
    per_device_batch_size=8,
    optimizer=OptimizerOptions(name="adamw", learning_rate=3e-3, weight_decay=0.0),
    scheduler=SchedulerOptions(name="linear", warmup_ratio=0.1),
    dtype="fp32",
    gradient_checkpointing=False,
    num_proc=1,
    dataloader_num_workers=1,
)
_TINY_FULL = TrainSpec(
    model="soaptune/tiny",
    method="full",
    max_length=2048,
    batch_tokens=3072,
    epochs=2,
    per_device_batch_size=8,
    optimizer=OptimizerOptions(name="adamw", learning_rate=1e-3, weight_decay=0.0),
    scheduler=SchedulerOptions(name="linear", warmup_ratio=0.1),
    dtype="fp32",
    gradient_checkpointing=False,
    num_proc=1,
    dataloader_num_workers=1,
)
# Source: field notes of this project on small models, and what examples/pretrain_tiny.py was run with. 3,826 steps are
# one pass over its 55,000 rows, easy ones first.
_TINY_PRETRAIN = TrainSpec(
    model="soaptune/tiny",
    initialization="random",
    method="full",
    trainer="causal",
    max_length=512,
    shuffle=False,
    batch_tokens=3072,
    prompt_loss_weight=0.05,
    prompt_loss_sample=0.15,
    max_steps=3826,
    optimizer=OptimizerOptions(
        name="muon", learning_rate=3e-3, muon_learning_rate=0.02, betas=(0.9, 0.95), weight_decay=0.01
    ),
    scheduler=SchedulerOptions(name="warmup_stable_decay", warmup_ratio=0.015, decay_ratio=0.4),
    dtype="fp32",
    seed=7,
    gradient_checkpointing=False,
    num_proc=1,
    dataloader_num_workers=1,
    log_interval=20,
)

PRESETS: Mapping[str, TrainSpec] = MappingProxyType(
    {
        "qwen3-1.7b-lora": _QWEN_LORA,
        "qwen3-1.7b-full": _QWEN_FULL,
        "tiny-lora": _TINY_LORA,
        "tiny-full": _TINY_FULL,
        "tiny-pretrain": _TINY_PRETRAIN,
    }
)
