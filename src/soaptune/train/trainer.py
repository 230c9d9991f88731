"""`Trainer`: the step that turns a `TrainSpec` and a `Dataset` into a `Model`, by running ArcticTraining as a job."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from soaptune.common.fingerprint import fingerprint
from soaptune.config import OtherName
from soaptune.errors import Violation
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Folder
from soaptune.handles.model import Model
from soaptune.handles.model_manifest import ModelPlan
from soaptune.handles.model_ref import ModelRef
from soaptune.jobs.arguments import require_backend, require_capabilities, require_handle
from soaptune.jobs.backend import Backend
from soaptune.jobs.base_model import bring_base
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.job import Job
from soaptune.jobs.needs import Needs
from soaptune.jobs.plan import Plan, as_json
from soaptune.jobs.requirements import requirements
from soaptune.jobs.spec import JobName, JobSpec
from soaptune.jobs.step import Step
from soaptune.train import hardware, preflight
from soaptune.train.arctic_yaml import to_yaml
from soaptune.train.memory import training_memory
from soaptune.train.spec import TrainSpec
from soaptune.train.tokens import token_findings

__all__ = ["Trainer"]

_OF_THE_CALLER = {"token", "cache_dir"}
"""What of a spec belongs to the caller, and enters no manifest."""

_GIVEN_TO_RUN = OtherName("run(data, on=backend)", "A trainer is not given its examples before.")

_OTHER_NAMES: Mapping[str, OtherName] = MappingProxyType(
    {
        **dict.fromkeys(("train_dataset", "eval_dataset", "dataset", "data", "train_data"), _GIVEN_TO_RUN),
        **{name: OtherName("spec") for name in ("args", "config", "training_args")},
    }
)

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


class Trainer(Step[Model]):
    """Trains a model.

    Examples:
        >>> trainer = Trainer(spec=TrainSpec.preset("tiny-lora"))
        >>> model = trainer.run(data, on=LocalBackend("runs"))  # doctest: +SKIP
    """

    other_names: ClassVar[Mapping[str, OtherName]] = _OTHER_NAMES

    spec: TrainSpec
    """What is trained, and how."""

    name: JobName = "train"
    """The job's name, as backends show it."""

    adapt_to_hardware: bool = True
    """Whether a backend on this machine may change what the machine cannot do; `changes` and the preflight's warnings
    list it. Switched off, the same things are errors."""

    def check(self) -> list[Violation]:
        """All that is wrong with the spec itself."""
        return [_under_spec(violation) for violation in self.spec.check()]

    def changes(self, *, on: Backend) -> tuple[hardware.Change, ...]:
        """What of the spec is done otherwise on a backend, because of its hardware.

        Args:
            on: The backend.
        """
        require_backend(on)
        return self._adapted(on.capabilities)[1]

    def plan(self, data: Dataset, *, given: Capabilities) -> Plan:
        """What the step wants, wherever it runs; nothing is read or asked.

        Args:
            data: The examples.
            given: What the backend can do; the config is written for its hardware.

        Raises:
            ConfigError: An input is of a wrong kind.
        """
        require_capabilities(given)
        require_handle(data, Dataset, "data")
        spec, changes = self._adapted(given)
        base, inputs = bring_base(spec.base, given=given)
        config = to_yaml(spec, base_path=None if base == spec.base else base.name)
        task = data.task if spec.trainer == "sft" else None
        # A folder is known by its path: the same words mean another folder elsewhere.
        folder = inputs.get("base")
        named = ModelRef(name=folder.path) if isinstance(folder, Folder) and not spec.base.is_embedded else spec.base
        model = ModelPlan(
            method=spec.method,
            base=named,
            task=task,
            data_fingerprint=data.fingerprint,
            synthetic=data.manifest.synthetic,
            spec=self.spec.model_dump(mode="json", exclude=_OF_THE_CALLER),
            spec_fingerprint=self.spec.fingerprint,
            yaml_fingerprint=fingerprint(config),
            changes=tuple(str(change) for change in changes),
        )
        several = given.nodes > 1
        script = _TRAIN_PY_ON_NODES if several else _TRAIN_PY
        files = {"config.yaml": config, "train.py": script, "requirements.txt": requirements("train")}
        files["model.json"] = as_json(model)
        if task is not None:
            files["task.json"] = as_json(task)
        # One rank on a CPU: DeepSpeed would otherwise start one for each NUMA node.
        cpu_only = given.machine is not None and given.machine.gpus == 0
        env = {"DS_ACCELERATOR": "cpu", "LOCAL_SIZE": "1"} if cpu_only else {}
        if several:
            # The nodes of an ML Job are a Ray cluster, and only the first of them runs the command.
            env = {**env, "USE_RAY": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
        return Plan(
            name=self.name,
            kind="model",
            files=files,
            entrypoint=("arctic_training", "config.yaml"),
            env=env,
            inputs={"data": data.location, **inputs},
            needs=self._needs(spec),
        )

    def compile(self, data: Dataset, *, on: Backend) -> JobSpec:
        """Writes the job down, without running anything.

        Args:
            data: The examples.
            on: The backend whose hardware the config is for.

        Returns:
            The job: ArcticTraining's config, the two-line ``train.py`` that registers our plug-ins, the task, and the
            plan that becomes the model's manifest. The same input gives the same bytes.
        """
        self._require(data, on)
        return on.lower(self.plan(data, given=on.capabilities))

    def preflight(self, data: Dataset, *, on: Backend) -> list[Violation]:
        """Looks at the data, the base model and the machine, before anything costs time or money.

        Args:
            data: The examples.
            on: The backend that is to run the job.
        """
        self._require(data, on)
        able = on.capabilities
        machine = able.machine
        spec, changes = self._adapted(able)
        # Where the machine is known only once the job runs, there is one rank on each node at least.
        ranks = able.nodes * (max(1, machine.gpus) if machine is not None else 1)
        found = [*preflight.data_findings(spec, data, ranks=ranks), *preflight.model_findings(spec)]
        if machine is not None:
            found += hardware.impossible(spec, machine)
        if not any(violation.level == "error" for violation in found):
            found += token_findings(spec, data)
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

    def submit(self, data: Dataset, *, on: Backend, key: str | None = None, retry: bool = False) -> Job[Model]:
        """Starts the job and comes back at once.

        Args:
            data: The examples.
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the job that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The job; its ``result()`` is the model.

        Raises:
            CheckFailed: The check or the preflight found an error.
        """
        return self._submit(data, on=on, key=key, retry=retry)

    def run(self, data: Dataset, *, on: Backend, key: str | None = None, retry: bool = False) -> Model:
        """Runs the job to its end, with a progress bar.

        Args:
            data: The examples.
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the job that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The trained model.

        Raises:
            CheckFailed: The check or the preflight found an error.
            JobFailed: Training failed; the error has the last lines of the log and what to do.
        """
        return self._run(data, on=on, key=key, retry=retry)

    def _require(self, data: Dataset, on: Backend) -> None:
        require_backend(on)
        require_handle(data, Dataset, "data")

    def _adapted(self, given: Capabilities) -> tuple[TrainSpec, tuple[hardware.Change, ...]]:
        # Of a machine that is known only once the job runs nothing is changed.
        if given.machine is None or not self.adapt_to_hardware:
            return self.spec, ()
        return hardware.adapt(self.spec, given.machine)

    def _needs(self, spec: TrainSpec) -> Needs:
        known = () if spec.base.is_embedded else (training_memory(spec),)
        return Needs(
            models=(spec.base,) if spec.base.on_hub else (),
            packages=("torch", "arctic_training", "peft", "datasets"),
            secrets={"HF_TOKEN": spec.token} if spec.token else {},
            memory=known,
            half_precision=spec.dtype != "fp32",
        )


def _under_spec(violation: Violation) -> Violation:
    return violation if violation.path.startswith("data[") else violation.under("spec")
