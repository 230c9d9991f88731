"""Weights and their small files, damaged: what loads them raises an error of ours, and the process lives on."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from soaptune import tiny
from soaptune.errors import DataError, EngineError
from soaptune.runtime.engines.loading import load_model


def header(data: bytes, change: Callable[[dict[str, dict[str, object]]], None]) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    found = json.loads(data[8 : 8 + size])
    change(found)
    made = json.dumps(found).encode()
    return struct.pack("<Q", len(made)) + made + data[8 + size :]


def far(found: dict[str, dict[str, object]]) -> None:
    next(value for name, value in found.items() if name != "__metadata__")["data_offsets"] = [10**15, 10**15 + 64]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in the weights": lambda data: data[: len(data) // 2],
    "cut in the header": lambda data: data[:100],
    "empty": lambda _: b"",
    "a header beyond the file": lambda data: struct.pack("<Q", 10**15) + data[8:],
    "a header of the largest length": lambda data: b"\xff" * 8 + data[8:],
    "offsets beyond the file": lambda data: header(data, far),
    "no JSON": lambda data: data[:8] + b"[" + data[9:],
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.path(), tmp_path / "model"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_safetensors_are_an_error_of_ours(model: Path, damage: str) -> None:
    (file, *_) = sorted(model.glob("*.safetensors"))
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(EngineError, match="could not be loaded"):
        load_model(model)


@pytest.mark.parametrize("content", ["[]", "{", "null", '{"hidden_size": "many"}', '{"model_type": ["qwen3"]}'])
@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "tokenizer.json"])
def test_damaged_small_files_are_an_error_of_ours(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    with pytest.raises((EngineError, DataError), match=r"could not be loaded|adapter"):
        load_model(model)
