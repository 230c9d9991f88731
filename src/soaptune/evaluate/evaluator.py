"""`Evaluator`: the step that turns a `Model` and a `Dataset` into an `EvalReport`, by asking the model in a job."""

from __future__ import annotations

import importlib.util
import json
from typing import Any, Literal

from pydantic import Field

from soaptune import tiny
from soaptune.common.fingerprint import fingerprint
from soaptune.config import Config
from soaptune.errors import MissingExtraError, Violation, raise_on_errors
from soaptune.evaluate.enginechecks import engine_findings, option_findings
from soaptune.evaluate.judges import Facts
from soaptune.handles.dataset import Dataset
from soaptune.handles.model import Model
from soaptune.handles.report import EvalReport
from soaptune.jobs.arguments import require_backend, require_handle
from soaptune.jobs.backend import Backend
from soaptune.jobs.job import Job
from soaptune.jobs.requirements import requirements
from soaptune.jobs.spec import JobSpec
from soaptune.jobs.step import Step
from soaptune.snowflake.jobs.cleanup import TEMPORARY
from soaptune.snowflake.names import Name
from soaptune.tasks.spec import TaskSpec

__all__ = ["EvalPlan", "Evaluator"]

_MODEL_INPUT, _DATA_INPUT, _BASE_INPUT = "../inputs/model", "../inputs/data", "../inputs/base"
_FEW = 30


class Evaluator(Step):
    """Evaluates a model on a split of a data set.

    Examples:
        >>> evaluator = Evaluator(judge=Facts(), max_samples=200)
        >>> report = evaluator.run(model, data, on=LocalBackend("runs"))  # doctest: +SKIP
        >>> report.metrics["schema_valid"]  # doctest: +SKIP
    """

    judge: Facts = Field(default_factory=Facts)
    """What decides whether an answer says what it should."""

    split: str = "test"
    """The split that is scored."""

    max_samples: int | None = Field(default=None, ge=1)
    """How many examples to score at most, chosen by `seed`; None scores all of the split."""

    base: bool = True
    """Whether to score the base model too, on the same examples, and to compare the two (paired)."""

    batch_size: int = Field(default=32, ge=1)
    """How many prompts are answered together."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """How many tokens an answer may have. None takes a quarter more than the longest reference answer, and 32 more."""

    engine: Literal["transformers", "vllm", "cortex"] = "transformers"
    """What generates: ``"transformers"`` runs the model in the job's own process, ``"vllm"`` behind a vLLM server that
    the job starts and stops. ``"cortex"`` asks `cortex_model` in place of the model (on Snowflake alone): the report is
    that model's, as an alternative to the tuned one, and no `Deployer` takes it for the tuned one's."""

    vllm_command: tuple[str, ...] = Field(default=("vllm",), min_length=1)
    """With the engine ``vllm``: what starts it, in an environment of its own (``("/opt/vllm/bin/vllm",)``)."""

    vllm_requirement: str | None = Field(
        default="vllm==0.32.0", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.+!]+$"
    )
    """With the engine ``vllm``: what the job installs into a virtual environment of its own, where there is no program
    ``vllm``; None installs nothing."""

    cortex_model: str | None = Field(default=None, min_length=1)
    """With the engine ``cortex``: the model, as ``AI_COMPLETE`` names it (``"llama3.1-70b"``)."""

    constrained: bool = False
    """Whether decoding is held to the task's schema. Off, the schema-valid rate is the model's own."""

    seed: int = Field(default=0, ge=0)
    """Fixes the sample and the intervals. Answers are greedy and draw nothing."""

    resamples: int = Field(default=2_000, ge=1_000)
    """How often the bootstrap draws for an interval."""

    code_paths: tuple[str, ...] = ()
    """Folders with Python code that the job needs, for a task's lexicon that is not part of an installed package."""

    name: str = "evaluate"
    """The job's name, as backends show it."""

    def check(self) -> list[Violation]:
        """All that is wrong with the options themselves."""
        return option_findings(engine=self.engine, cortex_model=self.cortex_model)

    def compile(self, model: Model, data: Dataset, *, on: Backend) -> JobSpec:
        """Writes the job down, without running anything.

        Args:
            model: The model.
            data: The examples.
            on: The backend; the job is the same on all of them.

        Returns:
            The job. The same input gives the same bytes.

        Raises:
            CheckFailed: The engine does not work on this backend.
        """
        self._require(model, data, on)
        if self.engine == "cortex":
            return self._cortex_job(model, data, on)
        inputs = {"model": model.location.uri, "data": data.location.uri}
        base = _base_of(model)
        folder = tiny.folder_for(base, backend=on.name) if base else None
        if folder is not None:
            inputs["base"] = folder
            base = _BASE_INPUT
        plan = EvalPlan(
            evaluator=self,
            model=_MODEL_INPUT,
            model_fingerprint=model.fingerprint,
            data=_DATA_INPUT,
            data_fingerprint=data.fingerprint,
            base=base,
        )
        step = json.dumps(plan.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"
        token = model.manifest.token
        return JobSpec(
            name=self.name,
            kind="report",
            files={"step.json": step, "requirements.txt": requirements("evaluate")},
            entrypoint=("python", "-m", "soaptune.runtime.evaluate.job", "step.json"),
            inputs=inputs,
            secrets={"HF_TOKEN": token} if token else {},
            code_paths=self.code_paths,
        )

    def preflight(self, model: Model, data: Dataset, *, on: Backend) -> list[Violation]:
        """Looks at the split, the task and the installed packages, before anything costs time.

        Args:
            model: The model.
            data: The examples.
            on: The backend that is to run the job.
        """
        self._require(model, data, on)
        found = [*self._split_findings(data), *_task_findings(model, data)]
        found += engine_findings(self.engine, self.vllm_command, self.vllm_requirement, backend=on.name)
        if self.engine == "cortex":
            return found
        if self.base and not _base_of(model):
            message = "The model was trained from new weights; there is no base model to compare with."
            found.append(Violation(path="base", code="no-base", level="warning", message=message))
        if on.name == "local":
            needed = ["torch", "transformers", "numpy", *(["peft"] if model.manifest.method == "lora" else [])]
            found += [
                Violation(
                    path="engine",
                    code="missing-extra",
                    message=str(MissingExtraError(package, extra="train", what="Evaluating on this machine")),
                )
                for package in needed
                if importlib.util.find_spec(package) is None
            ]
        return found

    def submit(self, model: Model, data: Dataset, *, on: Backend, key: str | None = None) -> Job[EvalReport]:
        """Starts the job and comes back at once.

        Args:
            model: The model.
            data: The examples.
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the job that is there already.

        Returns:
            The job; its ``result()`` is the report.

        Raises:
            CheckFailed: The check or the preflight found an error.
        """
        return self._submit(model, data, on=on, key=key)

    def run(self, model: Model, data: Dataset, *, on: Backend, key: str | None = None) -> EvalReport:
        """Runs the job to its end, with a progress bar.

        Args:
            model: The model.
            data: The examples; any data set with the task's fields, also one that the model was not trained on.
            on: Where it runs.
            key: Idempotency key: running again under the same key gives the report that is there already.

        Returns:
            The report.

        Raises:
            CheckFailed: The check or the preflight found an error.
            JobFailed: The job failed; the error has the last lines of its log.
        """
        return self._run(model, data, on=on, key=key)

    def _require(self, model: Model, data: Dataset, on: Backend) -> None:
        require_backend(on)
        require_handle(model, Model, "model")
        require_handle(data, Dataset, "data")

    def _cortex_job(self, model: Model, data: Dataset, on: Any) -> JobSpec:
        """The job that asks a Cortex model; the tuned model's files stay where they are."""
        wrong = [*self.check(), *engine_findings(self.engine, self.vllm_command, None, backend=on.name)]
        raise_on_errors("Evaluator.compile", wrong)
        plan = EvalPlan(
            evaluator=self.replace(base=False),
            model="",
            model_fingerprint=f"cortex:{self.cortex_model}",
            data=_DATA_INPUT,
            data_fingerprint=data.fingerprint,
            base="",
            task=model.manifest.task,
        )
        # Two evaluations at a time share no table; the same one, tried again, goes on where it was.
        key = fingerprint(plan.model_dump(mode="json")).removeprefix("sha256:")[:16].upper()
        table = Name(on.database_name, on.schema_name, f"{TEMPORARY}ANSWERS_{key}")
        step = json.dumps(plan.replace(answers=table.sql).model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"
        return JobSpec(
            name=self.name,
            kind="report",
            files={"step.json": step, "requirements.txt": requirements("data")},
            entrypoint=("python", "-m", "soaptune.runtime.evaluate.job", "step.json"),
            inputs={"data": data.location.uri},
            code_paths=self.code_paths,
        )

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


class EvalPlan(Config):
    """What travels into the job."""

    evaluator: Evaluator
    """The step."""
    model: str
    """Folder of the model; empty where a Cortex model is asked."""
    model_fingerprint: str
    """Which model it must be; ``cortex:<name>`` for a Cortex model."""
    data: str
    """Folder of the data set."""
    data_fingerprint: str
    """Which data set it must be."""
    base: str
    """Name or folder of the base model; empty when there is none."""
    task: TaskSpec | None = None
    """What a Cortex model is asked: the tuned model's task; None for the data set's."""
    answers: str = ""
    """The full name, as SQL, of the table that holds a Cortex model's answers for the while."""


def _base_of(model: Model) -> str:
    return "" if model.manifest.spec.get("initialization") == "random" else model.base


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
