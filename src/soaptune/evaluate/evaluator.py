"""`Evaluator`: the step that turns a `Model` and a `Dataset` into an `EvalReport`, by asking the model in a job."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import Field

from soaptune.config import Config, OtherName, TokenVariable
from soaptune.engines.spec import Cortex, EngineSpec, Transformers
from soaptune.errors import Violation, raise_on_errors
from soaptune.evaluate.judges import Facts
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.handles.model_ref import ModelRef
from soaptune.handles.report import EvalReport
from soaptune.handles.weights import changed_weights
from soaptune.jobs.arguments import require_backend, require_capabilities, require_handle
from soaptune.jobs.backend import Backend
from soaptune.jobs.base_model import bring_base
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.job import Job
from soaptune.jobs.memory_need import inference_memory
from soaptune.jobs.needs import Needs
from soaptune.jobs.plan import Plan, as_json
from soaptune.jobs.requirements import requirements
from soaptune.jobs.spec import Inputs, JobName, JobSpec
from soaptune.jobs.step import Step
from soaptune.tasks.code import Hook, allowed_hook, check_allowed
from soaptune.tasks.spec import TaskSpec

__all__ = ["EvalPayload", "Evaluator"]

_FEW = 30

_NAMES = MappingProxyType(
    {
        "vllm_command": OtherName("engine", "Write engine=st.engines.VLLM(command=...)."),
        "vllm_requirement": OtherName("engine", "Write engine=st.engines.VLLM(requirement=...)."),
        "cortex_model": OtherName("engine", "Write engine=st.engines.Cortex(model=...)."),
        "batch_size": OtherName("engine", "Write engine=st.engines.Transformers(batch_size=...)."),
    }
)
"""What options of the first release, and of other libraries, are now."""

_OF_THE_CALLER: dict[str, Any] = {"name": "evaluate", "code_paths": (), "allow_code": None, "token": None}
"""What belongs to the caller and to the job, and enters no payload: the same evaluation has the same plan."""


class Evaluator(Step[EvalReport]):
    """Evaluates a model on a split of a data set.

    Examples:
        >>> evaluator = Evaluator(judge=Facts(), max_samples=200)
        >>> report = evaluator.run(model, data, on=LocalBackend("runs"))  # doctest: +SKIP
        >>> report.metrics["schema_valid"]  # doctest: +SKIP
    """

    other_names: ClassVar[Mapping[str, OtherName]] = _NAMES

    judge: Facts = Field(default_factory=Facts)
    """What decides whether an answer states what it should."""

    split: str = "test"
    """The split that is scored."""

    max_samples: int | None = Field(default=None, ge=1)
    """How many examples to score at most, chosen by `seed`; None scores all of the split."""

    base: bool = True
    """Whether to score the base model too, on the same examples, and to compare the two (paired)."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """How many tokens an answer may have. None takes a quarter more than the longest reference answer, and 32 more."""

    engine: EngineSpec = Transformers()
    """What generates: `soaptune.engines.Transformers` runs the model in the job's own process, `soaptune.engines.VLLM`
    behind a server that the job starts and stops. `soaptune.engines.Cortex` asks its own model in place of the tuned
    one (on Snowflake alone): the report is that model's, as an alternative, and no `Deployer` takes it for the tuned
    one's."""

    token: TokenVariable | None = None
    """*Name* of the environment variable that holds the hub's token for a gated base model, never the token itself."""

    constrained: bool = False
    """Whether decoding is held to the task's schema. Off, the schema-valid rate is the model's own."""

    seed: int = Field(default=0, ge=0)
    """Fixes the sample and the intervals. Answers are greedy and draw nothing."""

    resamples: int = Field(default=2_000, ge=1_000)
    """How often the bootstrap draws for an interval."""

    code_paths: tuple[str, ...] = ()
    """Folders with Python code that the job needs, for a task's lexicon that is not part of an installed package."""

    allow_code: tuple[str, ...] | None = None
    """Modules and packages (``"my_package"``) whose code may run although a file names it: needed for a task's lexicon
    that comes neither with soaptune nor from `code_paths`. With ``()`` such a lexicon is left out, and the report's
    notes say so; with None it is an error."""

    name: JobName = "evaluate"
    """The job's name, as backends show it."""

    def plan(self, model: Model, data: Dataset, *, given: Capabilities) -> Plan:
        """What the step wants, wherever it runs; nothing is read or asked.

        Args:
            model: The model.
            data: The examples.
            given: What the backend can do.

        Raises:
            ConfigError: An input is of a wrong kind.
        """
        require_capabilities(given)
        require_handle(model, Model, "model")
        require_handle(data, Dataset, "data")
        inputs: Inputs = {"data": data.location}
        needs, base = self.engine.needs(), None
        payload = {"model_fingerprint": model.fingerprint, "data_fingerprint": data.fingerprint}
        if isinstance(self.engine, Cortex):
            payload["model_fingerprint"] = f"cortex:{self.engine.model}"
        else:
            inputs["model"] = model.location
            needs += _needs_of(model, token=self.token)
            if (tuned_from := _base_of(model)) is not None:
                base, folder = bring_base(tuned_from, given=given)
                inputs.update(folder)
        asked = self.replace(**_OF_THE_CALLER, base=self.base and not isinstance(self.engine, Cortex))
        # A Cortex model is asked with the tuned model's task, whose files do not come into the job.
        task = model.manifest.task if isinstance(self.engine, Cortex) else None
        lexicon = self._lexicon(model, data)
        step = EvalPayload(
            evaluator=asked, lexicon=lexicon, base=base, base_name=_name_of(base and model.base), task=task, **payload
        )
        packages = requirements("data" if isinstance(self.engine, Cortex) else "evaluate")
        return Plan(
            name=self.name,
            kind="report",
            files={"step.json": as_json(step), "requirements.txt": packages},
            inputs=inputs,
            needs=needs,
            code_paths=self.code_paths,
        )

    def compile(self, model: Model, data: Dataset, *, on: Backend) -> JobSpec:
        """Writes the job down, without running anything.

        Args:
            model: The model.
            data: The examples.
            on: The backend.

        Returns:
            The job. The same input gives the same bytes.
        """
        self._require(model, data, on)
        return on.lower(self.plan(model, data, given=on.capabilities))

    def preflight(self, model: Model, data: Dataset, *, on: Backend) -> list[Violation]:
        """Looks at the split and the task, before anything costs time.

        Args:
            model: The model.
            data: The examples.
            on: The backend that is to run the job.
        """
        self._require(model, data, on)
        found = [*self._split_findings(data), *_task_findings(model, data)]
        path = lexicon_of(model.manifest.task or data.task, data.task)
        if path is not None and self.allow_code is None:
            found += self._not_allowed(path)
        if not isinstance(self.engine, Cortex):  # which is asked in the model's place
            found += changed_weights(model)
        if self.base and not isinstance(self.engine, Cortex) and _base_of(model) is None:
            message = "The model was trained from new weights; there is no base model to compare with."
            found.append(Violation(path="base", code="no-base", level="warning", message=message))
        return found

    def submit(
        self, model: Model, data: Dataset, *, on: Backend, key: str | None = None, retry: bool = False
    ) -> Job[EvalReport]:
        """Starts the job and comes back at once.

        Args:
            model: The model.
            data: The examples.
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the job that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The job; its ``result()`` is the report.

        Raises:
            CheckFailed: The check or the preflight found an error.
        """
        return self._submit(model, data, on=on, key=key, retry=retry)

    def run(
        self, model: Model, data: Dataset, *, on: Backend, key: str | None = None, retry: bool = False
    ) -> EvalReport:
        """Runs the job to its end, with a progress bar.

        Args:
            model: The model.
            data: The examples; any data set with the task's fields, also one that the model was not trained on.
            on: Where it runs.
            key: Idempotency key: running again under the same key gives the report that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The report.

        Raises:
            CheckFailed: The check or the preflight found an error.
            JobFailed: The job failed; the error has the last lines of its log.
        """
        return self._run(model, data, on=on, key=key, retry=retry)

    def _lexicon(self, model: Model, data: Dataset) -> Hook | None:
        """The lexicon that the job may ask; None where there is none, or where it is to be left out."""
        path = lexicon_of(model.manifest.task or data.task, data.task)
        if path is None or self._not_allowed(path):
            if path is not None and self.allow_code is None:
                raise_on_errors(type(self).__name__, self._not_allowed(path))
            return None
        return allowed_hook(path, allow_code=self.allow_code or (), code_paths=self.code_paths)

    def _not_allowed(self, path: str) -> list[Violation]:
        return check_allowed(path, at="task.lexicon", allow_code=self.allow_code or (), code_paths=self.code_paths)

    def _require(self, model: Model, data: Dataset, on: Backend) -> None:
        require_backend(on)
        require_handle(model, Model, "model")
        require_handle(data, Dataset, "data")

    def _split_findings(self, data: Dataset) -> list[Violation]:
        if self.split not in data.splits:
            return [
                Violation(
                    path="split",
                    code="no-such-split",
                    message=f"The data set has no split {self.split!r}; it has {', '.join(data.splits) or 'none'}.",
                    hint='Make the splits with dataset.split("80/10/10"), or name another one.',
                )
            ]
        n = min(data.counts[self.split], self.max_samples or data.counts[self.split])
        if n == 0:
            hint = "Look at dataset.ledger for what became of the rows."
            return [Violation(path="split", code="no-rows", message=f"The split {self.split!r} is empty.", hint=hint)]
        if n < _FEW:
            message = f"Only {n} examples are scored; the intervals will be wide."
            return [Violation(path="split", code="few-examples", level="warning", message=message)]
        return []


class EvalPayload(Config):
    """What an evaluation job is given, as pure data: its ``step.json``."""

    evaluator: Evaluator
    """The step."""
    model_fingerprint: str
    """Which model it must be; ``cortex:<name>`` for a Cortex model."""
    data_fingerprint: str
    """Which data set it must be."""
    base: ModelRef | None = None
    """The base model as the job finds it; None when there is none."""
    base_name: str = ""
    """The base model as its users call it; empty when there is none."""
    lexicon: Hook | None = None
    """The task's lexicon, if it has one that the caller allows to run; the job asks no other."""
    task: TaskSpec | None = None
    """What a Cortex model is asked: the tuned model's task; None for the data set's."""


def lexicon_of(task: TaskSpec, data: TaskSpec) -> str | None:
    """The import path of the lexicon that an evaluation looks for: the task's own, or else the dataset's.

    Args:
        task: What the model is asked.
        data: The dataset's task.
    """
    return {**data.hooks, **task.hooks}.get("lexicon")


def _base_of(model: Model) -> ModelRef | None:
    return None if model.manifest.spec.get("initialization") == "random" else model.base


def _name_of(base: ModelRef | None) -> str:
    return "" if base is None else base.name


def _needs_of(model: Model, *, token: str | None) -> Needs:
    """What holding a model and its base in memory needs."""
    base = model.base
    return Needs(
        models=(base,) if base.on_hub else (),
        packages=("peft",) if model.manifest.method == "lora" else (),
        secrets={"HF_TOKEN": token} if token else {},
        memory=() if base.is_embedded else (inference_memory(base.name),),
    )


def _task_findings(model: Model, data: Dataset) -> list[Violation]:
    task = model.manifest.task
    if task is None or task.fingerprint == data.task.fingerprint:
        return []
    missing = [name for name in task.fields if name not in data.task.fields]
    if missing:
        return [
            Violation(
                path="data",
                code="other-task",
                message=f"The model has learned the task {task.name!r}; the data lacks its {', '.join(missing)}.",
                hint="Load the data with columns= that map to the fields of the model's task.",
            )
        ]
    message = f"The data is of the task {data.task.name!r}; the model is asked with the task that it has learned."
    return [Violation(path="data", code="other-prompt", level="warning", message=message)]
