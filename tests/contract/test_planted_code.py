"""A model's folder with code in it, which would leave a file: real transformers and PEFT, none of it is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from soaptune.errors import SoaptuneError
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.weights import digests, fingerprint_folder

CODE = """
import pathlib
pathlib.Path({trace!r}).write_text("ran")
from transformers import PretrainedConfig, Qwen3ForCausalLM, Qwen2TokenizerFast

class Config(PretrainedConfig):
    model_type = "planted"

class Network(Qwen3ForCausalLM):
    pass

class Tokenizer(Qwen2TokenizerFast):
    pass
"""


@pytest.fixture
def base(random_model: Any, random_tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    random_model.save_pretrained(folder)
    random_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def change(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def plant_tokenizer(folder: Path, trace: Path) -> None:
    (folder / "planted.py").write_text(CODE.format(trace=str(trace)))
    auto_map = {"AutoTokenizer": [None, "planted.Tokenizer"]}
    change(folder / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Planted")


def plant_model(folder: Path, trace: Path) -> None:
    (folder / "planted.py").write_text(CODE.format(trace=str(trace)))
    auto_map = {"AutoConfig": "planted.Config", "AutoModelForCausalLM": "planted.Network"}
    change(folder / "config.json", auto_map=auto_map, model_type="planted")


def adapter_of(base: Path, folder: Path) -> Path:
    import peft

    from soaptune.runtime.engines.loading import load_model

    network, tokenizer = load_model(base, device="cpu")
    peft.get_peft_model(network, peft.LoraConfig(r=2, target_modules="all-linear")).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def opened(folder: Path, base: Path) -> Any:
    """The adapter as a model, its manifest made for what lies there now."""
    manifest = ModelManifest(
        method="lora",
        base=ModelRef(name=str(base)),
        data_fingerprint="sha256:d",
        synthetic=True,
        spec={},
        spec_fingerprint="sha256:s",
        yaml_fingerprint="sha256:y",
        fingerprint=fingerprint_folder(folder / "model"),
        files=digests(folder / "model"),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return Model.open(folder)


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any) -> str:
        pytest.fail("somebody was asked whether to run the code")

    monkeypatch.setattr("builtins.input", ask)


def test_a_tokenizer_with_code_beside_an_adapter_is_a_typed_error(base: Path, trace: Path, tmp_path: Path) -> None:
    from soaptune.runtime.engines.loading import load_tokenizer
    from soaptune.runtime.engines.opening import source_of_model

    folder = adapter_of(base, tmp_path / "tuned")
    plant_tokenizer(folder / "model", trace)
    model = opened(folder, base)
    for use in (
        model.load,
        model.merge,
        source_of_model(model, ModelRef(name=str(base))).load,
        lambda: load_tokenizer(model.weights),
    ):
        with pytest.raises(SoaptuneError, match="needs code of its own"):
            use()
    assert not trace.exists()


def test_a_base_model_with_code_is_a_typed_error(base: Path, trace: Path, tmp_path: Path) -> None:
    from soaptune.runtime.engines.loading import load_model
    from soaptune.runtime.engines.pretrained import text_pipeline

    folder = adapter_of(base, tmp_path / "tuned")
    plant_model(base, trace)
    for use in (lambda: load_model(base), opened(folder, base).load, lambda: text_pipeline(str(base))):
        with pytest.raises(SoaptuneError, match="needs code of its own"):
            use()
    assert not trace.exists()


@pytest.mark.parametrize("plant", [plant_model, plant_tokenizer])
def test_training_refuses_a_base_model_with_code_before_arctic_training_would_ask(
    plant: Any, base: Path, trace: Path
) -> None:
    from soaptune.runtime.arctic.base_model import BaseModelConfig

    assert BaseModelConfig.model_fields["name_or_path"]
    plant(base, trace)
    with pytest.raises(SoaptuneError, match="needs code of its own"):
        BaseModelConfig(type="soaptune_base", name_or_path=str(base))  # type: ignore[call-arg]
    assert not trace.exists()


def test_the_preflights_tokenizer_is_not_asked_either(base: Path, trace: Path) -> None:
    from soaptune.errors import ConfigError
    from soaptune.runtime.probe import _tokenizer
    from soaptune.train.tokens import TokenQuestion

    plant_tokenizer(base, trace)
    with pytest.raises(ConfigError, match="needs code of its own"):
        _tokenizer(TokenQuestion.model_construct(model=str(base), revision=None, cache_dir=None))
    assert not trace.exists()


def test_an_adapter_that_has_a_module_imported_is_refused(
    base: Path, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter_of(base, tmp_path / "tuned")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "planted_core.py").write_text(
        f"import pathlib; pathlib.Path({str(trace)!r}).write_text('ran')"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    change(folder / "model" / "adapter_config.json", megatron_config={"a": 1}, megatron_core="planted_core")
    with pytest.raises(SoaptuneError, match="megatron_config has a module imported"):
        opened(folder, base).load()
    change(folder / "model" / "adapter_config.json", megatron_config=None, peft_type="XLORA")
    with pytest.raises(SoaptuneError, match="only LoRA adapters are read"):
        opened(folder, base).load()
    assert not trace.exists()


@pytest.mark.parametrize("key", ["_attn_implementation", "_attn_implementation_internal"])
def test_kernels_of_the_hub_that_a_config_names_are_not_fetched(key: str, base: Path) -> None:
    """transformers obeys the config even where it is told another kernel; without `kernels` it says so and ends."""
    from soaptune.runtime.engines.loading import load_model
    from soaptune.runtime.engines.pretrained import text_pipeline

    change(base / "config.json", **{key: "somebody/kernels"})
    for use in (load_model, text_pipeline):
        with pytest.raises(SoaptuneError, match="names kernels of the hub"):
            use(str(base))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin"])
def test_pickled_weights_are_not_read(name: str, base: Path, trace: Path, tmp_path: Path) -> None:
    import pickle

    import peft

    from soaptune.runtime.engines.loading import load_model

    class Evil:
        def __reduce__(self) -> Any:
            return Path.write_text, (trace, "ran")

    if name.startswith("adapter"):
        place = tmp_path / "tuned" / "model"
        adapter_of(base, tmp_path / "tuned")
        (place / "adapter_model.safetensors").unlink()
    else:
        place = base
        (place / "model.safetensors").unlink()
    (place / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SoaptuneError, match=rf"pickled \({name}\)"):
        load_model(place, base=None if place == base else ModelRef(name=str(base)))
    assert not trace.exists()
    assert peft.__version__


def test_an_adapter_is_no_base_model(base: Path, tmp_path: Path) -> None:
    """transformers would read the adapter's own base, under whatever name it gives."""
    from soaptune.runtime.engines.loading import load_model

    folder = adapter_of(base, tmp_path / "tuned")
    with pytest.raises(SoaptuneError, match="holds an adapter"):
        load_model(folder / "model", base=ModelRef(name=str(folder / "model")))
