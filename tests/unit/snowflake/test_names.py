from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soaptune.errors import ConfigError
from soaptune.snowflake.names import Name, fold, literal, parse, quote, split

anything = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=60)


@given(anything)
def test_a_quoted_name_is_read_back_as_itself(name: str) -> None:
    assert split(quote(name)) == [name]


@given(anything, anything, anything)
def test_a_full_name_is_read_back_as_itself(database: str, schema: str, name: str) -> None:
    full = Name(database, schema, name)

    assert parse(full.sql) == full


@given(anything)
def test_no_name_ends_its_own_quotes(name: str) -> None:
    inside = quote(name)[1:-1]

    assert '"' not in inside.replace('""', "")


def test_plain_words_mean_their_capitals_and_quoted_ones_themselves() -> None:
    assert fold("llm_demo") == "LLM_DEMO"
    assert fold('"llm_demo"') == "llm_demo"
    assert fold("order") == "ORDER"


def test_what_sql_cannot_read_bare_means_itself() -> None:
    assert fold('my"table; DROP') == 'my"table; DROP'
    assert fold("Größe") == "Größe"
    assert fold("1st") == "1st"


def test_dots_inside_quotes_belong_to_the_name() -> None:
    assert split('a."b.c"."d""e"') == ["A", "b.c", 'd"e']


def test_missing_parts_come_from_the_defaults() -> None:
    assert parse("t", database="D", schema="S") == Name("D", "S", "T")
    assert parse("x.t", database="D", schema="S") == Name("D", "X", "T")
    assert parse("t", database="D", schema="S").beside("u") == Name("D", "S", "u")


@pytest.mark.parametrize("text", ["", "a..b", '"a', '"a"b', "a.b.c.d", ".a", "a.", '""'])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, database="D", schema="S")


def test_a_name_without_a_home_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"DATABASE\.SCHEMA\.NAME"):
        parse("t")


def test_literals_escape_quotes_and_backslashes() -> None:
    assert literal("it's a \\") == "'it''s a \\\\'"


def test_a_stage_location_quotes_every_part() -> None:
    assert Name("D", "order", 'my"stage').stage == '@"D"."order"."my""stage"'
