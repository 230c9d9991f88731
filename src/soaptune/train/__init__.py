"""The second step: every training choice as one config, and the step that turns it into an ArcticTraining job.

`spec` holds the choices, `checks` what is wrong with them, `arctic_yaml` writes them in ArcticTraining's words,
`hardware` has what a machine forces to change, `trainer` is the step (`soaptune.Trainer`), `finish` is the last act of
its job. Nothing here imports torch.
"""

from soaptune.train.options import (
    CheckpointOptions,
    DeepSpeedOptions,
    LoraOptions,
    OptimizerOptions,
    SchedulerOptions,
)
from soaptune.train.spec import TrainSpec

__all__ = [
    "CheckpointOptions",
    "DeepSpeedOptions",
    "LoraOptions",
    "OptimizerOptions",
    "SchedulerOptions",
    "TrainSpec",
]
