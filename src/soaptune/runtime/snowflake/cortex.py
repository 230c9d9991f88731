"""The data step in mode ``cortex``: a Cortex model writes the outputs for rows that have the inputs.

Runs as a job inside the account, which alone sees the rows: it makes the prompts, has them answered, checks each answer
against the task's schema, and writes the tables. A row without a valid answer goes to the ledger with the reason.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from soaptune.common.arrow import Table, arrow
from soaptune.common.fingerprint import fingerprint
from soaptune.common.json_text import decode_json
from soaptune.data.payload import CortexPayload
from soaptune.errors import AnswerError, ConfigError, DataError
from soaptune.handles.dataset import Dataset
from soaptune.handles.ledger import RowLedger
from soaptune.handles.preparation.deduplicate import deduplicate_table
from soaptune.handles.preparation.split import split_table
from soaptune.jobs.output import NamedTables
from soaptune.jobs.place import Place
from soaptune.runtime.progress import Progress
from soaptune.runtime.snowflake.tables import save_tables
from soaptune.snowflake.names import parse, quote
from soaptune.snowflake.session import Connection
from soaptune.snowflake.tables import cortex
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.dataset import TableDataset
from soaptune.snowflake.tables.query import SchemaRef
from soaptune.snowflake.tables.source import find_source, match_columns, names_of
from soaptune.snowflake.tables.spec import ROW
from soaptune.tasks import parsing, rendering

__all__ = ["generate_with_cortex"]

_SPLIT = "row"


def generate_with_cortex(
    plan: CortexPayload, place: Place, output: Path, *, connection: Connection | None = None
) -> TableDataset:
    """Makes the dataset that a plan asks for.

    Args:
        plan: What to make.
        place: Where the job runs and what it leaves.
        output: The job's output folder, for its progress and the manifest.
        connection: The way to the account; the job's own when None.

    Returns:
        The dataset in tables.

    Raises:
        DataError: The source lacks a column, no row has a valid answer, or tables are in the way.
        BackendError: The account refuses; the answers until then are kept, and not asked for again.
    """
    wanted = place.output
    if not isinstance(wanted, NamedTables):
        raise ConfigError("mode='cortex' leaves its rows in tables of the account")
    name, connection = parse(wanted.name), connection or Connection()
    schema = SchemaRef(connection, name.database, name.schema)
    rows = _rows(plan, schema)
    prompts = {row["id"]: prompt(plan, row) for row in rows}
    keys = {id: _key(plan, text) for id, text in prompts.items()}
    progress = Progress(output, total=len(set(keys.values())), unit="answers")
    table = cortex.answers_table(name)
    cortex.ask(
        schema,
        table,
        {keys[id]: text for id, text in prompts.items()},
        model=plan.model,
        parameters={"temperature": plan.temperature, "max_tokens": plan.max_tokens},
        schema=plan.task.output_schema,
        on_progress=progress.at,
    )
    found = cortex.answers(schema, table)
    made, ledger = _checked(plan, rows, {id: found.get(key) for id, key in keys.items()})
    if plan.deduplicate:
        made, unique = deduplicate_table(made, fields=plan.task.fields)
        ledger = ledger.merge(unique)
    parts, fates = split_table(made, plan.split, seed=plan.seed, inputs=plan.task.input_fields)
    ledger = ledger.merge(fates)
    ledger.reconcile(len(rows))
    with tempfile.TemporaryDirectory(prefix="soaptune-") as folder:
        local = Dataset.write(
            Path(folder) / "data",
            parts,
            task=plan.task,
            how=plan.how,
            ledger=ledger,
            synthetic=True,
            plan_fingerprint=place.plan,
        )
        return save_tables(local, wanted, output, connection=connection)


def prompt(plan: CortexPayload, row: dict[str, Any]) -> str:
    """What the model is asked for a row: the turns that a trained model is given, as one text."""
    return "\n\n".join(turn["content"] for turn in rendering.messages(plan.task, row))


def _key(plan: CortexPayload, text: str) -> str:
    asked = [plan.model, plan.temperature, plan.max_tokens, plan.task.output_schema, text]
    return fingerprint(asked).removeprefix("sha256:")


def _rows(plan: CortexPayload, place: SchemaRef) -> list[dict[str, Any]]:
    part, fields = find_source(place, plan.source), plan.task.input_fields
    columns = match_columns(names_of(place, part), part, fields, plan.columns)
    part = part.replace(columns=columns, made_ids="id" not in columns)
    wanted = ["id", *fields, *(["group"] if "group" in columns else [])]
    query = tablesql.rows(_SPLIT, part, fields=fields, columns=wanted)
    chosen = ", ".join(quote(column) for column in wanted)
    sql = f"SELECT {chosen} FROM ({query}) AS Q ORDER BY {quote(ROW)}"
    if plan.num_samples is not None:
        sql += f" LIMIT {int(plan.num_samples)}"
    rows = place.arrow("reading the inputs", sql).to_pylist()
    ids = {row["id"] for row in rows}
    if not rows or len(ids) < len(rows) or None in ids:
        raise DataError("The source has no rows, or rows without an id of their own; name it with columns={'id': ...}.")
    empty = [f for f in fields if any(row[f] is None or not row[f].strip() for row in rows)]
    if empty:
        raise DataError(f"The source has rows without a value for {', '.join(empty)}; leave them out with a query.")
    return rows


def _bare(text: str) -> str:
    """An answer that was no object comes as a text, in quotes or without."""
    if text.startswith('"'):
        try:
            return str(decode_json(text))
        except (ValueError, RecursionError):
            return text
    return text


def _checked(plan: CortexPayload, rows: list[dict[str, Any]], found: dict[str, str | None]) -> tuple[Table, RowLedger]:
    """The rows with valid answers, and the fate of all."""
    task, ledger = plan.task, RowLedger()
    good: list[dict[str, Any]] = []
    for row in rows:
        text = found[row["id"]]
        try:
            if text is None:
                raise AnswerError("no-answer", "The model gave no answer.")
            values = parsing.parse(task, _bare(text))
        except AnswerError as error:
            reason = f"{error.code}: {error.field}" if error.field else error.code
            ledger.add(row["id"], split="", fate="failed", reason=reason, step="cortex")
            continue
        good.append({**row, **task.stored(values)})
        ledger.add(row["id"], split="train", fate="kept", step="cortex")
    if not good:
        reasons = ", ".join(sorted({line.reason for line in ledger}))
        raise DataError(f"None of the {len(rows):,} row(s) has a valid answer of {plan.model}: {reasons}.")
    text_type = arrow().string()
    columns = ["id", *task.fields, *(["group"] if "group" in good[0] else [])]
    return arrow().table({c: arrow().array([row[c] for row in good], text_type) for c in columns}), ledger
