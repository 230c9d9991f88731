"""The job of the data step: makes rows, leaves out repetitions, splits, and writes the dataset folder.

Runs in a job's ``app/`` folder as ``python -m soaptune.runtime.generate step.json``; ``../output`` becomes the dataset.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from soaptune.config import summary
from soaptune.data.plan import GeneratePlan
from soaptune.errors import ConfigError, DataError, SoaptuneError
from soaptune.handles.arrow import Table, arrow
from soaptune.handles.dataset import Dataset
from soaptune.handles.files import read_json
from soaptune.handles.preparation import deduplicate_table, split_table
from soaptune.runtime.progress import Progress
from soaptune.tasks.generation.protocol import load_generator

__all__ = ["generate", "main"]

_CHUNK = 8_192


def generate(plan: GeneratePlan, output: Path) -> Dataset:
    """Makes the dataset that a plan asks for.

    Args:
        plan: What to make.
        output: The folder that becomes the dataset; it may hold a job's progress.

    Returns:
        The dataset.

    Raises:
        ConfigError: The generator cannot be imported, or does not know a verbosity level.
        DataError: The generator's columns are not those of the task, or the split's sizes cannot be met.
    """
    progress = Progress(output, total=plan.num_samples, unit="examples")
    table = _rows(plan, progress)
    if plan.deduplicate:
        unique, ledger = deduplicate_table(table, fields=plan.task.fields)
        parts, fates = split_table(unique, plan.split, seed=plan.seed, inputs=plan.task.input_fields)
        ledger = ledger.merge(fates)
    else:
        parts, ledger = split_table(table, plan.split, seed=plan.seed, inputs=plan.task.input_fields)
    ledger.reconcile(plan.num_samples)
    how: dict[str, Any] = {"step": "generate", **plan.model_dump(mode="json", exclude={"task"})}
    return Dataset.write(output, parts, task=plan.task, how=how, ledger=ledger, synthetic=True)


def _rows(plan: GeneratePlan, progress: Progress) -> Table:
    generator = load_generator(plan.generator)
    blocks: list[Table] = []
    for start in range(0, plan.num_samples, _CHUNK):
        stop = min(start + _CHUNK, plan.num_samples)
        block = generator.columns(seed=plan.seed, start=start, stop=stop, verbosity=plan.verbosity, pools=plan.pools)
        missing = [name for name in ("id", *plan.task.fields) if name not in block.column_names]
        if missing:
            raise DataError(f"The generator {plan.generator!r} makes no column {missing[0]!r}.")
        if block.num_rows != stop - start:
            raise DataError(
                f"The generator {plan.generator!r} made {block.num_rows} row(s) where {stop - start} were asked for."
            )
        blocks.append(block)
        progress.at(stop)
    return arrow().concat_tables(blocks)


def main(arguments: list[str] | None = None) -> int:
    """Runs the job; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m soaptune.runtime.generate step.json", file=sys.stderr)
        return 2
    try:
        try:
            plan = GeneratePlan.model_validate(read_json(Path(given[0])))
        except ValidationError as error:
            raise ConfigError(f"{given[0]}: {summary(error)}") from error
        dataset = generate(plan, Path("..") / "output")
    except SoaptuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{split} {count:,}" for split, count in dataset.counts.items())
    print(f"Made {sum(dataset.counts.values()):,} examples ({counts}).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
