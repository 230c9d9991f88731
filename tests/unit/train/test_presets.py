"""Presets: they have no errors, they stay as they are (golden files), and two of them are the public sample's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from soaptune.errors import ConfigError
from soaptune.train.spec import TrainSpec

GOLDEN = Path(__file__).parents[2] / "golden"
FIXTURES = Path(__file__).parent / "fixtures"

# What a preset says otherwise than the sample's recipe, and why.
OTHERWISE = {
    "type": "our trainer, which computes the loss over the trained tokens alone",
    "code": "the file is the same, written without ./",
    "train_log_metrics_path": "the sample's lies in /tmp, which all runs on a machine share",
    "data.sources": "our dataset folder in place of a table",
    "data.pack_samples": "data.packing is the same choice",
    "data.ignore_empty_think": "our labels never hold the think block",
    "checkpoint.0.output_dir": "the same place, relative to the job",
}
# What a preset says although the recipe does not, beside values that ArcticTraining would take by itself.
BESIDES = {
    "model.type": "soaptune_base",
    "model.peft_config.task_type": "CAUSAL_LM",
    "data.type": "soaptune_sft",
    "data.packing": "next_fit",
    "data.shuffle": True,
    "data.overlong": "drop",
    "data.batch_tokens": 0,
    "data.prompt_loss_weight": 0.0,
    "data.prompt_loss_sample": 1.0,
    "data.ledger_path": "../output/ledger.parquet",
    "data.cache_dir": "../cache",
    "train_log_iter_interval": 0,
    "logger.output_dir": "../output",
    "kill_switch_path": "../output/kill_switch",
}


@pytest.mark.parametrize("name", TrainSpec.presets())
def test_a_preset_has_no_findings(name: str) -> None:
    assert TrainSpec.preset(name).check() == []


@pytest.mark.parametrize("name", TrainSpec.presets())
def test_a_presets_yaml_is_the_golden_one(name: str) -> None:
    text = TrainSpec.preset(name).to_yaml()
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("SOAPTUNE_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["qwen3-1.7b-lora", "qwen3-1.7b-full"])
def test_the_qwen_presets_say_what_the_public_samples_recipes_say(name: str) -> None:
    theirs = flat(fixture("llm_finetune_recipes.yaml")[name])
    ours = flat(yaml.safe_load(TrainSpec.preset(name).to_yaml()))
    compared = {k: v for k, v in theirs.items() if not k.startswith(tuple(OTHERWISE))}
    assert {k: ours.get(k) for k in compared} == compared
    added = {k: v for k, v in ours.items() if k not in theirs and not k.startswith(tuple(OTHERWISE))}
    expected = {**BESIDES, **fixture("arctic_defaults.yaml")}
    assert {k: v for k, v in added.items() if expected.get(k) != v} == {}


def test_an_unknown_preset_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'tiny-lora'\?"):
        TrainSpec.preset("tiny_lora")


def test_the_embedded_presets_need_no_compiler_and_no_gpu() -> None:
    from soaptune.jobs.machine import Machine
    from soaptune.train.hardware import adapt, impossible

    for name in TrainSpec.presets():
        if name.startswith("tiny-"):
            spec = TrainSpec.preset(name)
            assert adapt(spec, Machine(cpus=2)) == (spec, ())
            assert impossible(spec, Machine(cpus=2)) == []


def fixture(name: str) -> Any:
    return yaml.safe_load((FIXTURES / name).read_text(encoding="utf-8"))


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings and lists of mappings as dotted paths."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{path}.{key}".lstrip(".")).items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {k: v for i, inner in enumerate(value) for k, v in flat(inner, f"{path}.{i}").items()}
    return {path: value}
