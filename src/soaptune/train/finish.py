"""The last act of a training job: from the trainer's last checkpoint to a finished model folder with its manifest.

It runs inside the job, but needs nothing of torch, so it is on this side.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from soaptune.common.files import MANIFEST, read_json, read_object, write_json
from soaptune.common.fingerprint import fingerprint
from soaptune.common.versions import installed_versions
from soaptune.handles.model_export import copy_model_files
from soaptune.handles.model_manifest import ModelManifest, ModelPlan
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.weights import check_model_files, digests
from soaptune.jobs.place import PLACE_FILE, Place

__all__ = ["GIT_REVISION", "PACKAGES", "finish_model", "git_revision", "package_versions"]

GIT_REVISION = "SOAPTUNE_GIT_REVISION"
"""Environment variable that carries the submitter's git commit into a job."""

PACKAGES = ("soaptune", "arctic-training", "deepspeed", "torch", "transformers", "peft", "datasets", "safetensors")
"""Packages whose versions decide what a training run gives."""


def finish_model(
    checkpoint: Path,
    *,
    output: Path = Path("../output"),
    plan: Path = Path("model.json"),
    training: Mapping[str, float] | None = None,
    base_revision: str | None = None,
    keep_checkpoint: bool = False,
) -> ModelManifest:
    """Makes ``output/model`` from a checkpoint and writes ``output/manifest.json``, the manifest last.

    Args:
        checkpoint: The folder in which the trainer saved weights and tokenizer at the end.
        output: The job's output folder.
        plan: The `ModelPlan` that came with the job.
        training: What was counted: ``steps``, ``loss``, ``tokens``, ``seconds``.
        base_revision: The commit of the base model that was in fact used, where it is known.
        keep_checkpoint: Whether the checkpoint stays where it is, beside the copy.

    Returns:
        The manifest that was written.

    Raises:
        DataError: The checkpoint is not a whole model.
    """
    planned = ModelPlan.model_validate(read_json(plan))
    there = checkpoint.iterdir() if checkpoint.is_dir() else ()
    check_model_files((file.name for file in there), is_adapter=planned.method == "lora", where=str(checkpoint))
    folder = output / "model"
    if folder.exists():
        shutil.rmtree(folder)
    copy_model_files(checkpoint, folder)
    if not keep_checkpoint:
        shutil.rmtree(checkpoint)
        if not any(checkpoint.parent.iterdir()):
            checkpoint.parent.rmdir()
    base = planned.base.replace(revision=base_revision or planned.base.revision)
    if planned.method == "lora":
        _name_the_base(folder / "adapter_config.json", base)
    files = digests(folder)
    made: dict[str, Any] = {
        "base": base,
        "plan_fingerprint": Place.read(plan.parent).plan if (plan.parent / PLACE_FILE).is_file() else "",
        "fingerprint": fingerprint(files),
        "files": files,
        "versions": package_versions(),
        # A job on this machine mostly lies inside the project; elsewhere the submitter has to tell.
        "git_revision": os.environ.get(GIT_REVISION) or git_revision(),
        "training": dict(training or {}),
    }
    manifest = ModelManifest(**{**dict(planned), **made})
    write_json(output / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def package_versions() -> dict[str, str]:
    """The versions of Python and of the `PACKAGES` that are installed."""
    return {"python": platform.python_version(), **installed_versions(*PACKAGES)}


def git_revision(folder: Path | None = None) -> str | None:
    """The git commit of a working tree, ``-dirty`` added when it holds changes, or None where there is no git.

    Args:
        folder: A folder in the working tree; the current one when unset.
    """
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _name_the_base(file: Path, base: ModelRef) -> None:
    # PEFT writes where the base lay on the training machine, and its layers in the order of a set.
    config = read_object(file)
    config["base_model_name_or_path"] = base.name
    config["revision"] = base.revision
    for key in ("target_modules", "modules_to_save", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(cast("list[str]", config[key]))
    write_json(file, config)
