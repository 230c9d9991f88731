"""`Gates`: what a model's report must show before the model is deployed."""

from __future__ import annotations

from pydantic import Field

from soaptune.config import Config
from soaptune.errors import Violation
from soaptune.handles.report import EvalReport

__all__ = ["Gates"]


class Gates(Config):
    """Bounds on the metrics of an `EvalReport`; the ones that are None are not looked at.

    Not the estimate is compared but the end of its 95 % interval that counts against the model: a rate that should be
    high must lie above its bound with its lower end, one that should be low must lie below it with its upper end. Ten
    examples without a fault therefore do not show that 95 % are without one.

    Examples:
        >>> Gates(schema_valid=0.95, invented_rate=0.05)
        Gates(schema_valid=0.95, fact_recall=None, fact_precision=None, fact_f1=None, invented_rate=0.05)
    """

    schema_valid: float | None = Field(default=None, ge=0, le=1)
    """The least share of answers that fit the task's schema, without constrained decoding."""

    fact_recall: float | None = Field(default=None, ge=0, le=1)
    """The least share of the examples' facts that the answers state where they belong."""

    fact_precision: float | None = Field(default=None, ge=0, le=1)
    """The least share of the answers' checkable items (terms, numbers with units) that are right where they stand."""

    fact_f1: float | None = Field(default=None, ge=0, le=1)
    """The least harmonic mean of the two."""

    invented_rate: float | None = Field(default=None, ge=0, le=1)
    """The largest share of the answers' checkable items (terms, numbers with units) that the input never states."""

    def check(self, report: EvalReport) -> list[Violation]:
        """Compares a report with the bounds.

        Args:
            report: The report of the model that is to be deployed.

        Returns:
            An error for each gate that fails or cannot be looked at, with its figure and its bound. A warning when the
            answers were made under constrained decoding, where ``schema_valid`` says nothing about the model.
        """
        found = [
            finding
            for name in type(self).model_fields
            if (bound := getattr(self, name)) is not None and (finding := _finding(report, name, bound)) is not None
        ]
        if self.schema_valid is not None and report.lineage.evaluator.get("constrained"):
            found.append(
                Violation(
                    path="require.schema_valid",
                    code="constrained-report",
                    level="warning",
                    message="The report's answers were constrained to the schema, so that all of them fit it.",
                    hint="Evaluate without constrained decoding.",
                )
            )
        return found


def _finding(report: EvalReport, name: str, bound: float) -> Violation | None:
    metric = report.metrics.get(name)
    if metric is None:
        return Violation(
            path=f"require.{name}",
            code="gate-not-measured",
            message=f"The report does not have {name}; its notes say why.",
            hint="Evaluate on data that has what the metric needs, or leave this gate out.",
        )
    # How a figure is rounded must not hide by how little it fails.
    shown = f"its 95 % interval is {metric.low:.4g} to {metric.high:.4g} (value {metric.value:.4g}, n={metric.n})"
    if name == "invented_rate":
        if metric.high <= bound:
            return None
        message = f"{name} must be at most {bound:g} with the upper end of its interval; {shown}."
    else:
        if metric.low >= bound:
            return None
        message = f"{name} must be at least {bound:g} with the lower end of its interval; {shown}."
    enough = metric.value <= bound if name == "invented_rate" else metric.value >= bound
    hint = "The value itself would pass: evaluate on more examples to narrow the interval." if enough else ""
    return Violation(path=f"require.{name}", code="gate-failed", message=message, hint=hint)
