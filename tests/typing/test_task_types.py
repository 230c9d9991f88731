"""What pyright must infer about tasks; checked by `pyright tests/typing`, and it runs as a test too."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from typing_extensions import assert_type

from soaptune.tasks import SOAP, SOAPNote, Task
from soaptune.tasks.rendering import Message


class Booking(BaseModel):
    people: int
    day: str


TASK = Task(
    name="bookings",
    system_prompt="",
    user_template="{request}",
    output=Booking,
    rubric={"people": "The number.", "day": "The day."},
)


def test_a_task_carries_the_type_of_its_output() -> None:
    assert_type(TASK, Task[Booking])
    assert_type(TASK.parse('{"people": 2, "day": "Friday"}'), Booking)
    assert_type(TASK.parse('{"people": 2, "day": "Friday"}').people, int)
    assert_type(TASK.output, type[Booking])
    assert_type(TASK.answer(Booking(people=2, day="Friday")), str)
    assert_type(TASK.messages({"request": "x"}), list[Message])


def test_the_soap_task_gives_notes() -> None:
    assert_type(SOAP, Task[SOAPNote])
    assert_type(SOAP.parse('{"S": "", "O": "", "A": "", "P": ""}'), SOAPNote)


def test_a_task_from_a_spec_gives_mappings_until_its_class_is_bound() -> None:
    again = Task.from_spec(TASK.spec())
    assert_type(again, Task[dict[str, Any]])
    assert_type(again.parse('{"people": 2, "day": "Friday"}'), dict[str, Any])
    assert_type(again.bind(Booking), Task[Booking])
