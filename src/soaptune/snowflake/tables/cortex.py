"""`AI_COMPLETE` over rows: every row is asked once, and what was answered is kept in a table.

Rows are asked in batches, each a statement that stores its answers at once: nothing is asked again by looking at it,
and after an interruption only the rows without an answer are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from soaptune.errors import BackendError, ConfigError
from soaptune.handles.location import TableSplit
from soaptune.jobs.estimate import Estimate
from soaptune.jobs.needs import CortexNeed
from soaptune.jobs.output import NamedTables
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.names import Name, literal, parse, quote
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.query import SchemaRef, loaded, strings
from soaptune.snowflake.tables.source import find_source, match_columns, names_of

__all__ = ["answers", "answers_table", "ask", "constant", "estimate", "response_format"]

_BATCH = 200


def estimate(place: SchemaRef, spec: JobSpec) -> Estimate:
    """Counts what a job is to ask, inside the account.

    Args:
        place: The schema.
        spec: The job.

    Raises:
        ConfigError: The job asks no rows of an input.
        DataError: A column is missing.
        BackendError: The rows cannot be read.
    """
    needs = [need for need in (spec.needs.cortex if spec.needs else ()) if need.source in spec.inputs]
    if not needs:
        raise ConfigError(f"{spec.name}: the job asks no model for the rows of an input, so there is nothing to count")
    (need,) = needs
    part = find_source(place, str(spec.inputs[need.source]))
    columns = match_columns(names_of(place, part), part, need.fields, need.columns)
    source = part.replace(columns=columns, made_ids="id" not in columns)
    table = answers_table(parse(spec.output.name)) if isinstance(spec.output, NamedTables) else None
    return _count(place, source, table, need)


def answers_table(name: Name) -> Name:
    """The table that keeps the answers for a dataset in tables.

    Args:
        name: What the dataset's tables begin with.
    """
    return name.beside(f"{name.name}_ANSWERS")


def _count(place: SchemaRef, source: TableSplit, table: Name | None, need: CortexNeed) -> Estimate:
    model, fields, fixed, max_tokens = need.model, need.fields, need.fixed_text, need.max_tokens
    query = tablesql.rows("row", source, fields=fields, columns=["id", *fields])
    text = " || ".join([literal(fixed), *(f"COALESCE({quote(field)}, '')" for field in fields)])
    counts = {
        "AI_COUNT_TOKENS": f"SUM(AI_COUNT_TOKENS('ai_complete', {literal(model)}, {text}))",
        "characters": f"SUM(CEIL(LENGTH({text}) / 4))",
    }
    for how, count in counts.items():
        try:
            sql = f"SELECT COUNT(*), {count} FROM ({query}) AS Q"
            ((rows, tokens),) = place.connection.rows("counting tokens", sql)
        except BackendError:
            if how == "characters":
                raise
            continue
        done = 0
        if table is not None and place.at(table).there([table.name]):
            sql = f"SELECT COUNT(ANSWER) FROM {table.sql}"
            done = min(int(rows), int(place.connection.rows("counting answers", sql)[0][0]))
        left = int(rows) - done
        return Estimate(
            rows=int(rows),
            answered=done,
            input_tokens=round(int(tokens or 0) * left / max(int(rows), 1)),
            output_tokens_at_most=left * max_tokens,
            counted_by=how,
        )
    raise AssertionError("unreachable: the last way to count returns or raises")


def ask(
    place: SchemaRef,
    table: Name,
    prompts: Mapping[str, str],
    *,
    model: str,
    parameters: Mapping[str, Any],
    schema: Mapping[str, Any] | None,
    on_progress: Callable[[int], None],
    details: bool = False,
) -> None:
    """Asks a model for every prompt that has no answer yet, and stores the answers.

    Args:
        place: The schema.
        table: The table of the answers; made when it is not there.
        prompts: The prompts, each under a key that stands for everything it depends on.
        model: The model.
        parameters: Its parameters.
        schema: The JSON Schema that the model is held to; None lets it write freely.
        on_progress: Gets how many prompts are done.
        details: Whether the reason is stored why a prompt failed: in place of the answer a JSON object with ``value``
            and ``error``. Such a prompt counts as answered.

    Raises:
        BackendError: Snowflake refused; what was answered until then stays.
    """
    connection = place.connection
    connection.rows(
        "making the table of answers",
        f"CREATE TABLE IF NOT EXISTS {table.sql} (KEY VARCHAR, MODEL VARCHAR, ANSWER VARCHAR)",
    )
    # A prompt without an answer was refused or failed: a new run tries it again.
    connection.rows("removing what has no answer", f"DELETE FROM {table.sql} WHERE ANSWER IS NULL")
    done = answers(place, table)
    left = [key for key in prompts if key not in done]
    on_progress(len(prompts) - len(left))
    call = (
        f"AI_COMPLETE(model => {literal(model)}, prompt => L.C1, model_parameters => {constant(parameters)}"
        + (f", response_format => {constant(response_format(schema))}" if schema is not None else "")
        + (", return_error_details => TRUE)" if details else ")")
    )
    for start in range(0, len(left), _BATCH):
        keys = left[start : start + _BATCH]
        batch = strings({"key": keys, "prompt": [prompts[key] for key in keys]})

        def work(session: Any, batch: Any = batch) -> None:
            with loaded(session, place, batch) as staged:
                # After a lost answer the rows may be there: they are not asked twice.
                session.sql(
                    f"INSERT INTO {table.sql} (KEY, MODEL, ANSWER) "
                    f"SELECT L.C0, {literal(model)}, CAST({call} AS VARCHAR) FROM {staged} AS L "
                    f"WHERE L.C0 NOT IN (SELECT KEY FROM {table.sql})"
                ).collect()

        connection.call(f"asking {model}", work)
        on_progress(len(prompts) - len(left) + start + len(keys))


def answers(place: SchemaRef, table: Name) -> dict[str, str | None]:
    """The answers by key; None where the model gave none.

    Raises:
        BackendError: The table cannot be read.
    """
    found = place.arrow("reading answers", f"SELECT KEY, ANSWER FROM {table.sql}")
    return dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The response format that holds a model to a JSON Schema; some models need what it leaves open stated."""
    closed = {**schema}
    if closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
        closed.setdefault("required", list(closed.get("properties", {})))
    return {"type": "json", "schema": closed}


def constant(value: Any) -> str:
    """A JSON value as a constant of SQL."""
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value)
        return "{" + ", ".join(f"{literal(str(key))}: {constant(item)}" for key, item in pairs.items()) + "}"
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        return "[" + ", ".join(constant(item) for item in items) + "]"
    return literal(value) if isinstance(value, str) else json.dumps(value)
