"""The job of the data step in mode ``heuristic``: makes rows, de-duplicates, splits and writes them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from soaptune.common.arrow import Table, arrow
from soaptune.data.payload import GeneratePayload
from soaptune.errors import DataError
from soaptune.generation.protocol import load_generator
from soaptune.handles.dataset import Dataset
from soaptune.handles.preparation.deduplicate import deduplicate_table
from soaptune.handles.preparation.split import split_table
from soaptune.jobs.output import NamedTables
from soaptune.jobs.place import Place
from soaptune.runtime.progress import Progress
from soaptune.runtime.snowflake.nodes import over_nodes

__all__ = ["generate", "generate_into"]

_CHUNK = 8_192


def generate(
    plan: GeneratePayload, output: Path, *, progress_in: Path | None = None, plan_fingerprint: str = ""
) -> Dataset:
    """Makes the dataset that a plan asks for.

    Args:
        plan: What to make.
        output: The folder that becomes the dataset; it may hold a job's progress.
        progress_in: The folder for the job's progress, where it is another one.
        plan_fingerprint: Of the plan of the job.

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
    return Dataset.write(
        output,
        parts,
        task=plan.task,
        how=plan.how,
        ledger=ledger,
        synthetic=True,
        plan_fingerprint=plan_fingerprint,
    )


def generate_into(plan: GeneratePayload, place: Place, output: Path) -> Dataset:
    """Makes the dataset that a plan asks for where its job is to leave it.

    Args:
        plan: What to make.
        place: Where the job runs and what it leaves.
        output: The job's output folder, for the dataset or, where that goes into tables, for progress and manifest.

    Returns:
        The dataset; in tables it has the same rows, ledger and fingerprint as in a folder.

    Raises:
        ConfigError: See `generate`.
        DataError: See `generate`; or tables are in the way.
        BackendError: The account refuses.
    """
    if not isinstance(place.output, NamedTables):
        return generate(plan, output, plan_fingerprint=place.plan)
    from soaptune.runtime.snowflake.tables import save_tables

    with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
        made = generate(plan, Path(folder) / "data", progress_in=output, plan_fingerprint=place.plan)
        return save_tables(made, place.output, output)


def _rows(plan: GeneratePayload, progress: Progress) -> Table:
    load_generator(
        plan.generator, allow_code=(plan.hook.module,)
    )  # so that a broken one is an error before any node is asked
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


def _block(plan: GeneratePayload, start: int, stop: int) -> Table:
    """The rows of a range; row i depends on the seed and i alone, wherever it is made."""
    generator = load_generator(plan.generator, allow_code=(plan.hook.module,))
    return generator.columns(seed=plan.seed, start=start, stop=stop, verbosity=plan.verbosity, pools=plan.pools)
