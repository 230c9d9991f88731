"""The job of the data step: makes rows, leaves out repetitions, splits, and writes the dataset.

Runs in a job's ``app/`` folder as ``python -m soaptune.runtime.generate step.json``; ``../output`` becomes the dataset.
On Snowflake the dataset goes into tables, and ``../output`` says which.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from soaptune.common.arrow import Table, arrow
from soaptune.common.files import MANIFEST, read_json, write_json
from soaptune.data.plan import CortexPlan, GeneratePlan
from soaptune.errors import ConfigError, DataError, SoaptuneError
from soaptune.generation.protocol import load_generator
from soaptune.handles.dataset import Dataset
from soaptune.handles.preparation.prepare import deduplicate_table, split_table
from soaptune.runtime.progress import Progress
from soaptune.runtime.snowflake.nodes import over_nodes

__all__ = ["generate", "generate_tables", "main"]

_CHUNK = 8_192


def generate(plan: GeneratePlan, output: Path, *, progress_in: Path | None = None) -> Dataset:
    """Makes the dataset that a plan asks for.

    Args:
        plan: What to make.
        output: The folder that becomes the dataset; it may hold a job's progress.
        progress_in: The folder for the job's progress, where it is another one.

    Returns:
        The dataset.

    Raises:
        ConfigError: The generator cannot be imported, or does not know a verbosity level.
        DataError: The generator's columns are not those of the task, or the split's sizes cannot be met.
    """
    progress = Progress(progress_in or output, total=plan.num_samples, unit="examples")
    table = _rows(plan, progress)
    if plan.deduplicate:
        unique, ledger = deduplicate_table(table, fields=plan.task.fields)
        parts, fates = split_table(unique, plan.split, seed=plan.seed, inputs=plan.task.input_fields)
        ledger = ledger.merge(fates)
    else:
        parts, ledger = split_table(table, plan.split, seed=plan.seed, inputs=plan.task.input_fields)
    ledger.reconcile(plan.num_samples)
    return Dataset.write(output, parts, task=plan.task, how=plan.how, ledger=ledger, synthetic=True)


def generate_tables(plan: GeneratePlan, output: Path) -> Dataset:
    """Makes the dataset that a plan asks for, in Snowflake's tables; runs inside the account.

    Args:
        plan: What to make, with the name of the tables.
        output: The job's output folder, for its progress and the manifest.

    Returns:
        The dataset in tables: the same rows, ledger and fingerprint as those of a folder.

    Raises:
        ConfigError: See `generate`.
        DataError: See `generate`; or tables are in the way.
        BackendError: The account refuses.
    """
    from soaptune.snowflake.names import parse
    from soaptune.snowflake.session import Connection
    from soaptune.snowflake.tables.dataset import TableDataset
    from soaptune.snowflake.tables.query import Place
    from soaptune.snowflake.tables.write import save

    name = parse(plan.table or "")
    place = Place(Connection(), name.database, name.schema)
    with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
        made = generate(plan, Path(folder) / "data", progress_in=output)
        dataset = TableDataset(place, save(place, made, name.name, overwrite=plan.overwrite))
    said = dataset.manifest.model_dump(mode="json")
    write_json(output / MANIFEST, {**said, "tables": dataset.location.uri})
    return dataset


def _rows(plan: GeneratePlan, progress: Progress) -> Table:
    load_generator(plan.generator)  # what is wrong with it is told before any node is asked
    starts = range(0, plan.num_samples, _CHUNK)
    ranges = [(plan, start, min(start + _CHUNK, plan.num_samples)) for start in starts]
    blocks: list[Table] = []
    for (_, start, stop), block in zip(ranges, over_nodes(_block, ranges), strict=True):
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


def _block(plan: GeneratePlan, start: int, stop: int) -> Table:
    """The rows of a range; row i depends on the seed and i alone, wherever it is made."""
    generator = load_generator(plan.generator)
    return generator.columns(seed=plan.seed, start=start, stop=stop, verbosity=plan.verbosity, pools=plan.pools)


def main(arguments: list[str] | None = None) -> int:
    """Runs the job; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m soaptune.runtime.generate step.json", file=sys.stderr)
        return 2
    try:
        try:
            raw = read_json(Path(given[0]))
            with_cortex = isinstance(raw, dict) and cast("dict[str, Any]", raw).get("mode") == "cortex"
            plan = CortexPlan.model_validate(raw) if with_cortex else GeneratePlan.model_validate(raw)
        except ConfigError as error:
            raise ConfigError(f"{given[0]}: {error}") from error
        output = Path("..") / "output"
        if isinstance(plan, CortexPlan):
            from soaptune.runtime.snowflake.cortex import generate_with_cortex

            dataset: Dataset = generate_with_cortex(plan, output)
        else:
            dataset = generate_tables(plan, output) if plan.table else generate(plan, output)
    except SoaptuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{split} {count:,}" for split, count in dataset.counts.items())
    print(f"Made {sum(dataset.counts.values()):,} examples ({counts}).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
