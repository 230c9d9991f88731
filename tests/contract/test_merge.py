"""Merging with the real PEFT: the merged model answers as the adapter does, and is refused when it does not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("peft") is None:
    pytest.skip("needs the extra 'train'", allow_module_level=True)

from soaptune.errors import JobFailed
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelPlan
from soaptune.handles.weights import was_merged_here
from soaptune.train.finish import finish_model
from soaptune.train.spec import TrainSpec

# Makes a random base model and an adapter for it whose update is not zero, as `checkpoint` of a job.
MAKE = """
import sys
from pathlib import Path
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

base, checkpoint = map(Path, sys.argv[1:])
torch.manual_seed(0)
shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
config = Qwen3Config(**shape, head_dim=16, vocab_size=64, tie_word_embeddings=True)
model = AutoModelForCausalLM.from_config(config)
model.save_pretrained(base, safe_serialization=True)
vocabulary = {f"t{i}": i for i in range(63)} | {"<|im_end|>": 63}
raw = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>")
tokenizer.save_pretrained(base)
tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
for name, parameter in tuned.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(parameter, std=0.2)
tuned.save_pretrained(checkpoint)
tokenizer.save_pretrained(checkpoint)
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job whose model is an adapter for a base in a folder."""
    stage = tmp_path_factory.mktemp("merge")
    base, checkpoint = stage / "base", stage / "output" / "checkpoints" / "global_step_1"
    subprocess.run([sys.executable, "-c", MAKE, str(base), str(checkpoint)], check=True, capture_output=True)
    spec = TrainSpec.preset("tiny-lora").replace(model=str(base))
    plan = ModelPlan(
        method="lora",
        base=str(base),
        data_fingerprint="sha256:d",
        synthetic=True,
        spec=spec.model_dump(mode="json"),
        spec_fingerprint=spec.fingerprint,
        yaml_fingerprint="sha256:y",
    )
    (stage / "model.json").write_text(plan.model_dump_json())
    finish_model(checkpoint, output=stage / "output", plan=stage / "model.json")
    return stage


def test_merging_is_done_once_and_checked(stage: Path) -> None:
    model = Model.open(stage)
    merged = model.merge()
    assert merged.adapter is None
    assert merged.manifest.merged_from == model.fingerprint == merged.lineage["parent"]
    assert merged.manifest.merge_check["merged"] < 1e-4
    assert merged.manifest.merge_check["saved"] < 1e-4
    assert (merged.weights / "model.safetensors").is_file()
    assert (merged.weights / "tokenizer.json").is_file()
    written = (merged.path / "manifest.json").stat().st_mtime_ns
    assert model.merge() == merged
    assert was_merged_here(merged.fingerprint, model.fingerprint)
    assert (merged.path / "manifest.json").stat().st_mtime_ns == written


def test_a_merged_export_is_a_model_that_stands_alone(stage: Path, tmp_path: Path) -> None:
    folder = Model.open(stage).export(tmp_path / "out", content="merged")
    assert (folder / "config.json").is_file()
    assert Model.open(folder).adapter is None


def test_a_base_model_that_is_gone_is_named(stage: Path, tmp_path: Path) -> None:
    folder = Model.open(stage).export(tmp_path / "moved")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["base"] = str(tmp_path / "nowhere")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(JobFailed, match="nowhere"):
        Model.open(folder).merge()
    assert not (folder / "merged").exists()
