"""ArcticTraining's own config classes load what `TrainSpec.to_yaml` writes, with our plug-ins registered."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from soaptune.train.options import CheckpointOptions, LoraOptions
from soaptune.train.spec import TrainSpec

# Asked without importing it, which takes seconds and is the other process's business.
if importlib.util.find_spec("arctic_training") is None:
    pytest.skip("needs the extra 'train'", allow_module_level=True)

DEFAULTS = Path(__file__).parents[1] / "unit" / "train" / "fixtures" / "arctic_defaults.yaml"
DTYPES = {"bf16": "DType.BF16", "fp32": "DType.FP32", "fp16": "DType.FP16"}

# Loads every config of a stage as the `arctic_training` command does. It is a process of its own, because making a
# config starts torch.distributed, and because nobody wants torch in the process of the unit tests.
LOADER = """
import json, os, sys
from pathlib import Path
from arctic_training.config.trainer import get_config
from arctic_training.registry import get_registered_trainer

def plain(value):
    # As what they are, not as the base classes that the fields are declared with.
    return json.loads(json.dumps(value.model_dump(serialize_as_any=True), default=str))

seen = {}
for name in sys.argv[1:]:
    config = get_config(Path(name + ".yaml"))
    trainer = get_registered_trainer(config.type)
    seen[name] = {
        "config": plain(config),
        "trainer": trainer.__name__,
        "optimizer": config.optimizer.factory.__name__,
        "source": config.data.sources[0].data_source.__name__,
        "data": config.data.factory.__name__,
        "model": config.model.factory.__name__,
        "peft": None if config.model.peft_config is None else type(config.model.peft_config_obj).__name__,
        "bias": None if config.model.peft_config is None else config.model.peft_config_obj.bias,
    }
print("RESULT " + json.dumps(seen), flush=True)
os._exit(0)  # taking torch.distributed down properly takes longer than all the rest
"""

TINY_QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 128,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


def specs(model: str) -> dict[str, TrainSpec]:
    every = {name: TrainSpec.preset(name).replace(model=model) for name in TrainSpec.presets()}
    every["everything"] = TrainSpec(
        model=model,
        lora=LoraOptions(target_modules="all-linear", use_rslora=True, modules_to_save=("embed_tokens",)),
        eval_interval=5,
        max_steps=20,
        checkpoints=CheckpointOptions(save_every_steps=5, save_every_epochs=1),
        overlong="truncate",
        log_interval=5,
    )
    return every


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What ArcticTraining made of each config, by name."""
    stage = tmp_path_factory.mktemp("stage")
    app, model = stage / "app", stage / "model"
    app.mkdir()
    model.mkdir()
    (model / "config.json").write_text(json.dumps(TINY_QWEN3))
    (app / "train.py").write_text("import soaptune.runtime.arctic\n")
    for name, spec in specs(str(model)).items():
        (app / f"{name}.yaml").write_text(spec.to_yaml())
    # A recipe that leaves out everything it can, for ArcticTraining's defaults.
    bare = {
        "type": "sft",
        "code": "train.py",
        "model": {"name_or_path": str(model), "peft_config": {"peft_type": "Lora"}},
        "data": {"sources": ["org/data"], "max_length": 64},
    }
    (app / "bare.yaml").write_text(yaml.safe_dump(bare))
    names = [*specs(str(model)), "bare"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(stage),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *names], cwd=app, env=env, capture_output=True, text=True, timeout=300
    )
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert results, done.stderr[-3000:]
    assert "built successfully" not in done.stdout, "DeepSpeed built C++, which a machine without a compiler cannot"
    return json.loads(results[0].removeprefix("RESULT "))


@pytest.mark.parametrize("name", [*TrainSpec.presets(), "everything"])
def test_every_value_of_the_yaml_arrives_in_arctic_training(loaded: dict[str, dict[str, Any]], name: str) -> None:
    spec = specs("m")[name]
    written = flat(yaml.safe_load(spec.to_yaml()))
    arrived = flat(loaded[name]["config"])
    renamed = {"optimizer.lr": "optimizer.learning_rate"}
    written["model.dtype"] = DTYPES[written["model.dtype"]]
    paths = {"code", "model.name_or_path", "data.cache_dir", "checkpoint.0.output_dir"}  # made absolute there
    compared = {key: value for key, value in written.items() if key not in paths}
    assert {key: arrived.get(renamed.get(key, key)) for key in compared} == compared


def test_our_plug_ins_are_the_ones_that_run(loaded: dict[str, dict[str, Any]]) -> None:
    used = loaded["tiny-lora"]
    assert used["trainer"] == "SoaptuneSFTTrainer"
    assert used["data"] == "SoaptuneDataFactory"
    assert used["source"] == "DatasetSource"
    assert used["model"] == "BaseModelFactory"
    assert used["optimizer"] == "AdamWFactory"
    assert used["peft"] == "LoraConfig"
    assert loaded["tiny-pretrain"]["trainer"] == "SoaptuneCausalTrainer"
    assert loaded["tiny-pretrain"]["optimizer"] == "MuonFactory"
    assert loaded["qwen3-1.7b-lora"]["optimizer"] == "CPUAdamOptimizerFactory"


def test_job_folders_are_found_beside_the_configs_folder(loaded: dict[str, dict[str, Any]]) -> None:
    config = loaded["tiny-lora"]["config"]
    output = Path(config["checkpoint"][0]["output_dir"])
    assert output.parts[-3:] == (output.parts[-3], "output", "checkpoints")
    assert Path(config["data"]["cache_dir"]).name == "cache"


def test_what_the_qwen_presets_add_are_arctic_trainings_defaults(loaded: dict[str, dict[str, Any]]) -> None:
    stock = flat(loaded["bare"]["config"])
    stock["model.peft_config.bias"] = loaded["bare"]["bias"]
    defaults = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    defaults["model.dtype"] = DTYPES[defaults["model.dtype"]]
    assert {key: stock.get(key) for key in defaults} == defaults


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings and lists of mappings as dotted paths."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{path}.{key}".lstrip(".")).items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {k: v for i, inner in enumerate(value) for k, v in flat(inner, f"{path}.{i}").items()}
    return {path: value}
