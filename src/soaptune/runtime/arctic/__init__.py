"""Our plug-ins for ArcticTraining; importing this package registers them (the job's two-line ``train.py`` does).

What ArcticTraining 0.8 gets wrong in silence and these mend: labels found by searching for text, rows dropped
without a count, a schedule that ignores accumulation, and optimizers that need a C++ compiler.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from soaptune.runtime.arctic import compiler_free  # isort: skip  (must come before anything starts torch.distributed)
from soaptune.runtime.arctic.factory import SoaptuneDataFactory
from soaptune.runtime.arctic.optimizers import AdamWFactory, MuonFactory
from soaptune.runtime.arctic.source import DatasetSource
from soaptune.runtime.arctic.trainers import SoaptuneCausalTrainer, SoaptuneSFTTrainer

compiler_free.install()

__all__ = [
    "AdamWFactory",
    "DatasetSource",
    "MuonFactory",
    "SoaptuneCausalTrainer",
    "SoaptuneDataFactory",
    "SoaptuneSFTTrainer",
]
