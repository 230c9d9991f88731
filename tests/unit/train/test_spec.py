"""`TrainSpec`: what it refuses, what it finds, and that it comes back from JSON as it was."""

from __future__ import annotations

import pytest
import yaml

from soaptune.config import Config
from soaptune.errors import ConfigError
from soaptune.train.options import (
    CheckpointOptions,
    DeepSpeedOptions,
    LoraOptions,
    OptimizerOptions,
    SchedulerOptions,
)
from soaptune.train.spec import TrainSpec


def codes(spec: TrainSpec) -> list[str]:
    return [violation.code for violation in spec.check()]


def test_a_typo_is_answered_with_the_name_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="did you mean 'max_length'"):
        TrainSpec(model="m", max_lenght=10)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ConfigError, match="did you mean 'lora_alpha'"):
        LoraOptions(lora_alhpa=3)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("learning_rate", "optimizer.learning_rate"),
        ("lr", "optimizer.learning_rate"),
        ("lora_r", "lora.r"),
        ("lora_rank", "lora.r"),
        ("lora_alpha", "lora.lora_alpha"),
        ("num_train_epochs", "epochs"),
        ("quantization", "dtype"),
        ("load_in_4bit", "dtype"),
        ("bf16", "dtype"),
        ("per_device_train_batch_size", "per_device_batch_size"),
        ("max_seq_length", "max_length"),
        ("cutoff_len", "max_length"),
        ("warmup_ratio", "scheduler.warmup_ratio"),
        ("lr_scheduler_type", "scheduler.name"),
        ("save_steps", "checkpoints.save_every_steps"),
        ("zero_stage", "deepspeed.stage"),
    ],
)
def test_the_names_of_other_libraries_are_answered_with_ours(name: str, path: str) -> None:
    with pytest.raises(ConfigError, match=rf"TrainSpec has no field '{name}' \(did you mean '{path}'\?"):
        TrainSpec(model="m", **{name: 1})


@pytest.mark.parametrize(
    "cls", [TrainSpec, LoraOptions, OptimizerOptions, SchedulerOptions, DeepSpeedOptions, CheckpointOptions]
)
def test_every_other_name_leads_to_a_field_and_hides_none(cls: type[Config]) -> None:
    assert cls.other_names
    assert {place.path for place in cls.other_names.values()} <= set(cls.model_fields)
    assert not set(cls.other_names) & set(cls.model_fields)


@pytest.mark.parametrize("name", TrainSpec.presets())
def test_a_preset_keeps_the_rest_of_a_group_that_is_changed_in_part(name: str) -> None:
    preset = TrainSpec.preset(name)
    changed = preset.replace(optimizer={"learning_rate": 1e-4})
    assert changed.optimizer == preset.optimizer.replace(learning_rate=1e-4)
    assert changed.replace(optimizer=preset.optimizer) == preset


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("max_length", 0), ("prompt_loss_weight", 1.5), ("packing", "some"), ("dtype", "int8")],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        TrainSpec(model="m").replace(**{field: value})


def test_the_former_word_for_truncating_is_answered_with_the_new_one() -> None:
    assert TrainSpec(model="m", overlong="truncate").to_arctic()["data"]["overlong"] == "truncate"
    with pytest.raises(ConfigError, match="overlong: 'cut' is now called 'truncate'"):
        TrainSpec.model_validate({"model": "m"}).replace(overlong="cut")


@pytest.mark.parametrize("token", ["hf_" + "x" * 34, "not a name", ""])
def test_a_token_itself_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(ConfigError, match="name of the environment variable") as caught:
        TrainSpec(model="m", token=token)
    assert not token or token not in str(caught.value)


def test_the_token_variable_stays_out_of_the_yaml() -> None:
    assert "MY_TOKEN" not in TrainSpec(model="m", token="MY_TOKEN").to_yaml()


def test_all_findings_come_at_once() -> None:
    spec = TrainSpec(
        model="./folder",
        revision="main",
        method="full",
        lora=LoraOptions(),
        packing="next_fit",
        per_device_batch_size=4,
        batch_tokens=9000,
        optimizer=OptimizerOptions(name="muon"),
        scheduler=SchedulerOptions(name="warmup_stable_decay", warmup_ratio=0.9, decay_ratio=0.4),
        deepspeed=DeepSpeedOptions(stage=2, offload_optimizer=True, offload_param=True),
        checkpoints=CheckpointOptions(save_end_of_training=False),
        attn_implementation="flash_attention_2",
        dtype="fp32",
    )
    assert codes(spec) == [
        "revision-of-folder",
        "flash-attention-in-fp32",
        "lora-without-method",
        "packing-batch-size",
        "packing-and-batch-tokens",
        "muon-needs-whole-matrices",
        "decay-needs-steps",
        "schedule-longer-than-training",
        "offload-needs-cpu-adam",
        "offload-param-without-stage-3",
        "weights-not-saved",
    ]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (TrainSpec(model="m", initialization="random"), "lora-on-random-weights"),
        (TrainSpec(model="m", batch_tokens=100), "batch-tokens-below-max-length"),
        (TrainSpec(model="m", optimizer=OptimizerOptions(muon_learning_rate=0.1)), "muon-rate-without-muon"),
        (TrainSpec(model="m", scheduler=SchedulerOptions(decay_ratio=0.1)), "decay-without-schedule"),
        (TrainSpec(model="m", optimizer=OptimizerOptions(name="cpu_adam")), "cpu-adam-without-offload"),
        (TrainSpec(model="m", eval_interval=5, eval_split="train"), "evaluates-on-training-rows"),
        (
            TrainSpec(
                model="m",
                optimizer=OptimizerOptions(name="cpu_adam"),
                deepspeed=DeepSpeedOptions(offload_optimizer=True),
            ),
            "offload-without-stage",
        ),
    ],
)
def test_each_contradiction_has_its_code(spec: TrainSpec, code: str) -> None:
    assert codes(spec) == [code]


@pytest.mark.parametrize("name", TrainSpec.presets())
def test_a_spec_comes_back_from_json_as_it_was(name: str) -> None:
    spec = TrainSpec.preset(name)
    again = TrainSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.fingerprint == spec.fingerprint
    assert again.to_yaml() == spec.to_yaml()


def test_the_fingerprint_follows_every_choice() -> None:
    spec = TrainSpec.preset("tiny-lora")
    assert spec.replace(seed=1).fingerprint != spec.fingerprint
    assert spec.replace(seed=42).fingerprint == spec.fingerprint


def test_all_paths_in_the_yaml_are_relative_to_the_job() -> None:
    for name in TrainSpec.presets():
        text = TrainSpec.preset(name).replace(eval_interval=10).to_yaml()
        values = [line.split(": ", 1)[1] for line in text.splitlines() if ": " in line and not line.startswith("#")]
        assert [value for value in values if value.startswith("/")] == []


def test_evaluation_reads_its_split_only_when_asked_for() -> None:
    spec = TrainSpec.preset("tiny-lora")
    assert "eval_sources" not in yaml.safe_load(spec.to_yaml())["data"]
    mapping = yaml.safe_load(spec.replace(eval_interval=10).to_yaml())
    assert mapping["eval_interval"] == 10
    assert mapping["data"]["eval_sources"][0]["split"] == "validation"


def test_options_that_are_set_reach_the_yaml() -> None:
    spec = TrainSpec(
        model="org/name",
        revision="abc",
        cache_dir="models",
        lora=LoraOptions(target_modules="all-linear", use_rslora=True, modules_to_save=("lm_head",), lora_alpha=1.5),
        max_steps=100,
        scheduler=SchedulerOptions(name="warmup_stable_decay", decay_ratio=0.4),
        optimizer=OptimizerOptions(name="muon", muon_learning_rate=0.02),
        checkpoints=CheckpointOptions(save_every_steps=10, save_every_epochs=1),
        gradient_checkpointing=False,
    )
    mapping = yaml.safe_load(spec.to_yaml(data="/data/set"))
    assert mapping["data"]["sources"][0]["path"] == "/data/set"
    assert mapping["model"]["revision"] == "abc"
    assert mapping["model"]["cache_dir"] == "models"
    assert mapping["model"]["disable_activation_checkpoint"] is True
    assert mapping["model"]["peft_config"]["target_modules"] == "all-linear"
    assert mapping["model"]["peft_config"]["use_rslora"] is True
    assert mapping["model"]["peft_config"]["modules_to_save"] == ["lm_head"]
    assert mapping["model"]["peft_config"]["lora_alpha"] == 1.5
    assert mapping["train_iters"] == 100
    assert mapping["scheduler"]["scheduler_specific_kwargs"] == {"num_decay_steps": 40, "decay_type": "linear"}
    assert mapping["optimizer"]["muon_learning_rate"] == 0.02
    assert mapping["checkpoint"][0]["save_every_n_steps"] == 10
    assert mapping["checkpoint"][0]["save_every_n_epochs"] == 1


def test_full_training_has_no_adapter_in_the_yaml() -> None:
    assert "peft_config" not in yaml.safe_load(TrainSpec(model="m", method="full").to_yaml())["model"]
