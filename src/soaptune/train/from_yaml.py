"""Reads a `TrainSpec` from YAML: a spec's own fields, or the ArcticTraining config that `to_yaml` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from soaptune.common.wording import did_you_mean
from soaptune.errors import ConfigError
from soaptune.jobs.base_model import BASE_INPUT
from soaptune.train.arctic_yaml import to_mapping
from soaptune.train.spec import TrainSpec

__all__ = ["from_yaml"]

_TYPE = "soaptune_"

# ArcticTraining's path -> ours, where the value is the same.
_SAME = {
    "seed": "seed",
    "epochs": "epochs",
    "train_iters": "max_steps",
    "micro_batch_size": "per_device_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "loss_log_interval": "log_interval",
    "eval_interval": "eval_interval",
    "model.name_or_path": "model",
    "model.revision": "revision",
    "model.cache_dir": "cache_dir",
    "model.initialization": "initialization",
    "model.dtype": "dtype",
    "model.attn_implementation": "attn_implementation",
    "model.peft_config.r": "lora.r",
    "model.peft_config.lora_alpha": "lora.lora_alpha",
    "model.peft_config.lora_dropout": "lora.lora_dropout",
    "model.peft_config.target_modules": "lora.target_modules",
    "model.peft_config.bias": "lora.bias",
    "model.peft_config.use_rslora": "lora.use_rslora",
    "model.peft_config.modules_to_save": "lora.modules_to_save",
    "data.sources.0.split": "train_split",
    "data.eval_sources.0.split": "eval_split",
    "data.max_length": "max_length",
    "data.overlong": "overlong",
    "data.packing": "packing",
    "data.shuffle": "shuffle",
    "data.batch_tokens": "batch_tokens",
    "data.prompt_loss_weight": "prompt_loss_weight",
    "data.prompt_loss_sample": "prompt_loss_sample",
    "data.num_proc": "num_proc",
    "data.dl_num_workers": "dataloader_num_workers",
    "optimizer.type": "optimizer.name",
    "optimizer.lr": "optimizer.learning_rate",
    "optimizer.betas": "optimizer.betas",
    "optimizer.weight_decay": "optimizer.weight_decay",
    "optimizer.muon_learning_rate": "optimizer.muon_learning_rate",
    "scheduler.name": "scheduler.name",
    "scheduler.warmup_ratio": "scheduler.warmup_ratio",
    "deepspeed.zero_optimization.stage": "deepspeed.stage",
    "deepspeed.gradient_clipping": "max_grad_norm",
    "checkpoint.0.save_end_of_training": "checkpoints.save_end_of_training",
    "checkpoint.0.save_every_n_steps": "checkpoints.save_every_steps",
    "checkpoint.0.save_every_n_epochs": "checkpoints.save_every_epochs",
}

_PLACES = ("path", "type")
"""Of a data source: where the rows lie is no part of a spec."""


def from_yaml(source: str | Path) -> TrainSpec:
    """Does what `soaptune.train.spec.TrainSpec.from_yaml` says."""
    text, where = _text(source)
    try:
        data: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ConfigError(f"{where}{line}: this is not YAML: {getattr(error, 'problem', None) or 'broken'}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: a mapping is expected, such as 'model: Qwen/Qwen3-1.7B' and further lines")
    values = cast("dict[str, Any]", data)
    if "type" not in values and not isinstance(values.get("model"), dict):
        return TrainSpec.model_validate(values)
    return _from_arctic(values, where)


def _text(source: str | Path) -> tuple[str, str]:
    """The text and what to call it; a string is the name of a file when it ends like one."""
    if isinstance(source, str) and ("\n" in source or not source.endswith((".yaml", ".yml"))):
        return source, "the YAML"
    try:
        return Path(source).expanduser().read_text(encoding="utf-8"), str(source)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source} is not UTF-8 text (byte {error.start})") from error


def _from_arctic(config: Mapping[str, Any], where: str) -> TrainSpec:
    given = dict(_leaves(config))
    kind = str(given.get("type"))
    if not kind.startswith(_TYPE):
        raise ConfigError(
            f"{where}: an ArcticTraining config of the type {kind!r}; read are those that TrainSpec.to_yaml() wrote "
            f"(type {_TYPE}sft) and a TrainSpec's own fields"
        )
    if given.get("model.name_or_path") == BASE_INPUT:
        raise ConfigError(
            f"{where}: this is the config of a job, which names its base model by a place in the job. The spec itself "
            "stands in the model's manifest: TrainSpec.model_validate(model.manifest.spec)"
        )
    values: dict[str, Any] = {"trainer": kind.removeprefix(_TYPE), "method": "full"}
    for theirs, ours in _SAME.items():
        if theirs in given:
            _put(values, ours, given[theirs])
    if "lora" in values:
        values["method"] = "lora"
    if "model.disable_activation_checkpoint" in given:
        values["gradient_checkpointing"] = not given["model.disable_activation_checkpoint"]
    for part in ("optimizer", "param"):
        if f"deepspeed.zero_optimization.offload_{part}.device" in given:
            _put(values, f"deepspeed.offload_{part}", True)
    decay = given.get("scheduler.scheduler_specific_kwargs.num_decay_steps")
    if isinstance(decay, int) and isinstance(given.get("train_iters"), int):
        _put(values, "scheduler.decay_ratio", _share(decay, given["train_iters"]))
    spec = TrainSpec.model_validate(values)
    _refuse_what_is_lost(given, spec, where)
    return spec


def _refuse_what_is_lost(given: Mapping[str, Any], spec: TrainSpec, where: str) -> None:
    """Writes the spec again: whatever of the file does not come out as it went in would be lost without a word."""
    written = dict(_leaves(to_mapping(spec)))
    for path, value in given.items():
        if path.startswith(("data.sources.0.", "data.eval_sources.0.")) and path.endswith(_PLACES):
            continue
        if path not in written and path not in _SAME:
            raise ConfigError(f"{where}: a TrainSpec has nothing for {path!r}{did_you_mean(path, [*written, *_SAME])}")
        if not _equal(value, written.get(path)):
            now = f"; there it would be {written[path]!r}" if path in written else ""
            raise ConfigError(f"{where}: {path} has a value that a TrainSpec cannot hold{now}")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``("model.dtype", "bf16")`` for each value; lists of mappings count from 0, other lists are values."""
    if isinstance(value, Mapping):
        for key, part in cast("Mapping[Any, Any]", value).items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in cast("list[Any]", value)):
        for index, part in enumerate(cast("list[Any]", value)):
            yield from _leaves(part, f"{path}.{index}")
    else:
        yield path, value


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *groups, name = path.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[name] = value


def _share(part: int, whole: int) -> float:
    """The shortest fraction that gives so many steps again."""
    for digits in range(1, 15):
        share = round(part / whole, digits) if whole > 0 else 0.0
        if round(share * whole) == part:
            return share
    return part / whole


def _equal(one: Any, other: Any) -> bool:
    # YAML 1.1 reads 1e-4, without a dot, as text.
    if isinstance(one, str) and isinstance(other, int | float) and not isinstance(other, bool):
        try:
            return float(one) == other
        except ValueError:
            return False
    return one == other
