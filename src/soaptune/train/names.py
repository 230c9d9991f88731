"""What other libraries call the training choices, so that an unknown name is answered with ours.

The names are those of Hugging Face's `TrainingArguments`, TRL's `SFTConfig`, PEFT's `LoraConfig`, Axolotl's and
LLaMA-Factory's YAML, and ArcticTraining's YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from soaptune.config import OtherName

__all__ = ["CHECKPOINT_NAMES", "DEEPSPEED_NAMES", "LORA_NAMES", "OPTIMIZER_NAMES", "SCHEDULER_NAMES", "SPEC_NAMES"]

_NOT_QUANTIZED = "Weights are not quantized in training; LoRA, deepspeed and gradient_checkpointing save memory too."
_DTYPE = "It is dtype='bf16', 'fp16' or 'fp32'."


def _names(table: Mapping[str, str | OtherName]) -> Mapping[str, OtherName]:
    return MappingProxyType({name: to if isinstance(to, OtherName) else OtherName(to) for name, to in table.items()})


SPEC_NAMES = _names(
    {
        # the model
        "base_model": "model",
        "model_name": "model",
        "model_name_or_path": "model",
        "model_id": "model",
        "name_or_path": "model",
        "model_revision": "revision",
        "hf_token": OtherName("token", "It is the name of the environment variable, not the token."),
        "hub_token": OtherName("token", "It is the name of the environment variable, not the token."),
        "finetuning_type": "method",
        "adapter": "method",
        "peft_config": "lora",
        "attn_impl": "attn_implementation",
        "flash_attn": "attn_implementation",
        "flash_attention": "attn_implementation",
        "quantization": OtherName("dtype", _NOT_QUANTIZED),
        "quantization_config": OtherName("dtype", _NOT_QUANTIZED),
        "quantization_bit": OtherName("dtype", _NOT_QUANTIZED),
        "load_in_4bit": OtherName("dtype", _NOT_QUANTIZED),
        "load_in_8bit": OtherName("dtype", _NOT_QUANTIZED),
        "bf16": OtherName("dtype", _DTYPE),
        "fp16": OtherName("dtype", _DTYPE),
        "tf32": OtherName("dtype", _DTYPE),
        "torch_dtype": OtherName("dtype", _DTYPE),
        "precision": OtherName("dtype", _DTYPE),
        # the data
        "max_seq_length": "max_length",
        "max_seq_len": "max_length",
        "sequence_len": "max_length",
        "sequence_length": "max_length",
        "cutoff_len": "max_length",
        "model_max_length": "max_length",
        "truncation": "overlong",
        "sample_packing": "packing",
        "group_by_length": "batch_tokens",
        "length_grouped_sampling": "batch_tokens",
        "train_on_inputs": "prompt_loss_weight",
        "train_on_prompt": "prompt_loss_weight",
        "completion_only_loss": "prompt_loss_weight",
        "assistant_only_loss": "prompt_loss_weight",
        "dataset_num_proc": "num_proc",
        "preprocessing_num_workers": "num_proc",
        "dataset_processes": "num_proc",
        "dl_num_workers": "dataloader_num_workers",
        # the loop
        "num_train_epochs": "epochs",
        "num_epochs": "epochs",
        "n_epochs": "epochs",
        "train_iters": "max_steps",
        "max_train_steps": "max_steps",
        "batch_size": "per_device_batch_size",
        "micro_batch_size": "per_device_batch_size",
        "train_batch_size": "per_device_batch_size",
        "per_device_train_batch_size": "per_device_batch_size",
        "per_device_eval_batch_size": "per_device_batch_size",
        "gradient_accumulation": "gradient_accumulation_steps",
        "grad_accum_steps": "gradient_accumulation_steps",
        "max_gradient_norm": "max_grad_norm",
        "gradient_clipping": "max_grad_norm",
        "grad_clip": "max_grad_norm",
        "data_seed": "seed",
        "random_seed": "seed",
        "random_state": "seed",
        "activation_checkpointing": "gradient_checkpointing",
        "use_gradient_checkpointing": "gradient_checkpointing",
        "disable_activation_checkpoint": "gradient_checkpointing",
        "eval_steps": "eval_interval",
        "eval_strategy": "eval_interval",
        "evaluation_strategy": "eval_interval",
        "logging_steps": "log_interval",
        "loss_log_interval": "log_interval",
        "checkpoint": "checkpoints",
    }
)

OPTIMIZER_NAMES = _names(
    {
        "lr": "learning_rate",
        "optim": "name",
        "optimizer_name": "name",
        "adam_beta1": OtherName("betas", "It is a pair: betas=(0.9, 0.999)."),
        "adam_beta2": OtherName("betas", "It is a pair: betas=(0.9, 0.999)."),
        "muon_lr": "muon_learning_rate",
    }
)

SCHEDULER_NAMES = _names(
    {
        "lr_scheduler": "name",
        "lr_scheduler_type": "name",
        "scheduler_type": "name",
        "warmup": "warmup_ratio",
        "warmup_steps": OtherName("warmup_ratio", "It is a share of all steps."),
        "num_warmup_steps": OtherName("warmup_ratio", "It is a share of all steps."),
    }
)

LORA_NAMES = _names(
    {
        "lora_r": "r",
        "lora_rank": "r",
        "rank": "r",
        "alpha": "lora_alpha",
        "dropout": "lora_dropout",
        "lora_target": "target_modules",
        "lora_target_modules": "target_modules",
        "lora_bias": "bias",
        "peft_use_rslora": "use_rslora",
        "lora_modules_to_save": "modules_to_save",
    }
)

DEEPSPEED_NAMES = _names(
    {
        "zero_optimization": "stage",
        "zero_stage": "stage",
        "cpu_offload": "offload_optimizer",
        "optimizer_offload": "offload_optimizer",
        "param_offload": "offload_param",
    }
)

CHECKPOINT_NAMES = _names(
    {
        "save_steps": "save_every_steps",
        "save_every_n_steps": "save_every_steps",
        "save_every_n_epochs": "save_every_epochs",
        "save_strategy": "save_every_epochs",
        "saves_per_epoch": "save_every_steps",
    }
)
