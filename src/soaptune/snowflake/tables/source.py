"""Where rows come from that a user names: a table, a query, or a version of a Snowflake Dataset; and their columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from soaptune.common.fingerprint import fingerprint
from soaptune.common.lazy import optional
from soaptune.common.wording import did_you_mean
from soaptune.errors import BackendError, DataError
from soaptune.handles.location import TableSplit
from soaptune.snowflake.names import Name, fold, quote
from soaptune.snowflake.session import NOT_FOUND, error_number
from soaptune.snowflake.tables import sql as tablesql
from soaptune.snowflake.tables.query import SchemaRef
from soaptune.snowflake.tables.spec import ROW, table_of

__all__ = ["find_source", "match_columns", "names_of"]

_VERSION = re.compile(r"snow://dataset/(?P<name>.+)/versions/(?P<version>[^/]+)/?", re.IGNORECASE)
_QUERY = re.compile(r"\s*(\(\s*)?(select|with)\b", re.IGNORECASE)


def find_source(place: SchemaRef, text: str) -> TableSplit:
    """What a person means by a table's name, a query or the address of a Dataset's version; its columns are left open.

    Args:
        place: The schema, where the name has none.
        text: What was written.

    Raises:
        BackendError: A Dataset's version cannot be copied.
    """
    if version := _VERSION.fullmatch(text.strip()):
        copy = _copy_of(place, version["name"], version["version"])
        return TableSplit(table=(copy.database, copy.schema, copy.name), columns={})
    if _QUERY.match(text):
        return TableSplit(sql=text, columns={})
    name = place.name(text)
    return TableSplit(table=(name.database, name.schema, name.name), columns={})


def _copy_of(place: SchemaRef, name: str, version: str) -> Name:
    """The table with the rows of a Dataset's version, which never change: copied once, inside the account."""
    dataset = place.name(name)
    digest = fingerprint({"dataset": dataset.sql, "version": version}).removeprefix("sha256:")[:12].upper()
    table = Name(place.database, place.schema, f"SOAPTUNE_DATASET_{digest}")
    if place.there([table.name]):
        return table

    def work(session: Any) -> None:
        package = "snowflake-ml-python"
        datasets = optional("snowflake.ml.dataset", package=package, extra="snowflake", what="A Snowflake Dataset")
        frame = datasets.load_dataset(session, dataset.sql, version).read.to_snowpark_dataframe()
        frame.write.save_as_table([quote(table.database), quote(table.schema), quote(table.name)], mode="overwrite")

    place.connection.call(f"copying version {version} of the Snowflake Dataset {dataset}", work)
    return table


def names_of(place: SchemaRef, part: TableSplit) -> list[str]:
    """The exact names of a table's or a query's columns.

    Raises:
        DataError: There is no such table.
        BackendError: The query cannot be run.
    """
    try:
        sql = f"SELECT * FROM {tablesql.relation(part)} AS {quote('T')} LIMIT 0"
        return list(place.arrow("looking at a table's columns", sql).column_names)
    except BackendError as error:
        if table_of(part) is not None and error_number(error) in NOT_FOUND:
            raise DataError(f"There is no table {table_of(part)}, or your role may not read it.") from error
        raise


def match_columns(
    names: list[str],
    part: TableSplit,
    fields: Sequence[str],
    given: Mapping[str, str],
    *,
    may_lack: Collection[str] = (),
) -> dict[str, str]:
    """Finds the columns of a dataset among those of a table.

    Args:
        names: The table's columns.
        part: The table, for messages.
        fields: The fields that must be there.
        given: The columns that the user has named.
        may_lack: Fields whose column may be missing, unless the user has named it.

    Returns:
        For each column of the dataset its exact name in the table, empty for one that it may lack; the rest of the
        table under its own names.

    Raises:
        DataError: A column is missing.
    """
    known = {"id", "group", "facts", *fields}
    for column in given:
        if column not in known:
            raise DataError(f"columns= speaks of {column!r}, which is no field{did_you_mean(column, sorted(known))}.")
    found: dict[str, str] = {}
    for column in ("id", "group", "facts", *fields):
        wanted = given.get(column)
        options = [wanted, fold(wanted)] if wanted else [column, column.upper()]
        near = [n for n in names if n.casefold() == column.casefold()] if not wanted else []
        hit = next((option for option in (*options, *near) if option in names), None)
        if hit is not None:
            found[column] = hit
        elif column in may_lack and not wanted:
            found[column] = ""
        elif wanted or column in fields:
            raise DataError(
                f"{table_of(part) or 'The query'} has no column {wanted or column!r}"
                f"{did_you_mean(wanted or column, names)}. Name it with columns={{{column!r}: '...'}}."
            )
    rest = [n for n in names if n not in found.values() and n not in found and n != ROW]
    return {**found, **{n: n for n in rest}}
