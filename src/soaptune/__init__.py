"""soaptune: turn domain text into a fixed structured output with an open language model that you fine-tune yourself.

Four steps, in the order the data flows: `DataGenerator`, `Trainer`, `Evaluator`, `Deployer`. What they hand to each
other are handles (`Dataset`, `Model`, `EvalReport`, `Endpoint`); where they run is a backend (`LocalBackend`,
`SnowflakeBackend`).

The public names are loaded when they are first used, so that ``import soaptune`` costs
little and works without any of the extras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soaptune import engines, tasks
    from soaptune.data.generator import DataGenerator
    from soaptune.deploy.deployer import Deployer
    from soaptune.deploy.gates import Gates
    from soaptune.deploy.service import ServiceOptions
    from soaptune.errors import SoaptuneError, Violation
    from soaptune.evaluate import judges
    from soaptune.evaluate.evaluator import Evaluator
    from soaptune.handles.dataset import Dataset
    from soaptune.handles.endpoint import Endpoint
    from soaptune.handles.model import Model
    from soaptune.handles.report import EvalReport, Metric
    from soaptune.jobs.job import Job
    from soaptune.jobs.spec import JobSpec
    from soaptune.local.backend import LocalBackend
    from soaptune.snowflake.backend import SnowflakeBackend
    from soaptune.tasks.task import Task
    from soaptune.train.spec import TrainSpec
    from soaptune.train.trainer import Trainer

__all__ = [
    "DataGenerator",
    "Dataset",
    "Deployer",
    "Endpoint",
    "EvalReport",
    "Evaluator",
    "Gates",
    "Job",
    "JobSpec",
    "LocalBackend",
    "Metric",
    "Model",
    "ServiceOptions",
    "SnowflakeBackend",
    "SoaptuneError",
    "Task",
    "TrainSpec",
    "Trainer",
    "Violation",
    "engines",
    "judges",
    "tasks",
]

__version__ = "0.1.0"

# Hidden from type checkers, which take the names from the imports above: to them a `__getattr__` would make every
# misspelt name an `Any`.
if not TYPE_CHECKING:
    _CLASSES = {
        "DataGenerator": "data.generator",
        "Dataset": "handles.dataset",
        "Deployer": "deploy.deployer",
        "Endpoint": "handles.endpoint",
        "EvalReport": "handles.report",
        "Evaluator": "evaluate.evaluator",
        "Gates": "deploy.gates",
        "Job": "jobs.job",
        "JobSpec": "jobs.spec",
        "LocalBackend": "local.backend",
        "Metric": "handles.report",
        "Model": "handles.model",
        "ServiceOptions": "deploy.service",
        "SnowflakeBackend": "snowflake.backend",
        "SoaptuneError": "errors",
        "Task": "tasks.task",
        "TrainSpec": "train.spec",
        "Trainer": "train.trainer",
        "Violation": "errors",
    }
    _MODULES = {"engines": "engines", "judges": "evaluate.judges", "tasks": "tasks"}

    def __getattr__(name):
        from importlib import import_module

        if name in _MODULES:
            value = import_module(f"soaptune.{_MODULES[name]}")
        elif name in _CLASSES:
            value = getattr(import_module(f"soaptune.{_CLASSES[name]}"), name)
        else:
            raise AttributeError(f"module 'soaptune' has no attribute {name!r}; it offers {', '.join(__all__)}")
        globals()[name] = value  # the next access finds it without coming here
        return value

    def __dir__():
        return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "annotations", "_CLASSES", "_MODULES"})
