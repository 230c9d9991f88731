"""A model as other programs expect it: files where vLLM, PEFT and transformers look for them, and a model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from soaptune.common.files import MANIFEST, atomic_dir, write_json, write_text
from soaptune.errors import DataError
from soaptune.handles.model_manifest import ModelManifest
from soaptune.handles.weights import model_files

__all__ = ["copy_model_files", "export_model", "model_card"]


def export_model(weights: Path, manifest: ModelManifest, target: Path) -> Path:
    """Writes a model to a folder of its own.

    Args:
        weights: The folder with weights and tokenizer.
        manifest: What the model is.
        target: The new folder.

    Returns:
        The folder, absolute.

    Raises:
        DataError: There is something in the folder already.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is not empty; export a model to a new folder")
    inner = "adapter" if manifest.method == "lora" else "."
    with atomic_dir(target, shared=True) as folder:
        copy_model_files(weights, folder / inner)
        write_text(folder / "README.md", model_card(manifest))
        write_json(folder / MANIFEST, manifest.replace(weights=inner).model_dump(mode="json"))
    return target


def copy_model_files(source: Path, target: Path) -> None:
    """Copies weights, configs, tokenizer and chat template; nothing that is not a model's file, and no pickle.

    Args:
        source: A folder with a model.
        target: Where to; made if it is not there.

    Raises:
        DataError: A symbolic link leads out of the folder.
    """
    target.mkdir(parents=True, exist_ok=True)
    for file in model_files(source):
        if file.parent == source:  # what lies deeper is a checkpoint's state
            shutil.copyfile(file, target / file.name)


def model_card(manifest: ModelManifest) -> str:
    """The model card (``README.md``): what the model is, what it was trained on, and how to use it."""
    lora = manifest.method == "lora"
    front = ["---", f"base_model: {json.dumps(manifest.base.name, ensure_ascii=False)}"]
    front += [f"library_name: {'peft' if lora else 'transformers'}", "tags: [soaptune]", "---", ""]
    title = manifest.task.name if manifest.task else "Pre-trained model"
    body = [f"# {title}", ""]
    base = manifest.base.name + (f" (revision `{manifest.base.revision}`)" if manifest.base.revision else "")
    if lora:
        body += [f"A LoRA adapter for {base}, trained with soaptune on ArcticTraining.", ""]
    elif manifest.merged_from:
        body += [f"{base} with a LoRA adapter merged into it, trained with soaptune on ArcticTraining.", ""]
    else:
        body += [f"Trained from {base} with soaptune on ArcticTraining.", ""]
    if manifest.synthetic:
        body += [
            "**It was trained on synthetic text.** The examples were generated, not taken from real records. "
            "Do not base decisions about people on what it writes.",
            "",
        ]
    if manifest.task:
        body += [
            "## Task",
            "",
            "It reads " + _names(manifest.task.input_fields) + " and writes one JSON object with the keys "
            f"{_names(manifest.task.output_fields)}. Prompt and schema are in `manifest.json` under `task`; "
            "use them word for word, because that is what was trained.",
            "",
        ]
    body += ["## Use", "", "```sh"]
    body += [f"vllm serve {manifest.base} --enable-lora --lora-modules tuned=adapter" if lora else "vllm serve ."]
    body += ["```", "", "## Where it comes from", "", "| | |", "|---|---|"]
    rows = {
        "base model": base,
        "training data": manifest.data_fingerprint + (" (synthetic)" if manifest.synthetic else ""),
        "spec": manifest.spec_fingerprint,
        "ArcticTraining config": manifest.yaml_fingerprint,
        "weights": manifest.fingerprint,
        "git revision": manifest.git_revision or "unknown",
        **{f"version of {name}": version for name, version in sorted(manifest.versions.items())},
        **{name.replace("_", " "): f"{value:g}" for name, value in sorted(manifest.training.items())},
    }
    body += [f"| {name} | {value} |" for name, value in rows.items()]
    body += ["", "The licence is that of the base model and of the training data.", ""]
    return "\n".join([*front, *body])


def _names(fields: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in fields)
