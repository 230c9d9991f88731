"""`DataGenerator`: the step that makes a `Dataset` for a task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator

from soaptune.data.plan import GeneratePlan, Mode, Shares
from soaptune.errors import DataError, MissingExtraError, SoaptuneError, Violation
from soaptune.handles.dataset import Dataset
from soaptune.handles.preparation import target_sizes
from soaptune.jobs.backend import Backend
from soaptune.jobs.job import Job
from soaptune.jobs.requirements import requirements
from soaptune.jobs.spec import JobSpec
from soaptune.jobs.step import Step
from soaptune.snowflake.names import Name, parse
from soaptune.tasks.generation.protocol import Pools, load_generator
from soaptune.tasks.task import Task

__all__ = ["DataGenerator"]

_MODES = ("heuristic",)


class DataGenerator(Step):
    """Makes examples for a task.

    Row i depends on the seed, the options and i alone; the same options give the same rows and the same fingerprint.

    Examples:
        >>> generator = DataGenerator(task=SOAP, num_samples=1_000, seed=42)  # doctest: +SKIP
        >>> data = generator.run(on=LocalBackend("runs"))  # doctest: +SKIP
    """

    task: Task[Any]
    """What the examples are of."""

    mode: Mode = "heuristic"
    """How they are made: ``"heuristic"`` fills the templates of the task's generator."""

    num_samples: int = Field(default=1_000, ge=1)
    """How many rows to make. Repeated rows are left out afterwards, so that the dataset may have fewer."""

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
    """Whether rows that repeat an earlier one, inputs and outputs, are left out (the row ledger says which)."""

    table: str | None = None
    """On Snowflake the name that the tables begin with: ``"SOAP"`` gives ``SOAP_TRAIN``, ``SOAP_VALIDATION`` and
    ``SOAP_TEST``. The task's name when None. Other backends make no tables."""

    overwrite: bool = False
    """Whether tables that are there already are replaced. The very same dataset is never written twice."""

    code_paths: tuple[str, ...] = ()
    """Folders with Python code that the job needs, for a generator that is not part of an installed package."""

    name: str = "generate"
    """The job's name, as backends show it."""

    @field_validator("mode", mode="before")
    @classmethod
    def _known_mode(cls, value: Any) -> Any:
        if value not in _MODES:
            raise ValueError(f"there is no mode {value!r}; the modes of this release are: {', '.join(_MODES)}")
        return value

    def check(self) -> list[Violation]:
        """All that is wrong with the options themselves."""
        found = [_at("task", finding) for finding in self.task.check()]
        if self.task.generator is None:
            found.append(
                Violation(
                    path="task.generator",
                    code="no-generator",
                    message=f"The task {self.task.name!r} has no generator.",
                    hint='Give it one as Task(generator="package.module:Class"), or load data with Dataset.load().',
                )
            )
        try:
            target_sizes(self.split, self.num_samples)
        except DataError as error:
            found.append(Violation(path="split", code="split", message=str(error)))
        shares = [] if self.verbosity is None else list(self.verbosity.values())
        if self.verbosity is not None and (sum(shares) <= 0 or min(shares) < 0):
            message = "The shares must not be negative, and not all of them zero."
            found.append(Violation(path="verbosity", code="verbosity-shares", message=message))
        return found

    def compile(self, *, on: Backend) -> JobSpec:
        """Writes the job down, without running anything.

        Args:
            on: The backend; the job is the same on all of them, but that on Snowflake it writes tables.

        Returns:
            The job. The same options give the same bytes.
        """
        plan, left = self._plan(), {"table", "overwrite"}
        if on.name == "snowflake":
            plan, left = plan.replace(table=self._table(on).sql, overwrite=self.overwrite), set[str]()
        text = json.dumps(plan.model_dump(mode="json", exclude=left), ensure_ascii=False, indent=2) + "\n"
        return JobSpec(
            name=self.name,
            kind="data",
            files={"step.json": text, "requirements.txt": requirements("data")},
            entrypoint=("python", "-m", "soaptune.runtime.generate", "step.json"),
            code_paths=self.code_paths,
        )

    def preflight(self, *, on: Backend) -> list[Violation]:
        """Looks at the generator, as far as this process can import it, and at tables that are in the way.

        Args:
            on: The backend that is to run the job.
        """
        found = [*self._in_the_way(on)] if on.name == "snowflake" else []
        return found + self._unknown_levels(on)

    def _unknown_levels(self, on: Backend) -> list[Violation]:
        if self.code_paths or self.task.generator is None:
            return []  # the job's own path leads to it, this process's may not
        try:
            levels = load_generator(self.task.generator).levels()
        except MissingExtraError as error:
            # A job that runs elsewhere brings the packages itself.
            return [Violation(path="", code="missing-extra", message=str(error))] if on.name == "local" else []
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

    def submit(self, *, on: Backend) -> Job[Dataset]:
        """Starts the job and comes back at once.

        Args:
            on: Where it runs.

        Returns:
            The job; its ``result()`` is the dataset.

        Raises:
            CheckFailed: The check or the preflight found an error.
        """
        return self._submit(on=on)

    def run(self, *, on: Backend) -> Dataset:
        """Makes the dataset, with a progress bar.

        Args:
            on: Where it runs.

        Returns:
            The dataset.

        Raises:
            CheckFailed: The check or the preflight found an error.
            JobFailed: The job failed; the error has the last lines of its log.
        """
        return self._run(on=on)

    def _table(self, on: Any) -> Name:
        text = self.table or re.sub(r"\W+", "_", self.task.name).upper()
        return parse(text, database=on.database_name, schema=on.schema_name)

    def _in_the_way(self, on: Any) -> Iterator[Violation]:
        from soaptune.snowflake.tablequery import Place

        name = self._table(on)
        splits = target_sizes(self.split, self.num_samples)
        tables = [f"{name.name}_{split.upper()}" for split in (*splits, "manifest")]
        there = Place(on.connection, name.database, name.schema).there(tables)
        if there and not self.overwrite:
            yield Violation(
                path="table",
                code="table-exists",
                level="warning",
                message=f"{name} has {', '.join(there)} already; unless that is this very dataset, the job will fail.",
                hint="Choose another name with table=..., or replace them with overwrite=True.",
            )

    def _plan(self) -> GeneratePlan:
        return GeneratePlan(
            task=self.task.spec(),
            generator=self.task.generator or "",
            mode=self.mode,
            num_samples=self.num_samples,
            seed=self.seed,
            split=self.split,
            verbosity=self.verbosity,
            pools=self.pools,
            deduplicate=self.deduplicate,
        )


def _at(path: str, finding: Violation) -> Violation:
    return Violation(
        path=f"{path}.{finding.path}" if finding.path else path,
        code=finding.code,
        level=finding.level,
        message=finding.message,
        hint=finding.hint,
    )
