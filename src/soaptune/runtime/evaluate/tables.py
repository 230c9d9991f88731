"""An evaluation's tables: the facts' values of a whole data set in, the answers with their scores out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soaptune.common.arrow import arrow, compute, parquet
from soaptune.common.files import write_bytes
from soaptune.engines import Completion
from soaptune.evaluate.examples import Example, Prediction, Scores
from soaptune.handles.dataset import Dataset
from soaptune.tasks.spec import TaskSpec

__all__ = ["fact_values", "write_predictions"]

_SCORES = ("fact_recall", "fact_precision", "invented_rate", "rouge_l")
Asked = tuple[Sequence[Completion], Sequence[Prediction], Sequence[Scores]]


def fact_values(data: Dataset) -> list[str]:
    """The different fact values of all splits of a data set; empty when it carries no facts."""
    pc = compute()
    values: dict[str, None] = {}
    for split in data.splits:
        table = data.table(split)
        if "facts" in table.column_names:
            found = pc.unique(pc.struct_field(pc.list_flatten(table.column("facts")), "value"))
            values.update(dict.fromkeys(value for value in found.to_pylist() if value))
    return list(values)


def write_predictions(path: Path, spec: TaskSpec, examples: Sequence[Example], answers: Mapping[str, Asked]) -> None:
    """Writes the table of all answers.

    Its columns: ``id``; ``model`` (``"model"`` or ``"base"``); ``answer`` as it was written; ``error`` (a code, empty
    for a valid answer); ``reason`` (why there is no answer at all, otherwise empty); ``finish_reason``;
    ``prompt_tokens`` and ``completion_tokens`` (0 where nobody counts them); for each output field
    ``predicted/<field>`` (null where the answer is not valid) and ``reference/<field>``; and the scores of the whole
    answer as ``score/<name>``.

    Args:
        path: The Parquet file.
        spec: The task.
        examples: The examples.
        answers: For each model its completions, predictions and scores, in the order of the examples.
    """
    rows = [_row(who, spec, *parts) for who, asked in answers.items() for parts in zip(examples, *asked, strict=True)]
    pa = arrow()
    text, count, number = pa.string(), pa.int64(), pa.float64()
    schema = [("id", text), ("model", text), ("answer", text), ("error", text), ("reason", text)]
    schema += [("finish_reason", text)]
    schema += [("prompt_tokens", count), ("completion_tokens", count)]
    schema += [(f"{kind}/{field}", text) for kind in ("predicted", "reference") for field in spec.output_fields]
    schema += [(f"score/{name}", number) for name in _SCORES]
    out = io.BytesIO()
    parquet().write_table(pa.Table.from_pylist(rows, schema=pa.schema(schema)), out)
    write_bytes(path, out.getvalue())


def _row(
    who: str, spec: TaskSpec, example: Example, completion: Completion, prediction: Prediction, scores: Scores
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": example.id,
        "model": who,
        # A byte-level tokenizer can leave half a character at the end of an answer that was cut off.
        "answer": completion.text.encode("utf-8", "replace").decode("utf-8"),
        "error": prediction.error,
        "reason": "" if completion.error is None else str(completion.error),
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    for field in spec.output_fields:
        row[f"predicted/{field}"] = None if prediction.fields is None else prediction.fields[field]
        row[f"reference/{field}"] = example.reference[field]
    for name in _SCORES:
        count = scores.get(name)
        row[f"score/{name}"] = count.hits / count.total if count and count.total else None
    return row
