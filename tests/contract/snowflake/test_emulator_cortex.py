"""AI_COMPLETE: scripted by the test, in every form that SQL and Snowpark give it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from snowflake.snowpark import Session, functions
from snowflake.snowpark.exceptions import SnowparkSQLException

from soaptune.testing.snowflake import emulated_snowflake
from soaptune.testing.snowflake.account import Account

SCHEMA = {"type": "object", "properties": {"S": {"type": "string"}}, "required": ["S"]}
FORMAT = "{'type': 'json', 'schema': {'type': 'object', 'properties': {'S': {'type': 'string'}}, 'required': ['S']}}"


def _answer(model: str, prompt: str, response_format: dict[str, Any] | None) -> str | None:
    if "nothing" in prompt:
        return None
    if "broken" in prompt:
        return '{"S": "cut o'
    return json.dumps({"S": prompt}) if response_format else f"{model}: {prompt}"


@pytest.fixture
def account() -> Iterator[Account]:
    with emulated_snowflake(ai_complete=_answer) as made:
        yield made


@pytest.fixture
def session(account: Account) -> Iterator[Session]:
    with Session.builder.configs(account.connection_parameters).create() as made:
        prompts = [[1, "it's; ü"], [2, "nothing"], [3, "broken"]]
        made.create_dataframe(prompts, schema=["I", "P"]).write.save_as_table("PROMPTS")
        yield made


def test_each_row_is_answered_once_and_counted(account: Account, session: Session) -> None:
    session.sql("create table answers as select i, ai_complete('m', p) as r from prompts").collect()
    assert [row.R for row in session.table("answers").sort("I").collect()] == [
        "m: it's; ü",
        None,
        'm: {"S": "cut o'.replace("m: ", ""),
    ]
    assert sorted(call.prompt for call in account.ai.calls) == ["broken", "it's; ü", "nothing"]
    assert {call.model for call in account.ai.calls} == {"m"}


def test_equal_prompts_are_not_answered_from_memory(account: Account, session: Session) -> None:
    session.sql("select ai_complete('m', 'same') from prompts").collect()
    assert len(account.ai.calls) == 3


PARAMETERS = "{'temperature': 0.5, 'max_tokens': 9}"


@pytest.mark.parametrize(
    "call",
    [
        f"AI_COMPLETE('m', p, model_parameters => {PARAMETERS}, response_format => {FORMAT})",
        f"ai_complete(model => 'm', prompt => p, response_format => {FORMAT}, model_parameters => {PARAMETERS})",
        f"ai_complete('m', p, {PARAMETERS}, {FORMAT})",
        "ai_complete(prompt => p, model => 'm', response_format => parse_json("
        f"'{json.dumps({'type': 'json', 'schema': SCHEMA})}'), "
        "model_parameters => object_construct('temperature', 0.5, 'max_tokens', 9))",
    ],
)
def test_every_form_of_the_call_means_the_same(account: Account, session: Session, call: str) -> None:
    rows = session.sql(f"select i, r, r:S::varchar as s from (select i, {call} as r from prompts) order by i").collect()
    assert json.loads(rows[0].R) == {"S": "it's; ü"}
    assert rows[0].S == "it's; ü"
    assert rows[1].R is None
    assert json.loads(rows[2].R) == '{"S": "cut o'
    assert account.ai.calls[0].response_format == {"type": "json", "schema": SCHEMA}
    assert account.ai.calls[0].parameters == {"temperature": 0.5, "max_tokens": 9}


def test_model_prompt_and_format_may_be_bound(account: Account, session: Session) -> None:
    sql = "select ai_complete(model => ?, prompt => ?, response_format => parse_json(?)) as r"
    [row] = session.sql(sql, params=["m", "p'?", json.dumps({"type": "json", "schema": SCHEMA})]).collect()
    assert json.loads(row.R) == {"S": "p'?"}
    assert account.ai.calls[0].response_format == {"type": "json", "schema": SCHEMA}


def test_a_type_is_a_format_too(account: Account, session: Session) -> None:
    session.sql(
        "select ai_complete('m', 'x', response_format => type object(S string, n array(number))) as r"
    ).collect()
    properties = {"S": {"type": "string"}, "n": {"type": "array", "items": {"type": "number"}}}
    assert account.ai.calls[0].response_format == {
        "type": "json",
        "schema": {"type": "object", "properties": properties},
    }


def test_snowpark_functions_reach_it(account: Account, session: Session) -> None:
    prompt = functions.prompt("say {0}, {0}", functions.col("P"))
    frame = session.table("PROMPTS").filter("I = 1")
    [row] = frame.select(functions.ai_complete(model="m", prompt=prompt).alias("R")).collect()
    assert row.R == "m: say it's; ü, it's; ü"


def test_the_older_name_works(session: Session) -> None:
    [row] = session.sql("select snowflake.cortex.complete('m', 'x') as r").collect()
    assert row.R == "m: x"


def test_an_answer_takes_its_time(account: Account, session: Session) -> None:
    account.ai.latency = 0.2
    begun = time.monotonic()
    session.sql("select ai_complete('m', p) from prompts").collect()
    assert time.monotonic() - begun >= 0.6


def test_what_the_function_raises_fails_the_statement(account: Account, session: Session) -> None:
    def overloaded(model: str, prompt: str, response_format: dict[str, Any] | None) -> str:
        raise RuntimeError(f"model {model} is overloaded")

    account.ai.function = overloaded
    with pytest.raises(SnowparkSQLException, match="model m is overloaded"):
        session.sql("select ai_complete('m', p) from prompts").collect()
    rows = session.sql("select ai_complete('m', 'x', return_error_details => true) as r").collect()
    assert json.loads(rows[0].R) == {"value": None, "error": "model m is overloaded"}


def test_an_account_without_a_function_says_so(account: Account, session: Session) -> None:
    account.ai.function = None
    with pytest.raises(SnowparkSQLException, match="ai_complete="):
        session.sql("select ai_complete('m', 'x')").collect()


def test_tokens_are_counted(session: Session) -> None:
    [row] = session.sql("select ai_count_tokens('ai_complete', 'm', 'eight ch') as n").collect()
    assert row.N == 2


def test_a_name_in_quotes_or_text_is_not_a_call(account: Account, session: Session) -> None:
    [row] = session.sql("""select 'ai_complete(x)' as "ai_complete(y)" """).collect()
    assert row.as_dict() == {"ai_complete(y)": "ai_complete(x)"}
    assert account.ai.calls == []
