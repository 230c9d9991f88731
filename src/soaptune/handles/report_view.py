"""How an `EvalReport` looks: a table for the terminal, plain text, and HTML for a notebook."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soaptune.handles.report import Difference, EvalReport, Metric

__all__ = ["as_html", "as_table", "as_text"]

_SYNTHETIC = (
    "Measured on generated examples: these numbers say nothing about real text, and are not for decisions on it."
)
_HEAD = ("metric", "value", "95% interval", "n", "base", "difference (95%, paired)")
_Row = tuple[str, str, str, str, str, str]


def as_table(report: EvalReport) -> Any:
    """The report as something that rich prints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=_title(report), title_justify="left")
    # In a narrow terminal a cell takes two lines; cut at its edge, a figure would be another figure.
    for index, name in enumerate(_HEAD):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in _rows(report):
        table.add_row(*(Text(cell) for cell in row))
    return Group(table, *(Text(line) for line in _lines(report)))


def as_text(report: EvalReport) -> str:
    """The report as plain text of at most 110 columns, without colours."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=110, color_system=None, force_terminal=False, legacy_windows=False).print(as_table(report))
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def as_html(report: EvalReport) -> str:
    """The report as one piece of HTML that needs nothing from outside; all text in it is escaped."""
    cell = "padding:2px 10px;text-align:{};border-bottom:1px solid rgba(128,128,128,.35)"
    head = "".join(
        f'<th scope="col" style="{cell.format("right" if i else "left")}">{escape(name)}</th>'
        for i, name in enumerate(_HEAD)
    )
    body = "".join(
        "<tr>"
        + f'<th scope="row" style="{cell.format("left")};font-weight:normal">{escape(row[0])}</th>'
        + "".join(f'<td style="{cell.format("right")}">{escape(text)}</td>' for text in row[1:])
        + "</tr>"
        for row in _rows(report)
    )
    lines = "".join(f"<p style='margin:2px 0'>{escape(line)}</p>" for line in _lines(report))
    return (
        "<div><table style='border-collapse:collapse;font-variant-numeric:tabular-nums'>"
        f"<caption style='text-align:left;font-weight:bold'>{escape(_title(report))}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}</div>"
    )


def _title(report: EvalReport) -> str:
    return f"Evaluation of task {report.lineage.task} on split {report.lineage.split}, {report.n} examples"


def _rows(report: EvalReport) -> list[_Row]:
    base, differences = report.base(), {row.metric: row for row in report.comparison}
    plain = {name: metric for name, metric in report.metrics.items() if not name.startswith("base/")}
    names = [*plain, *(name for name in base if name not in plain)]
    return [_row(name, plain.get(name), base.get(name), differences.get(name)) for name in names]


def _row(name: str, metric: Metric | None, base: Metric | None, difference: Difference | None) -> _Row:
    share = not name.startswith("perplexity")
    value, interval, n = "–", "–", "–"
    if metric is not None:
        value = _number(metric.value, share)
        interval = f"{_number(metric.low, share)} – {_number(metric.high, share)}"
        n = str(metric.n)
    before = "–" if base is None else _number(base.value, share)
    change = "–"
    if difference is not None:
        ends = f"{_number(difference.low, share, True)} … {_number(difference.high, share, True)}"
        change = f"{_number(difference.diff, share, True)} [{ends}]" + ("" if difference.significant else " ns")
    return name, value, interval, n, before, change


def _number(value: float, share: bool, signed: bool = False) -> str:
    sign = "+" if signed else ""
    # Without a space before the sign, since a line may break at any.
    return format(100 * value, f"{sign}.1f") + "%" if share else format(value, f"{sign}.4g")


def _lines(report: EvalReport) -> list[str]:
    lines: list[str] = []
    for who, codes in report.errors.items():
        if codes:
            counted = ", ".join(f"{code} {count}" for code, count in sorted(codes.items(), key=lambda x: (-x[1], x[0])))
            lines.append(f"Answers that are not valid ({who}): {counted}.")
    if any(not row.significant for row in report.comparison):
        lines.append("ns: the interval of the difference includes zero.")
    lines.extend(report.notes)
    if report.synthetic:
        lines.append(_SYNTHETIC)
    return lines
