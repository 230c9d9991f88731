"""A spec comes back from YAML as it was, and nothing that stands in the file is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from soaptune.errors import ConfigError
from soaptune.train.arctic_yaml import to_yaml
from soaptune.train.options import CheckpointOptions, DeepSpeedOptions, LoraOptions, OptimizerOptions, SchedulerOptions
from soaptune.train.spec import TrainSpec
from soaptune.train.trainer import Trainer

EVERYTHING = TrainSpec(
    model="org/model",
    revision="main",
    cache_dir="cache",
    method="lora",
    lora=LoraOptions(
        r=3,
        lora_alpha=7.5,
        lora_dropout=0.1,
        target_modules="all-linear",
        bias="all",
        use_rslora=True,
        modules_to_save=("embed_tokens",),
    ),
    trainer="sft",
    max_length=99,
    shuffle=False,
    batch_tokens=990,
    prompt_loss_weight=0.5,
    prompt_loss_sample=0.25,
    train_split="a",
    eval_split="b",
    epochs=3,
    max_steps=77,
    per_device_batch_size=5,
    gradient_accumulation_steps=6,
    optimizer=OptimizerOptions(name="cpu_adam", learning_rate=1e-5, betas=(0.8, 0.9), weight_decay=0.0),
    scheduler=SchedulerOptions(name="warmup_stable_decay", warmup_ratio=0.2, decay_ratio=0.3),
    max_grad_norm=0.0,
    seed=7,
    dtype="fp16",
    attn_implementation="eager",
    gradient_checkpointing=False,
    deepspeed=DeepSpeedOptions(stage=3, offload_optimizer=True, offload_param=True),
    checkpoints=CheckpointOptions(save_every_steps=4, save_every_epochs=2, save_end_of_training=False),
    eval_interval=11,
    log_interval=12,
    num_proc=13,
    dataloader_num_workers=14,
)


@pytest.mark.parametrize("name", TrainSpec.presets())
def test_a_preset_comes_back_from_what_it_wrote(name: str) -> None:
    spec = TrainSpec.preset(name)
    again = TrainSpec.from_yaml(spec.to_yaml())
    assert again == spec
    assert again.to_yaml() == spec.to_yaml()


def test_every_choice_comes_back() -> None:
    assert TrainSpec.from_yaml(EVERYTHING.to_yaml()) == EVERYTHING
    assert TrainSpec.from_yaml(EVERYTHING.to_yaml("/data")) == EVERYTHING
    defaults = TrainSpec(model="m").model_dump()
    same = [name for name, value in EVERYTHING.model_dump().items() if value == defaults[name]]
    # What is left at its default above would not show that it comes back; the next test shows it of these.
    assert set(same) == {"token", "initialization", "method", "trainer", "overlong", "packing"}


@pytest.mark.parametrize(
    "changes",
    [
        {"initialization": "random", "method": "full"},
        {"trainer": "causal"},
        {"packing": "next_fit"},
        {"optimizer": {"name": "muon", "muon_learning_rate": 0.02}},
    ],
)
def test_what_excludes_other_choices_comes_back_too(changes: dict[str, object]) -> None:
    spec = TrainSpec(model="m").replace(**changes)
    again = TrainSpec.from_yaml(spec.to_yaml())
    assert again.model_dump(exclude={"lora"}) == spec.model_dump(exclude={"lora"})
    assert again.lora_options == spec.lora_options


def test_the_fields_of_a_spec_are_read_as_they_are(tmp_path: Path) -> None:
    text = "model: org/model\nepochs: 3\noptimizer:\n  learning_rate: 1e-4\n"
    file = tmp_path / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    wanted = TrainSpec(model="org/model", epochs=3, optimizer=OptimizerOptions(learning_rate=1e-4))
    for source in (text, file, str(file)):
        assert TrainSpec.from_yaml(source) == wanted


@pytest.mark.parametrize("read", [lambda v: TrainSpec.from_yaml(yaml.safe_dump(v)), TrainSpec.model_validate])
def test_a_preset_is_named_beside_what_is_changed_of_it(read) -> None:  # pyright: ignore[reportMissingParameterType]
    spec = read({"preset": "qwen3-1.7b-lora", "epochs": 2, "optimizer": {"learning_rate": 1e-4}})
    preset = TrainSpec.preset("qwen3-1.7b-lora")
    assert spec == preset.replace(epochs=2, optimizer=preset.optimizer.replace(learning_rate=1e-4))


def test_a_step_takes_a_preset_from_json_too() -> None:
    step = Trainer.model_validate_json('{"spec": {"preset": "tiny-lora", "optimizer": {"learning_rate": 0.5}}}')
    assert step.spec == TrainSpec.preset("tiny-lora").replace(optimizer={"learning_rate": 0.5})
    with pytest.raises(ConfigError, match="there is no preset 'tiny-lra' \\(did you mean 'tiny-lora'"):
        TrainSpec.from_yaml("preset: tiny-lra")
    with pytest.raises(ConfigError, match=r"a preset is TrainSpec\.preset\('tiny-lora'\)"):
        Trainer(spec="tiny-lora")  # pyright: ignore[reportArgumentType]


def changed(path: str, value: object) -> str:
    config = yaml.safe_load(EVERYTHING.to_yaml())
    *groups, name = path.split(".")
    part = config
    for group in groups:
        part = part[int(group) if group.isdigit() else group]
    part[name] = value
    return yaml.safe_dump(config)


def test_a_change_by_hand_is_read_where_a_spec_can_hold_it() -> None:
    spec = TrainSpec.from_yaml(changed("optimizer.lr", "1e-3"))
    assert spec == EVERYTHING.replace(optimizer={"learning_rate": 1e-3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("optimizer.learning_rte", 1), r"nothing for 'optimizer\.learning_rte' \(did you mean 'optimizer\."),
        (changed("gas", 4), "nothing for 'gas'"),
        (changed("logger.output_dir", "/tmp"), r"logger\.output_dir has a value that a TrainSpec cannot hold"),
        (changed("data.sources.0.split", 3), "train_split"),
        (changed("type", "sft"), "of the type 'sft'"),
        ("model: m\nlearning_rate: 1", r"did you mean 'optimizer\.learning_rate'"),
        ("model: [", "the YAML, line 1: this is not YAML"),
        ("just words", "a mapping is expected"),
        ("missing.yaml", "missing.yaml cannot be read: No such file"),
        (to_yaml(EVERYTHING, base_path="../inputs/base"), r"config of a job.*model\.manifest\.spec"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainSpec.from_yaml(text)
