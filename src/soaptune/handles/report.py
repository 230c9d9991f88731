"""EvalReport: what an evaluation found, with its uncertainty and with what it was measured on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PrivateAttr
from typing_extensions import Self

from soaptune.common import files
from soaptune.common.fingerprint import fingerprint
from soaptune.common.inside import inside
from soaptune.config import Config
from soaptune.handles.manifests import open_manifest
from soaptune.handles.storage import FolderFiles

__all__ = ["Difference", "EvalReport", "Metric", "ReportLineage"]

REPORT_FILE = "report.json"


class Metric(Config):
    """A number with its uncertainty."""

    value: FiniteFloat
    """The estimate from all examples together."""
    low: FiniteFloat
    """Lower end of the 95 % interval."""
    high: FiniteFloat
    """Upper end of the 95 % interval."""
    n: NonNegativeInt
    """How many examples it was asked of; an answer that cannot be read counts as wrong and stays in."""

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


class Difference(Config):
    """One metric of two models on the same examples."""

    metric: str
    """The metric's name."""
    base: FiniteFloat
    """Its value for the base model."""
    tuned: FiniteFloat
    """Its value for the tuned model."""
    diff: FiniteFloat
    """``tuned - base``."""
    low: FiniteFloat
    """Lower end of the difference's paired 95 % interval."""
    high: FiniteFloat
    """Upper end of the difference's paired 95 % interval."""
    n: NonNegativeInt
    """How many examples both models answered."""

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


class ReportLineage(Config):
    """What was measured on what, and how."""

    model_fingerprint: str
    """The model's fingerprint; a `Deployer` compares it with the model that it is given."""
    base_model: str = ""
    """Name or folder of the base model; empty when the base was not scored."""
    data_fingerprint: str
    """The data set's fingerprint."""
    split: str
    """The split that was scored."""
    task: str
    """The task's name."""
    task_fingerprint: str
    """The task's fingerprint."""
    evaluator: dict[str, Any] = Field(default_factory=dict)
    """The evaluator's settings."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages that were used."""
    plan_fingerprint: str = ""
    """Of the plan of the job that evaluated."""
    created: str = ""
    """When, as an ISO 8601 time in UTC."""


class EvalReport(Config):
    """What an evaluation found. Two reports are equal when they say the same, wherever they lie.

    ``report.metrics`` maps a name to a `Metric`: ``schema_valid``, ``fact_recall``, ``fact_precision``, ``fact_f1``,
    ``invented_rate``, ``rouge_l``, ``perplexity``, the same as ``fact_recall/<field>`` for an output field, and as
    ``base/<name>`` for the base model. A metric that could not be measured (no facts in the data, nothing to count) is
    absent, and ``notes`` says why; no value is ever NaN.
    """

    format_version: Literal[1] = 1
    """Version of the file format."""
    kind: Literal["report"] = "report"
    """Tells the handles apart in a file."""
    n: NonNegativeInt
    """How many examples were scored."""
    metrics: dict[str, Metric]
    """The metrics by name."""
    comparison: tuple[Difference, ...] = ()
    """Base against tuned, paired; empty when the base was not scored."""
    errors: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Why answers are not valid: for ``"model"`` and ``"base"`` the number of answers by error code."""
    notes: tuple[str, ...] = ()
    """What a reader must know, in sentences."""
    synthetic: bool = False
    """Whether the examples were generated; then no number says anything about real text."""
    lineage: ReportLineage
    """What was measured on what."""
    predictions: str = ""
    """The table of all answers (Parquet), relative to the report's folder. It holds text from the data."""

    _folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a report.

        Args:
            path: The report's JSON file, or a job's output folder that holds ``report.json``.

        Returns:
            The report.

        Raises:
            DataError: There is no report, or it is not one that this version reads.
        """
        file = Path(path).expanduser()
        if not (file / REPORT_FILE).is_file() and (file / "output" / REPORT_FILE).is_file():
            file = file / "output"
        file = file if file.is_file() else file / REPORT_FILE
        hint = "An Evaluator leaves one in its job's output folder."
        report = open_manifest(FolderFiles(file.parent), cls, name=file.name, hint=hint)
        report._folder = file.parent.absolute()
        return report

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report as JSON, atomically. The table of answers stays where it is.

        A copy that is written into the table's folder, or above it, goes on pointing to it; one elsewhere does not,
        since no report is followed out of its folder.

        Args:
            path: The file to write; missing folders are made.

        Returns:
            The file.
        """
        file = Path(path).absolute()
        files.private_folder(file.parent)
        copy = self if self._folder is None else self.replace(predictions=self._seen_from(file.parent))
        files.write_json(file, copy.model_dump(mode="json"))
        return file

    def _seen_from(self, folder: Path) -> str:
        """The table's path relative to a folder that a copy is written to; empty where it lies elsewhere."""
        try:
            table = self.predictions_path
            found = "" if table is None else os.path.relpath(table, folder)
        except ValueError:  # it is not followed, or lies on another drive
            return ""
        return "" if found.startswith("..") else Path(found).as_posix()

    @property
    def predictions_path(self) -> Path | None:
        """The table of all answers, or None when the report was not read from a file or has none.

        Raises:
            DataError: The report names a file that does not lie in its folder, which is not followed.
        """
        if self._folder is None or not self.predictions:
            return None
        return inside(self._folder, self.predictions, what="the report's table of answers")

    @property
    def fingerprint(self) -> str:
        """A fingerprint of what the report says, wherever it lies and whenever it was made."""
        said = self.model_dump(mode="json", exclude={"predictions": True, "lineage": {"created", "plan_fingerprint"}})
        return fingerprint(said)

    def base(self) -> Mapping[str, Metric]:
        """The base model's metrics by their plain names."""
        prefix = "base/"
        return {name[len(prefix) :]: metric for name, metric in self.metrics.items() if name.startswith(prefix)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EvalReport) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __str__(self) -> str:
        from soaptune.handles.report_view import as_text

        return as_text(self)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={self.metrics[k].value:.3f}" for k in ("schema_valid", "fact_f1") if k in self.metrics)
        return f"EvalReport(n={self.n}{', ' if shown else ''}{shown})"

    def __rich__(self) -> Any:
        from soaptune.handles.report_view import as_table

        return as_table(self)

    def _repr_html_(self) -> str:
        from soaptune.handles.report_view import as_html

        return as_html(self)
