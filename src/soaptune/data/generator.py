"""`DataGenerator`: the step that makes a `Dataset` for a task."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

from pydantic import Field, field_validator

from soaptune.data.payload import CortexPayload, GeneratePayload, Mode, Shares
from soaptune.errors import ConfigError, DataError, MissingExtraError, SoaptuneError, Violation, raise_on_errors
from soaptune.generation.protocol import Pools, load_generator
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Query
from soaptune.handles.preparation.split import target_sizes
from soaptune.jobs.arguments import require_backend, require_capabilities
from soaptune.jobs.backend import Backend
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.estimate import Estimate
from soaptune.jobs.job import Job
from soaptune.jobs.needs import CortexNeed, Needs
from soaptune.jobs.output import FolderOutput, NamedTables, Output
from soaptune.jobs.plan import Plan, as_json
from soaptune.jobs.requirements import requirements
from soaptune.jobs.spec import JobName, JobSpec
from soaptune.jobs.step import Step
from soaptune.tasks.code import Hook, allowed_hook, check_allowed, module_of
from soaptune.tasks.task import Task

__all__ = ["DataGenerator"]

_MODES = get_args(Mode)


class DataGenerator(Step[Dataset]):
    """Makes examples for a task.

    Row i depends on the seed, the options and i alone; the same options give the same rows and the same fingerprint.

    Examples:
        >>> generator = DataGenerator(task=SOAP, num_samples=1_000, seed=42)  # doctest: +SKIP
        >>> data = generator.run(on=LocalBackend("runs"))  # doctest: +SKIP
    """

    task: Task[Any]
    """What the examples are of."""

    mode: Mode = "heuristic"
    """How they are made: ``"heuristic"`` fills the templates of the task's generator; ``"cortex"`` has `model`, one of
    Snowflake's Cortex, write the outputs for the inputs in `source`."""

    num_samples: int = Field(default=1_000, ge=1)
    """How many rows to make. Repeated rows are left out afterwards, so that the dataset may have fewer. In mode
    ``cortex``: how many rows of the source are asked at most; all of them unless it is set."""

    seed: int = Field(default=42, ge=0)
    """Fixes all rows and the split."""

    split: Shares = "80/10/10"
    """How large ``train``, ``validation`` and ``test`` are: ``"80/10/10"``, fractions, or ``{"train": 800, ...}``."""

    verbosity: dict[str, float] | None = None
    """Share of the rows at each verbosity level, such as ``{"brief": 1}``; None for the generator's own mix."""

    pools: Pools = "standard"
    """Which values and templates to use. ``"held_out"`` ones never occur in ``"standard"``: a model that was trained
    on ``standard`` has not seen them."""

    deduplicate: bool = True
    """Whether rows that repeat an earlier one, inputs and outputs, are left out (the row ledger lists them)."""

    table: str | None = None
    """On Snowflake the name that the tables begin with: ``"SOAP"`` gives ``SOAP_TRAIN``, ``SOAP_VALIDATION`` and
    ``SOAP_TEST``. The task's name when None. Other backends make no tables."""

    overwrite: bool = False
    """Whether tables that are there already are replaced. The very same dataset is never written twice."""

    model: str | None = None
    """In mode ``cortex``: the model, as ``AI_COMPLETE`` names it (``"llama3.1-70b"``)."""

    source: str | None = None
    """In mode ``cortex``: a table, a query or ``snow://dataset/<name>/versions/<version>`` with the input fields."""

    columns: dict[str, str] = Field(default_factory=dict[str, str])
    """In mode ``cortex``: the source's column for an input field (or ``id``, ``group``) that has another name there."""

    temperature: float = Field(default=0.0, ge=0, le=1)
    """In mode ``cortex``: how freely the model writes."""

    max_tokens: int = Field(default=2_048, ge=1, le=8_192)
    """In mode ``cortex``: how long an answer may be."""

    code_paths: tuple[str, ...] = ()
    """Folders with Python code that the job needs, for a generator that is not part of an installed package."""

    allow_code: tuple[str, ...] = ()
    """Modules and packages (``"my_package"``) whose code may run although a file names it: needed where the task comes
    from a manifest, and its generator neither with soaptune nor from `code_paths`."""

    name: JobName = "generate"
    """The job's name, as backends show it."""

    @field_validator("mode", mode="before")
    @classmethod
    def _known_mode(cls, value: Any) -> Any:
        if value not in _MODES:
            raise ValueError(f"there is no mode {value!r}; the modes of this release are: {', '.join(_MODES)}")
        return value

    def check(self) -> list[Violation]:
        """All that is wrong with the options themselves."""
        found = [finding.under("task") for finding in self.task.check()]
        if self.mode == "cortex":
            found += self._cortex_findings()
        elif "generator" not in self.task.hooks:
            found.append(
                Violation(
                    path="task.generator",
                    code="no-generator",
                    message=f"The task {self.task.name!r} has no generator.",
                    hint='Give it one as Task(generator="package.module:Class"), or load data with Dataset.load().',
                )
            )
        try:
            target_sizes(self.split, self._most_rows())
        except DataError as error:
            found.append(Violation(path="split", code="split", message=str(error)))
        shares = [] if self.verbosity is None else list(self.verbosity.values())
        if self.verbosity is not None and (sum(shares) <= 0 or min(shares) < 0):
            message = "The shares must not be negative, and not all of them zero."
            found.append(Violation(path="verbosity", code="verbosity-shares", message=message))
        return found

    def plan(self, *, given: Capabilities) -> Plan:
        """What the step wants, wherever it runs; nothing is read or asked.

        Args:
            given: What the backend can do.

        Raises:
            ConfigError: An input is of a wrong kind.
        """
        require_capabilities(given)
        payload = self._cortex_payload() if self.mode == "cortex" else self._payload()
        output: Output = FolderOutput()
        if given.datasets == "tables":
            splits = tuple(target_sizes(self.split, self._most_rows()))
            output = NamedTables(name=self._table, splits=splits, replace_existing=self.overwrite)
        return Plan(
            name=self.name,
            kind="data",
            files={"step.json": as_json(payload), "requirements.txt": requirements("data")},
            inputs={"source": Query(text=self.source)} if self.mode == "cortex" and self.source else {},
            output=output,
            needs=self._needs(),
            code_paths=self.code_paths,
        )

    def compile(self, *, on: Backend) -> JobSpec:
        """Writes the job down, without running anything.

        Args:
            on: The backend.

        Returns:
            The job. The same options give the same bytes.
        """
        require_backend(on)
        return on.lower(self.plan(given=on.capabilities))

    def preflight(self, *, on: Backend) -> list[Violation]:
        """Looks at the generator, as far as this process can import it, and at the source of mode ``cortex``.

        Args:
            on: The backend that is to run the job.
        """
        require_backend(on)
        if self.mode == "heuristic":
            return self._not_allowed() or self._unknown_levels(elsewhere=on.capabilities.machine is None)
        if not on.capabilities.cortex:
            return []  # `Capabilities.unmet` reports it
        try:
            self.estimate(on=on)
        except SoaptuneError as error:
            return [Violation(path="source", code="source", message=str(error))]
        return []

    def estimate(self, *, on: Backend) -> Estimate:
        """Counts what mode ``cortex`` will take, before anything is asked; the rows stay in the account.

        Args:
            on: The backend.

        Returns:
            Rows and tokens; its ``credits()`` turns them into credits at the rates of your model.

        Raises:
            ConfigError: The mode is another one, model and source are missing, or the backend has no Cortex.
            DataError: The source lacks a column.
            BackendError: The account refuses.
        """
        require_backend(on)
        raise_on_errors("DataGenerator.estimate", self._cortex_findings())
        plan = self.plan(given=on.capabilities)
        raise_on_errors("DataGenerator.estimate", on.capabilities.unmet(plan.needs))
        return on.estimate(plan)

    def _cortex_findings(self) -> list[Violation]:
        missing = [name for name in ("model", "source") if not getattr(self, name)]
        if self.mode != "cortex":
            missing = ["mode"]
        return [
            Violation(
                path=name,
                code="cortex",
                message=f"mode='cortex' needs {name}.",
                hint='DataGenerator(task=..., mode="cortex", model="llama3.1-70b", source="DIALOGUES")',
            )
            for name in missing
        ]

    def _needs(self) -> Needs:
        if self.mode != "cortex":
            return Needs(packages=("numpy", "pyarrow"))
        task = self.task.spec()
        question = CortexNeed(
            model=self.model or "",
            source="source",
            fields=task.input_fields,
            columns=self.columns,
            fixed_text=task.system_prompt + task.user_template + json.dumps(task.output_schema),
            max_tokens=self.max_tokens,
        )
        return Needs(cortex=(question,))

    def _cortex_payload(self) -> CortexPayload:
        return CortexPayload(
            task=self.task.spec(),
            model=self.model or "",
            source=self.source or "",
            columns=self.columns,
            num_samples=self.num_samples if "num_samples" in self.model_fields_set else None,
            seed=self.seed,
            split=self.split,
            deduplicate=self.deduplicate,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    def _allowed(self) -> tuple[str, ...]:
        """What may run: what is named here, and the code of a task that the caller has made."""
        return (*self.allow_code, *(module_of(self.task.hooks[name]) for name in self.task.named_hooks))

    def _not_allowed(self) -> list[Violation]:
        path = self.task.hooks.get("generator")
        if path is None:
            return []
        return check_allowed(path, at="task.generator", allow_code=self._allowed(), code_paths=self.code_paths)

    def _unknown_levels(self, *, elsewhere: bool) -> list[Violation]:
        path = self.task.hooks.get("generator")
        if self.code_paths or path is None:
            return []  # the job's own path leads to it, this process's may not
        try:
            levels = load_generator(path, allow_code=self._allowed()).levels()
        except MissingExtraError as error:
            # A job that runs elsewhere brings the packages itself.
            return [] if elsewhere else [Violation(path="", code="missing-extra", message=str(error))]
        except SoaptuneError as error:
            return [Violation(path="task.generator", code="generator", message=str(error))]
        return [
            Violation(
                path=f"verbosity.{level}",
                code="unknown-level",
                message=f"The generator has no verbosity level {level!r}.",
                hint=f"Its levels are {', '.join(levels)}.",
            )
            for level in self.verbosity or ()
            if level not in levels
        ]

    def submit(self, *, on: Backend, key: str | None = None, retry: bool = False) -> Job[Dataset]:
        """Starts the job and comes back at once.

        Args:
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the job that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The job; its ``result()`` is the dataset.

        Raises:
            CheckFailed: The check or the preflight found an error.
        """
        return self._submit(on=on, key=key, retry=retry)

    def run(self, *, on: Backend, key: str | None = None, retry: bool = False) -> Dataset:
        """Makes the dataset, with a progress bar.

        Args:
            on: Where it runs.
            key: Idempotency key: running again under the same key gives the dataset that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The dataset.

        Raises:
            CheckFailed: The check or the preflight found an error.
            JobFailed: The job failed; the error has the last lines of its log.
        """
        return self._run(on=on, key=key, retry=retry)

    @property
    def _table(self) -> str:
        return self.table or re.sub(r"\W+", "_", self.task.name).upper()

    def _most_rows(self) -> int:
        # How many rows a model answers well is not known before.
        return self.num_samples if self.mode == "heuristic" else 10**9

    def _payload(self) -> GeneratePayload:
        return GeneratePayload(
            task=self.task.spec(),
            mode=self.mode,
            num_samples=self.num_samples,
            seed=self.seed,
            split=self.split,
            verbosity=self.verbosity,
            pools=self.pools,
            deduplicate=self.deduplicate,
            hook=self._hook(),
        )

    def _hook(self) -> Hook:
        path = self.task.hooks.get("generator")
        if path is None:
            raise ConfigError(f"the task {self.task.name!r} has no generator")
        return allowed_hook(path, allow_code=self._allowed(), code_paths=self.code_paths)
