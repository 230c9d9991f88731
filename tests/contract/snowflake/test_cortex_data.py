"""Mode ``cortex``: each row is asked once, what fails is in the ledger, and what was answered is never asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from soaptune.data import DataGenerator
from soaptune.data.payload import CortexPayload
from soaptune.errors import BackendError, CheckFailed, ConfigError, JobFailed
from soaptune.jobs.place import Place
from soaptune.local.backend import LocalBackend
from soaptune.runtime.snowflake.cortex import generate_with_cortex
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.tasks import Task


class Ticket(pydantic.BaseModel):
    title: str
    urgency: int


TASK = Task(
    name="tickets",
    system_prompt="Say what the ticket's about.",
    user_template="Ticket: {ticket}",
    output=Ticket,
    rubric={"title": "Short.", "urgency": "1 to 5."},
)
STEP = DataGenerator(task=TASK, mode="cortex", model="some-model", source="INBOX", split="50/25/25")


def answer(model: str, prompt: str, response_format: dict[str, Any] | None) -> str | None:
    number = int(prompt.rsplit(" ", 1)[1])
    if number == 3:
        return None
    if number == 4:
        return '{"title": "cut o'
    if number == 5:
        return json.dumps({"title": "x", "urgency": "high"})
    return json.dumps({"urgency": number, "title": f"it's {number}"})


@pytest.fixture
def account() -> Iterator[Any]:
    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake(ai_complete=answer) as made:
        yield made


@pytest.fixture
def backend(account: Any) -> Iterator[SnowflakeBackend]:
    made = SnowflakeBackend(
        compute_pool="GPU_POOL",
        database="TEST_DB",
        schema="PUBLIC",
        connection_parameters=account.connection_parameters,
    )
    rows = " UNION ALL ".join(f"SELECT {n} AS ID, 'the ticket of number {n}' AS TICKET" for n in range(12))
    made.session().sql(f"CREATE TABLE INBOX AS {rows}").collect()
    yield made
    made.close()


def plan_of(step: DataGenerator, backend: SnowflakeBackend) -> tuple[CortexPayload, Place]:
    files = step.compile(on=backend).files
    return CortexPayload.model_validate_json(files["step.json"]), Place.model_validate_json(files["place.json"])


def test_a_job_asks_each_row_once_and_keeps_the_reasons_of_failures(account: Any, backend: SnowflakeBackend) -> None:
    data = STEP.run(on=backend)
    assert len(account.ai.calls) == 12
    assert {call.model for call in account.ai.calls} == {"some-model"}
    sent = account.ai.calls[0]
    assert sent.prompt.startswith("Say what the ticket's about.\n\nTicket: the ticket of number ")
    assert sent.response_format["schema"]["required"] == ["title", "urgency"]
    assert sent.parameters == {"temperature": 0.0, "max_tokens": 2048}
    assert sum(data.counts.values()) == 9
    failed = {row.id: row.reason for row in data.ledger if row.fate == "failed"}
    assert failed == {"3": "no-answer", "4": "not-json", "5": "wrong-type: urgency"}
    rows = {row["id"]: row for split in data.splits for row in data.table(split).to_pylist()}
    assert rows["7"]["title"] == "it's 7"
    assert rows["7"]["urgency"] == "7"
    assert data.manifest.synthetic
    assert backend.dataset("TICKETS").fingerprint == data.fingerprint


def test_what_was_answered_is_not_asked_again(account: Any, backend: SnowflakeBackend, tmp_path: Path) -> None:
    first = generate_with_cortex(*plan_of(STEP, backend), tmp_path / "1", connection=backend.connection)
    again = generate_with_cortex(*plan_of(STEP, backend), tmp_path / "2", connection=backend.connection)
    # Only the one without an answer is tried again.
    assert len(account.ai.calls) == 13
    assert again.fingerprint == first.fingerprint


def test_an_interrupted_run_goes_on_where_it_was(
    account: Any, backend: SnowflakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soaptune.snowflake.tables.cortex._BATCH", 4)
    asked: list[int] = []

    def fails_late(model: str, prompt: str, response_format: dict[str, Any] | None) -> str | None:
        asked.append(len(asked))
        if len(asked) > 8:
            raise RuntimeError("the model is overloaded")
        return answer(model, prompt, response_format)

    account.ai.function = fails_late
    with pytest.raises(BackendError, match="overloaded"):
        generate_with_cortex(*plan_of(STEP, backend), tmp_path / "1", connection=backend.connection)
    account.ai.function = answer
    before = len(account.ai.calls)
    data = generate_with_cortex(*plan_of(STEP, backend), tmp_path / "2", connection=backend.connection)
    assert len(account.ai.calls) - before <= 5
    assert sum(data.counts.values()) == 9


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_connection_asks_nothing_twice(
    account: Any, backend: SnowflakeBackend, tmp_path: Path, when: str
) -> None:
    account.faults.drop_connection(**{when: "AI_COMPLETE"})
    data = generate_with_cortex(*plan_of(STEP, backend), tmp_path / "1", connection=backend.connection)
    assert len(account.ai.calls) == 12
    assert sum(data.counts.values()) == 9


def test_the_cost_is_estimated_before_anything_is_asked(
    account: Any, backend: SnowflakeBackend, tmp_path: Path
) -> None:
    found = STEP.estimate(on=backend)
    assert (found.rows, found.answered, found.counted_by) == (12, 0, "AI_COUNT_TOKENS")
    assert found.output_tokens_at_most == 12 * 2048
    assert 12 * 40 < found.input_tokens < 12 * 200
    least, most = found.credits(input_rate=1.0, output_rate=2.0)
    assert least == found.input_tokens / 1e6
    assert most == least + 2 * found.output_tokens_at_most / 1e6
    assert not account.ai.calls
    generate_with_cortex(*plan_of(STEP, backend), tmp_path / "1", connection=backend.connection)
    assert STEP.estimate(on=backend).answered == 11


def test_a_source_that_cannot_be_used_is_told_before_anything_is_asked(account: Any, backend: SnowflakeBackend) -> None:
    with pytest.raises(CheckFailed, match="no column 'ticket'"):
        STEP.replace(source="SELECT 1 AS X").run(on=backend)
    with pytest.raises(CheckFailed, match="There is no table"):
        STEP.replace(source="NOWHERE").run(on=backend)
    with pytest.raises(CheckFailed, match="SnowflakeBackend"):
        STEP.run(on=LocalBackend("runs"))
    assert [v.path for v in STEP.replace(model=None, source=None).check()] == ["model", "source"]
    with pytest.raises(ConfigError, match="needs mode"):
        DataGenerator(task=TASK).estimate(on=backend)
    assert not account.ai.calls


def test_a_source_without_a_single_valid_answer_fails_with_the_reasons(account: Any, backend: SnowflakeBackend) -> None:
    account.ai.function = lambda *_: None
    with pytest.raises(JobFailed) as caught:
        STEP.run(on=backend)
    assert any("None of the 12 row(s) has a valid answer" in line for line in caught.value.log_tail)
