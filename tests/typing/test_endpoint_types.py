"""What pyright must infer about deployment; checked by `pyright tests/typing`, and it runs as a test too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from typing_extensions import assert_type

from soaptune.deploy import Deployer, Gates
from soaptune.handles.endpoint import Endpoint
from soaptune.jobs.job import Job
from soaptune.tasks import SOAP, SOAPNote, Task

if TYPE_CHECKING:
    from soaptune.handles.model import Model
    from soaptune.handles.report import EvalReport
    from soaptune.jobs.backend import Backend


class Booking(BaseModel):
    people: int


TASK = Task(name="bookings", system_prompt="", user_template="{request}", output=Booking, rubric={"people": "n"})


def check_types(model: Model, report: EvalReport, backend: Backend) -> None:
    """Is read by pyright and never called."""
    endpoint = Deployer(name="x", task=TASK, require=Gates(schema_valid=0.9)).run(model, report, on=backend)
    assert_type(endpoint, Endpoint[Booking])
    assert_type(endpoint.generate(request="two"), Booking)
    assert_type(endpoint.generate(request="two").people, int)
    assert_type(Deployer(name="x", task=SOAP).run(model, on=backend).generate(dialogue="x"), SOAPNote)
    plain = Deployer(name="x").run(model, on=backend)
    assert_type(plain, Endpoint[Any])
    assert_type(plain.bind(TASK), Endpoint[Booking])
    assert_type(Deployer(name="x").submit(model, on=backend), Job[Endpoint[Any]])


def test_a_deployer_carries_the_type_of_its_task() -> None:
    assert_type(Deployer(name="x", task=TASK), Deployer[Booking])
    assert_type(Deployer(name="x", task=SOAP), Deployer[SOAPNote])
    assert_type(Deployer(name="x"), Deployer[Any])
