"""`Trainer`: the step that turns a `TrainSpec` and a `Dataset` into a `Model`, by running ArcticTraining as a job."""

from __future__ import annotations

import json

from pydantic import Field

from soaptune import tiny
from soaptune.common.fingerprint import fingerprint
from soaptune.errors import Violation
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelPlan
from soaptune.jobs.arguments import require_backend, require_handle
from soaptune.jobs.backend import Backend
from soaptune.jobs.job import Job
from soaptune.jobs.requirements import requirements
from soaptune.jobs.spec import JobSpec
from soaptune.jobs.step import Step
from soaptune.train import hardware, preflight
from soaptune.train.arctic_yaml import BASE_INPUT, DATA_INPUT, TABLES, to_yaml
from soaptune.train.spec import TrainSpec

__all__ = ["Trainer"]

_TRAIN_PY = '"""Registers soaptune\'s plug-ins with ArcticTraining."""\nimport soaptune.runtime.arctic  # noqa: F401\n'

_TRAIN_PY_ON_NODES = '''\
"""Registers soaptune's plug-ins with ArcticTraining, on each node of the job."""
import os
import sys

# A process that Ray starts on another node begins in a folder of Ray's own.
os.chdir(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.getcwd())
import soaptune.runtime.arctic  # noqa: E402, F401
'''


class Trainer(Step):
    """Trains a model.

    Examples:
        >>> trainer = Trainer(spec=TrainSpec.preset("tiny-lora"))
        >>> model = trainer.run(data, on=LocalBackend("runs"))  # doctest: +SKIP
    """

    spec: TrainSpec
    """What is trained, and how."""

    name: str = Field(default="train", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,60}$")
    """The job's name, as backends show it."""

    adapt_to_hardware: bool = True
    """Whether a backend on this machine may change what the machine cannot do; `changes` and the preflight's warnings
    say what. Switched off, the same things are errors."""

    def check(self) -> list[Violation]:
        """All that is wrong with the spec itself."""
        return [_under_spec(violation) for violation in self.spec.check()]

    def changes(self, *, on: Backend) -> tuple[hardware.Change, ...]:
        """What of the spec is done otherwise on a backend, because of its hardware.

        Args:
            on: The backend.
        """
        return self._adapted(on)[1]

    def compile(self, data: Dataset, *, on: Backend) -> JobSpec:
        """Writes the job down, without running anything.

        Args:
            data: The examples.
            on: The backend whose hardware the config is for.

        Returns:
            The job: ArcticTraining's config, the two-line ``train.py`` that registers our plug-ins, the task, and the
            plan that becomes the model's manifest. The same input gives the same bytes.
        """
        require_backend(on)
        require_handle(data, Dataset, "data")
        spec, changes = self._adapted(on)
        machine = self._machine(on)
        inputs = {"data": data.location.uri}
        base = tiny.folder_for(spec.model, backend=on.name) if spec.model_is_folder or spec.model == tiny.NAME else None
        if base is not None:
            inputs["base"] = base
        tables = inputs["data"].startswith(TABLES)
        config = to_yaml(spec, data_path=DATA_INPUT, base_path=BASE_INPUT if base else None, tables=tables)
        task = data.task if spec.trainer == "sft" else None
        plan = ModelPlan(
            method=spec.method,
            base=spec.model if spec.model == tiny.NAME else base or spec.model,
            base_revision=spec.revision,
            token=spec.token,
            task=task,
            data_fingerprint=data.fingerprint,
            synthetic=data.manifest.synthetic,
            spec=self.spec.model_dump(mode="json"),
            spec_fingerprint=self.spec.fingerprint,
            yaml_fingerprint=fingerprint(config),
            changes=tuple(str(change) for change in changes),
        )
        several = int(getattr(on, "target_instances", 1)) > 1
        script = _TRAIN_PY_ON_NODES if several else _TRAIN_PY
        files = {"config.yaml": config, "train.py": script, "requirements.txt": requirements("train")}
        files["model.json"] = _json(plan.model_dump(mode="json"))
        if task is not None:
            files["task.json"] = _json(task.model_dump(mode="json"))
        # One rank on a CPU: DeepSpeed would otherwise start one for each NUMA node.
        env = {"DS_ACCELERATOR": "cpu", "LOCAL_SIZE": "1"} if machine is not None and machine.gpus == 0 else {}
        if several:
            # The nodes of an ML Job are a Ray cluster, and only the first of them runs the command.
            env = {**env, "USE_RAY": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
        return JobSpec(
            name=self.name,
            kind="model",
            files=files,
            entrypoint=("arctic_training", "config.yaml"),
            env=env,
            inputs=inputs,
            secrets={"HF_TOKEN": spec.token} if spec.token else {},
        )

    def preflight(self, data: Dataset, *, on: Backend) -> list[Violation]:
        """Looks at the data, the base model and the machine, before anything costs time or money.

        Args:
            data: The examples.
            on: The backend that is to run the job.
        """
        require_backend(on)
        require_handle(data, Dataset, "data")
        spec, changes = self._adapted(on)
        machine = self._machine(on)
        found = [*preflight.data_findings(spec, data), *preflight.model_findings(spec)]
        if machine is not None:
            found += preflight.environment_findings(spec)
            found += hardware.impossible(spec, machine)
        found += [
            Violation(
                path=change.path,
                code="changed-for-hardware",
                level="warning",
                message=f"{change.before} becomes {change.after}: {change.reason}",
            )
            for change in changes
        ]
        return [_under_spec(violation) for violation in found]

    def submit(self, data: Dataset, *, on: Backend, key: str | None = None) -> Job[Model]:
        """Starts the job and comes back at once.

        Args:
            data: The examples.
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the job that is there already.

        Returns:
            The job; its ``result()`` is the model.

        Raises:
            CheckFailed: The check or the preflight found an error.
        """
        return self._submit(data, on=on, key=key)

    def run(self, data: Dataset, *, on: Backend, key: str | None = None) -> Model:
        """Runs the job to its end, with a progress bar.

        Args:
            data: The examples.
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the job that is there already.

        Returns:
            The trained model.

        Raises:
            CheckFailed: The check or the preflight found an error.
            JobFailed: Training failed; the error has the last lines of the log and what to do.
        """
        return self._run(data, on=on, key=key)

    def _machine(self, on: Backend) -> hardware.Machine | None:
        require_backend(on)
        # Of a remote backend's machines nothing is known here, and nothing is changed for them.
        machine = getattr(on, "machine", None)
        if isinstance(machine, hardware.Machine):
            return machine
        return hardware.detect() if on.name == "local" else None

    def _adapted(self, on: Backend) -> tuple[TrainSpec, tuple[hardware.Change, ...]]:
        machine = self._machine(on)
        if machine is None or not self.adapt_to_hardware:
            return self.spec, ()
        return hardware.adapt(self.spec, machine)


def _under_spec(violation: Violation) -> Violation:
    return violation if violation.path.startswith("data[") else violation.under("spec")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
