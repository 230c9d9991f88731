"""One rank of ArcticTraining that trains in several stages, one after the other, and keeps each step's gradients.

It does what the ``arctic_training`` command does, but imports torch once for all. Arguments: the stages' folders.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from arctic_training.config.trainer import get_config
from arctic_training.registry import get_registered_trainer
from deepspeed.utils import safe_get_full_grad
from safetensors.torch import save_file


def train(stage: Path) -> None:
    """Trains in a stage; the gradients of step n, as the optimizer gets them, go to ``gradients/n.safetensors``."""
    os.chdir(stage / "app")
    config = get_config(Path("config.yaml"))
    trainer: Any = get_registered_trainer(config.type)(config)
    folder = stage / "gradients"
    folder.mkdir(exist_ok=True)

    take_step = trainer.model.step

    def keep_then_step(*arguments: Any) -> None:
        if trainer.model.is_gradient_accumulation_boundary():
            # All ranks ask for each parameter: ZeRO has given each of them a part of its gradient.
            grads = {name: safe_get_full_grad(p).clone() for name, p in trainer.model_unwrapped.named_parameters()}
            if trainer.global_rank == 0:
                save_file(grads, folder / f"{trainer.model.global_steps + 1}.safetensors")
        take_step(*arguments)

    trainer.model.step = keep_then_step
    trainer.train()


for argument in sys.argv[1:]:
    try:
        train(Path(argument))
    except ValueError as error:  # one that fails on purpose
        (Path(argument) / "error").write_text(str(error), encoding="utf-8")
if torch.distributed.get_world_size() > 1:
    torch.distributed.barrier()
sys.stdout.flush()
os._exit(0)  # taking torch.distributed down properly takes longer than all the rest
