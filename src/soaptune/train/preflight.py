"""What is wrong with the things that a training job is given: the data and the base model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from soaptune import tiny
from soaptune.errors import DataError, Violation
from soaptune.handles.dataset import Dataset
from soaptune.train.spec import TrainSpec

__all__ = ["data_findings", "model_findings"]


def data_findings(spec: TrainSpec, data: Dataset, *, ranks: int = 1) -> list[Violation]:
    """Looks at the splits that a spec reads: that they are there, hold rows, and that the rows have answers.

    Args:
        spec: The choices.
        data: The examples.
        ranks: With how many processes the job trains at least: one for each GPU of each node.
    """
    found: list[Violation] = []
    wanted = {"train_split": spec.train_split}
    if spec.eval_interval:
        wanted["eval_split"] = spec.eval_split
    for path, split in wanted.items():
        if split not in data.splits:
            found.append(
                Violation(
                    path=path,
                    code="no-such-split",
                    message=f"the dataset has no split {split!r}; it has {', '.join(data.splits) or 'none'}",
                    hint='Make the splits with dataset.split("80/10/10"), or name another one.',
                )
            )
        elif not data.counts[split]:
            found.append(
                Violation(
                    path=path,
                    code="no-rows",
                    message=f"the split {split!r} is empty",
                    hint="Look at dataset.ledger for what became of the rows.",
                )
            )
        else:
            found += _rows_for_ranks(data, path, split, ranks)
            found += _answers(data, split) if spec.trainer == "sft" else ()
    if spec.train_split in data.splits:
        batch = spec.per_device_batch_size * spec.gradient_accumulation_steps
        rows = data.counts[spec.train_split]
        if spec.packing == "none" and not spec.batch_tokens and 0 < rows < batch:
            found.append(
                Violation(
                    path="per_device_batch_size",
                    code="fewer-rows-than-a-step",
                    level="warning",
                    message=f"one optimizer step takes {batch} rows, and the split {spec.train_split!r} has {rows}: "
                    f"each epoch is one step of {rows} rows",
                )
            )
    return found


def _rows_for_ranks(data: Dataset, path: str, split: str, ranks: int) -> Iterator[Violation]:
    if data.counts[split] < ranks:
        yield Violation(
            path=path,
            code="fewer-rows-than-ranks",
            message=f"the split {split!r} has {data.counts[split]} rows, and {ranks} GPUs or nodes are to share them: "
            "each needs one at least",
            hint="Train on fewer GPUs or nodes, or with more rows.",
        )


def _answers(data: Dataset, split: str) -> Iterator[Violation]:
    try:
        columns = data.columns(split)
        missing = [field for field in data.task.fields if field not in columns]
        empty = {} if missing else data.empty_counts(split, data.task.output_fields)
    except DataError as error:
        yield Violation(path=f"data[{split!r}]", code="unreadable-split", message=str(error))
        return
    if missing:
        yield Violation(
            path=f"data[{split!r}]",
            code="missing-column",
            message=f"the rows lack the column(s) {', '.join(missing)}, which the task {data.task.name!r} needs",
            hint="Load the data with columns={'<field>': '<column of the file>'}.",
        )
        return
    rows = data.counts[split]
    gone = [field for field, count in empty.items() if count == rows]
    some = {field: count for field, count in empty.items() if 0 < count < rows}
    if len(gone) == len(empty):
        yield Violation(
            path=f"data[{split!r}]",
            code="no-answers",
            message=f"no row has an answer: {', '.join(gone)} are empty throughout",
            hint="There is nothing to learn from such rows; load the columns that hold the answers.",
        )
    elif gone or some:
        parts = [f"{field} in {empty[field]:,}" for field in (*gone, *some)]
        yield Violation(
            path=f"data[{split!r}]",
            code="empty-answers",
            level="warning",
            message=f"of {rows:,} rows, these answer fields are empty: {', '.join(parts)}",
            hint="The model learns to leave them empty.",
        )


def model_findings(spec: TrainSpec) -> list[Violation]:
    """Looks at a base model that lies on this machine; one on the hub is left to the job.

    Args:
        spec: The choices.
    """
    if spec.base.on_hub:
        return _folder_without_dot(spec)
    folder = tiny.path() if spec.model == tiny.NAME else Path(spec.model).expanduser()
    if not folder.is_dir():
        return [
            Violation(
                path="model",
                code="no-such-model",
                message=f"the folder {folder} is not there",
                hint="Give a folder with config.json, tokenizer and .safetensors files, or a name on the hub.",
            )
        ]
    wanted = {"config.json": "config.json", "tokenizer*": "a tokenizer"}
    if spec.initialization == "pretrained":
        wanted["*.safetensors"] = "weights as .safetensors files"
    missing = [what for pattern, what in wanted.items() if not any(folder.glob(pattern))]
    if not missing:
        return []
    return [
        Violation(
            path="model",
            code="incomplete-model",
            message=f"{folder} lacks {' and '.join(missing)}",
            hint="Pickled weights (.bin, .pt) are not read; save the model with safe_serialization=True.",
        )
    ]


def _folder_without_dot(spec: TrainSpec) -> list[Violation]:
    """A folder that is written like a name on the hub would be looked for there, from wherever the job runs."""
    if not Path(spec.model).is_dir():
        return []
    return [
        Violation(
            path="model",
            code="folder-without-dot",
            message=f"{spec.model} is a folder here, but is written like a name on the hub",
            hint=f'Write model="./{spec.model}" for the folder; for the model on the hub, work from another directory.',
        )
    ]
