"""A `TrainSpec` in ArcticTraining's words (0.8): keys and order are fixed, so that the same spec gives the same bytes.

A job runs in ``<stage>/app``; what it writes goes to ``<stage>/output``, what it is given lies in ``<stage>/inputs``.
No path is left at ArcticTraining's default: several of those are shared by every run on a machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from soaptune.train.spec import TrainSpec

__all__ = ["DATA_INPUT", "to_mapping", "to_yaml"]

DATA_INPUT = "../inputs/data"
"""Where a job finds its dataset folder."""

_HEADER = "# ArcticTraining config, written by soaptune. Paths are relative to the job's working directory.\n"


def to_yaml(spec: TrainSpec, *, data_path: str | None = None, base_path: str | None = None) -> str:
    """Writes the config as YAML text.

    Args:
        spec: The choices.
        data_path: The dataset folder as the job sees it.
        base_path: The base model's folder as the job sees it, where it is another than the one in the spec.
    """
    mapping = to_mapping(spec, data_path=data_path, base_path=base_path)
    return _HEADER + yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True, width=100)


def to_mapping(spec: TrainSpec, *, data_path: str | None = None, base_path: str | None = None) -> dict[str, Any]:
    """Gives the config as a mapping; see `to_yaml`."""
    mapping: dict[str, Any] = {
        "type": f"soaptune_{spec.trainer}",
        "code": "train.py",
        "seed": spec.seed,
        "epochs": spec.epochs,
        "micro_batch_size": spec.per_device_batch_size,
        "gradient_accumulation_steps": spec.gradient_accumulation_steps,
        "model": _model(spec, base_path),
        "data": _data(spec, data_path or DATA_INPUT),
        "optimizer": _optimizer(spec),
        "scheduler": _scheduler(spec),
        "deepspeed": _deepspeed(spec),
        "checkpoint": [_checkpoint(spec)],
        "loss_log_interval": spec.log_interval,
        # Our plug-ins write progress and metrics; the stock summary collects garbage after every step (0.2 s each).
        "train_log_iter_interval": 0,
        "logger": {"output_dir": "../output"},
        "train_log_metrics_path": "../output/logs/train-log-metrics.jsonl",
        "kill_switch_path": "../output/kill_switch",
    }
    if spec.max_steps is not None:
        mapping["train_iters"] = spec.max_steps
    if spec.eval_interval:
        mapping["eval_interval"] = spec.eval_interval
    return mapping


def _model(spec: TrainSpec, base_path: str | None) -> dict[str, Any]:
    model: dict[str, Any] = {"type": "soaptune_base", "name_or_path": base_path or spec.model}
    if spec.revision is not None:
        model["revision"] = spec.revision
    if spec.cache_dir is not None:
        model["cache_dir"] = spec.cache_dir
    if spec.initialization != "pretrained":
        model["initialization"] = spec.initialization
    model["dtype"] = spec.dtype
    model["attn_implementation"] = spec.attn_implementation
    model["disable_activation_checkpoint"] = not spec.gradient_checkpointing
    lora = spec.lora_options
    if lora is not None:
        target = lora.target_modules
        peft: dict[str, Any] = {
            "peft_type": "Lora",  # ArcticTraining looks up the class `peft.<peft_type>Config`
            "task_type": "CAUSAL_LM",
            "r": lora.r,
            "lora_alpha": int(lora.lora_alpha) if float(lora.lora_alpha).is_integer() else lora.lora_alpha,
            "lora_dropout": lora.lora_dropout,
            "target_modules": target if isinstance(target, str) else list(target),
            "bias": lora.bias,
        }
        if lora.use_rslora:
            peft["use_rslora"] = True
        if lora.modules_to_save:
            peft["modules_to_save"] = list(lora.modules_to_save)
        model["peft_config"] = peft
    return model


def _data(spec: TrainSpec, path: str) -> dict[str, Any]:
    def source(split: str) -> dict[str, Any]:
        rows = {"type": "soaptune_dataset", "path": path, "split": split}
        return {**rows, "task": "task.json"} if spec.trainer == "sft" else rows

    data: dict[str, Any] = {"type": "soaptune_sft", "sources": [source(spec.train_split)]}
    if spec.eval_interval:
        data["eval_sources"] = [source(spec.eval_split)]
    return {
        **data,
        "max_length": spec.max_length,
        "overlong": spec.overlong,
        "packing": spec.packing,
        "shuffle": spec.shuffle,
        "batch_tokens": spec.batch_tokens,
        "prompt_loss_weight": spec.prompt_loss_weight,
        "prompt_loss_sample": spec.prompt_loss_sample,
        "ledger_path": "../output/ledger.parquet",
        "cache_dir": "../cache",
        "num_proc": spec.num_proc,
        "dl_num_workers": spec.dataloader_num_workers,
        "seed": spec.seed,
    }


def _optimizer(spec: TrainSpec) -> dict[str, Any]:
    optimizer: dict[str, Any] = {
        "type": spec.optimizer.name,
        "lr": spec.optimizer.learning_rate,
        "betas": list(spec.optimizer.betas),
        "weight_decay": spec.optimizer.weight_decay,
    }
    if spec.optimizer.muon_learning_rate is not None:
        optimizer["muon_learning_rate"] = spec.optimizer.muon_learning_rate
    return optimizer


def _scheduler(spec: TrainSpec) -> dict[str, Any]:
    options = spec.scheduler
    scheduler: dict[str, Any] = {
        "type": "huggingface",
        "name": options.name,
        "warmup_ratio": options.warmup_ratio,
    }
    if options.name == "warmup_stable_decay" and options.decay_ratio is not None and spec.max_steps is not None:
        steps = round(options.decay_ratio * spec.max_steps)
        scheduler["scheduler_specific_kwargs"] = {"num_decay_steps": steps, "decay_type": "linear"}
    return scheduler


def _deepspeed(spec: TrainSpec) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": spec.deepspeed.stage}
    if spec.deepspeed.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    if spec.deepspeed.offload_param:
        zero["offload_param"] = {"device": "cpu"}
    return {"zero_optimization": zero, "gradient_clipping": spec.max_grad_norm}


def _checkpoint(spec: TrainSpec) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {
        "type": "huggingface",
        "output_dir": "../output/checkpoints",
        "save_end_of_training": spec.checkpoints.save_end_of_training,
    }
    if spec.checkpoints.save_every_steps:
        checkpoint["save_every_n_steps"] = spec.checkpoints.save_every_steps
    if spec.checkpoints.save_every_epochs:
        checkpoint["save_every_n_epochs"] = spec.checkpoints.save_every_epochs
    return checkpoint
