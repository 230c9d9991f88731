"""Columns of type ARRAY and OBJECT: fakesnow calls every semi-structured column of a query VARIANT.

The SDK reads lists and mappings out of a column only where its type says that it holds them
(snowflake/ml/model/_signatures/snowpark_handler.py:90), so what a query casts must come back as what it was cast to.
"""

from __future__ import annotations

from typing import Any


def restore_types(rowtype: list[dict[str, Any]], sql: str) -> None:
    """Names the types of a query's columns that are casts to ARRAY or OBJECT.

    Args:
        rowtype: The columns of fakesnow's answer, changed in place.
        sql: The query, in Snowflake's SQL.
    """
    if all(column["type"] != "variant" for column in rowtype):
        return
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree: Any = sqlglot.parse_one(sql, dialect="snowflake")
    except SqlglotError:
        return
    for column in rowtype:
        if column["type"] == "variant":
            column["type"] = _type(tree, column["name"]) or "variant"


def _type(query: Any, name: str) -> str | None:
    """The type that a query gives to a column by a cast, wherever in it that stands."""
    from sqlglot import exp

    while isinstance(query, (exp.Subquery, exp.Paren)):
        query = query.this
    if not isinstance(query, exp.Select):
        return None
    source: Any = query.args.get("from_") or query.args.get("from")
    inner: Any = source.this if source is not None else None
    for expression in query.expressions:
        if isinstance(expression, exp.Star):
            continue
        if expression.alias_or_name not in {name, name.lower()} and expression.alias_or_name.upper() != name:
            continue
        found: Any = expression.unalias()
        if isinstance(found, exp.Cast):
            kind = found.to.this
            if kind == exp.DataType.Type.ARRAY:
                return "array"
            return "object" if kind in {exp.DataType.Type.OBJECT, exp.DataType.Type.MAP} else None
        return _type(inner, found.name) if isinstance(found, exp.Column) else None
    return _type(inner, name)
