"""Merges an adapter into its base model and proves that the result answers as the adapter does.

Started as ``python -m soaptune.runtime.merge --model FOLDER --output FOLDER`` by `soaptune.Model.merge`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from soaptune.common.files import MANIFEST, atomic_dir, write_json
from soaptune.common.fingerprint import fingerprint
from soaptune.errors import EngineError, SoaptuneError
from soaptune.handles.folder_model import FolderModel, open_model
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.weights import digests, note_merge
from soaptune.runtime.engines.loading import load_model

__all__ = ["main", "merge"]

_PROBES, _PROBE_TOKENS = 4, 64
_MERGED_TOLERANCE = 1e-4  # of the largest logit; fp32 rounding of one matrix product
_SAVED_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}


def merge(model: FolderModel, output: Path, *, base: ModelRef | None = None) -> dict[str, float]:
    """Writes the merged model and its manifest to a folder of its own.

    Args:
        model: A model with an adapter.
        output: The new folder; it gets ``manifest.json`` and ``model/``.
        base: The base model, where it is not to be found under the name in the manifest.

    Returns:
        The largest difference of a logit, relative to the largest logit: after merging (``merged``) and as read back
        from disk (``saved``).

    Raises:
        EngineError: The merged model's logits are not the adapter's.
    """
    model.verify()
    manifest = model.manifest
    tuned, tokenizer = _load(model, base or model.base)
    probes = _probes(int(tuned.config.vocab_size))
    expected = _logits(tuned, probes)
    merged: Any = tuned.merge_and_unload()
    scale = float(expected.abs().max())
    found = {"merged": float((_logits(merged, probes) - expected).abs().max()) / scale}
    if not found["merged"] <= _MERGED_TOLERANCE:
        raise EngineError(
            f"the merged model's logits differ from the adapter's by {found['merged']:.1e} of the largest"
        )
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(str(manifest.spec.get("dtype")), torch.float32)
    with atomic_dir(output) as folder:
        weights = folder / "model"
        merged.to(dtype).save_pretrained(weights, safe_serialization=True)
        tokenizer.save_pretrained(weights)
        del tuned, merged
        saved, _ = load_model(weights, device="cpu", dtype="float32")
        found["saved"] = float((_logits(saved, probes) - expected).abs().max()) / scale
        name = str(dtype).removeprefix("torch.")
        if not found["saved"] <= _SAVED_TOLERANCE[name]:
            raise EngineError(
                f"saved as {name}, the merged model's logits differ by {found['saved']:.1e} of the largest"
            )
        files = digests(weights)
        whole = manifest.replace(
            method="full",
            weights="model",
            fingerprint=fingerprint(files),
            files=files,
            merged_from=manifest.fingerprint,
            merge_check=found,
        )
        note_merge(whole.fingerprint, manifest.fingerprint)
        write_json(folder / MANIFEST, whole.model_dump(mode="json"))
    return found


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; the reason of a failure is the last line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m soaptune.runtime.merge", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    try:
        merge(open_model(options.model), options.output)
    except SoaptuneError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _load(model: FolderModel, base: ModelRef) -> tuple[Any, Any]:
    # fp32 on the CPU whatever the machine: what is added up here must not be rounded before it is saved.
    return load_model(
        model.weights,
        base=base,
        device="cpu",
        dtype="float32",
    )


def _probes(vocabulary: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (_PROBES, _PROBE_TOKENS), generator=generator)


@torch.inference_mode()
def _logits(model: Any, probes: torch.Tensor) -> torch.Tensor:
    return model(input_ids=probes, use_cache=False).logits.float().clone()


if __name__ == "__main__":
    sys.exit(main())
