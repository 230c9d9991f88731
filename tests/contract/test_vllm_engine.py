"""The engine `vllm` over real HTTP and real processes: against a stand-in server, and vLLM itself where there is one.

``SOAPTUNE_TEST_VLLM=/path/to/vllm/bin/vllm`` names it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field

from soaptune import tiny
from soaptune.engines import VLLM, GenerationRequest, Transformers
from soaptune.errors import EngineError
from soaptune.evaluate import Evaluator
from soaptune.evaluate.evaluator import EvalPayload
from soaptune.runtime.engines.transformers import TransformersEngine
from soaptune.runtime.engines.vllm import VllmEngine
from soaptune.tasks import Task
from soaptune.tasks.constrained import with_layout
from tests.contract.test_evaluate_job import base, dataset, evaluate, model  # noqa: F401 - fixtures

STAND_IN = (sys.executable, str(Path(__file__).with_name("completions_server.py")))
REAL = os.environ.get("SOAPTUNE_TEST_VLLM")
needs_vllm = pytest.mark.skipif(not REAL, reason="SOAPTUNE_TEST_VLLM does not name a vLLM")
SCHEMA = {
    "type": "object",
    "properties": {"who": {"type": "string", "enum": ["Ann", "Bob"]}},
    "required": ["who"],
    "additionalProperties": False,
}


class Visit(BaseModel):
    """Fields whose values cannot grow without end, as a model of pure noise lets others do."""

    day: date
    count: Annotated[int, Field(ge=10, le=99)]
    code: Annotated[str, Field(pattern=r"^[A-Z]{3}-[0-9]{4}$")]
    again: Literal["yes", "no"] | None


VISIT = Task(
    name="visit",
    system_prompt="Answer.",
    user_template="{text}",
    output=Visit,
    rubric=dict.fromkeys(Visit.model_fields, "x"),
)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv("STAND_IN_NOTES", str(folder))
    return folder


@pytest.fixture(scope="module")
def local(base):  # noqa: F811
    return TransformersEngine.load(base)


def vllm(folder, local, program=STAND_IN, **options):
    return VllmEngine(
        folder,
        local.tokenizer,
        stop=local.stop_tokens,
        max_length=local.max_length,
        program=program,
        dtype="float32",
        eager=True,
        **options,
    )


@pytest.fixture(scope="module")
def running(base, local, tmp_path_factory):  # noqa: F811
    """An engine whose server goes on from one test to the next, and the folder of the server's notes."""
    folder = tmp_path_factory.mktemp("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAND_IN_NOTES", str(folder))
        with vllm(base, local) as engine:
            yield engine, folder


def questions(**options):
    said = ["who pays?", "what does Bob say to the patient?", "that"]
    return [GenerationRequest([{"role": "user", "content": text}], 24, **options) for text in said]


def pids(notes):
    return [int(pid) for pid in (notes / "pids").read_text().split()]


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def wait_until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def test_it_answers_as_the_engine_in_process_and_leaves_no_process(base, local, notes):  # noqa: F811
    requests = [*questions(), GenerationRequest([{"role": "user", "content": "word " * 400}], 24)]
    expected = local.generate(requests)
    told = []
    with vllm(base, local).sized_for(requests) as engine:
        found = engine.generate(requests, on_progress=lambda done, total: told.append((done, total)))
        alive = pids(notes)
        assert not any(ended(pid) for pid in alive)
    assert [(one.text, one.prompt_tokens, one.completion_tokens, one.finish_reason) for one in found] == [
        (one.text, one.prompt_tokens, one.completion_tokens, one.finish_reason) for one in expected
    ]
    assert "nothing is cut" in str(found[3].error)
    assert told[-1] == (4, 4)
    assert all(ended(pid) for pid in alive), "the server and its helper have ended"
    bodies = [json.loads(line) for line in (notes / "bodies.jsonl").read_text().splitlines()]
    assert len(bodies) == 3, "what is too long is not sent"
    assert all((body["temperature"], body["ignore_eos"]) == (0, True) for body in bodies)


def test_a_schema_is_passed_on_as_vllm_wants_it(base, running):  # noqa: F811
    engine, notes = running
    engine.generate(questions(schema=SCHEMA)[:1])
    body = json.loads((notes / "bodies.jsonl").read_text().splitlines()[-1])
    assert body["structured_outputs"] == {"json": with_layout(SCHEMA)}
    assert body["ignore_eos"] is False
    command, names = json.loads((notes / "command").read_text())
    assert command[1:3] == ["serve", str(base)]
    assert command[command.index("--structured-outputs-config.backend") + 1] == "guidance"
    assert "127.0.0.1" in command
    assert not {"PYTHONPATH", "HF_TOKEN"} & set(names)


def test_what_it_answers_is_valid_for_the_class_and_written_as_in_training(local, running):
    schema = VISIT.spec().output_schema
    requests = [GenerationRequest(one.messages, 120, schema=schema) for one in questions()]
    found = running[0].generate(requests)
    assert [(one.finish_reason, one.error) for one in found] == [("stop", None)] * 3
    for one in found:
        assert VISIT.answer(VISIT.parse(one.text)) == one.text
    assert [one.text for one in found] == [one.text for one in local.generate(requests)]


def test_one_refused_request_does_not_fail_the_others(running):
    engine, notes = running
    requests = questions()
    (notes / "refuse").write_text(json.dumps(engine._prompts(requests)[1]))
    found = engine.generate(requests)
    assert [one.finish_reason == "error" for one in found] == [False, True, False]
    assert "HTTP 400" in str(found[1].error)
    with pytest.raises(EngineError, match="none of the 1 requests"):
        engine.generate(requests[1:2])
    (notes / "refuse").unlink()


def test_a_server_that_dies_is_told_at_once(base, local, notes):  # noqa: F811
    with vllm(base, local) as engine:
        (notes / "die").touch()
        with pytest.raises(EngineError, match="vLLM has ended"):
            engine.generate(questions())


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (("/nowhere/vllm",), "could not be started"),
        ((sys.executable, "-c", "print('no such device'); raise SystemExit(4)"), "(?s)exit status 4.*no such device"),
    ],
)
def test_a_server_that_does_not_start_says_why(base, local, program, message):  # noqa: F811
    with pytest.raises(EngineError, match=message), vllm(base, local, program):
        pytest.fail("it did start")


def test_a_server_that_is_never_ready_is_given_up_and_ended(base, local, tmp_path):  # noqa: F811
    note = tmp_path / "pid"
    program = (
        sys.executable,
        "-c",
        f"import os,time; open({str(note)!r},'w').write(str(os.getpid())); time.sleep(600)",
    )
    with pytest.raises(EngineError, match="not ready after 2 s"), vllm(base, local, program, startup_seconds=2.0):
        pytest.fail("it was ready")
    assert ended(int(note.read_text()))


@pytest.mark.soak  # the guard's own tests are the fast part
def test_the_server_ends_when_who_started_it_is_killed(base, notes):  # noqa: F811
    code = (
        "import sys, time\n"
        "from soaptune.runtime.engines.vllm import VllmEngine\n"
        f"VllmEngine({str(base)!r}, None, stop=[2], max_length=64, program={STAND_IN!r}).__enter__()\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "ready"
    alive = pids(notes)
    assert not any(ended(pid) for pid in alive)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert wait_until(lambda: all(ended(pid) for pid in alive))


def test_an_evaluation_with_it_gives_the_numbers_of_the_engine_in_process(model, notes, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "data", long=True)
    here = evaluate(model, data, tmp_path / "here")
    there = evaluate(model, data, tmp_path / "there", engine=VLLM(command=STAND_IN, args=("--seed=7",)))
    assert "--seed=7" in json.loads((notes / "command").read_text())[0]
    assert there.metrics == here.metrics
    assert there.errors == here.errors
    assert there.lineage.model_fingerprint == model.fingerprint
    texts = [pq.read_table(tmp_path / who / "predictions.parquet") for who in ("here", "there")]
    assert texts[0].column("answer").to_pylist() == texts[1].column("answer").to_pylist()
    assert "nothing is cut" in texts[1].column("reason").to_pylist()[2]


@pytest.mark.soak
@needs_vllm
@pytest.mark.timeout(400)
def test_vllm_itself_answers_as_the_engine_in_process():
    here = TransformersEngine.load(tiny.path())
    requests = questions()
    expected = here.generate(requests)
    with vllm(tiny.path(), here, (str(REAL),)).sized_for([*requests, *questions(schema=SCHEMA)]) as engine:
        found = engine.generate(requests)
        held = engine.generate(questions(schema=SCHEMA))
    assert [(one.text, one.prompt_tokens, one.completion_tokens, one.finish_reason) for one in found] == [
        (one.text, one.prompt_tokens, one.completion_tokens, one.finish_reason) for one in expected
    ]
    assert all(json.loads(one.text)["who"] in ("Ann", "Bob") for one in held), [one.text for one in held]


@pytest.mark.soak
@needs_vllm
@pytest.mark.timeout(400)
def test_what_vllm_itself_answers_is_valid_for_the_class_and_written_as_in_training():
    here = TransformersEngine.load(tiny.path())
    requests = [GenerationRequest(one.messages, 120, schema=VISIT.spec().output_schema) for one in questions()]
    with vllm(tiny.path(), here, (str(REAL),)).sized_for(requests) as engine:
        found = engine.generate(requests)
    for one in found:
        assert VISIT.answer(VISIT.parse(one.text)) == one.text


@pytest.mark.soak
@needs_vllm
@pytest.mark.timeout(600)
def test_an_evaluation_job_with_vllm_itself(tmp_path):
    import soaptune as st
    from tests.unit.evaluate.test_evaluator import make_model

    backend = st.LocalBackend(tmp_path / "runs")
    data = st.DataGenerator(task=st.tasks.SOAP, num_samples=60, seed=3).run(on=backend)
    import shutil

    made = make_model(tmp_path / "m", task=st.tasks.SOAP.spec())
    shutil.rmtree(made.weights)
    shutil.copytree(tiny.path(), made.weights)
    step = Evaluator(max_samples=4, max_new_tokens=40, resamples=1000, base=False)
    engines = (Transformers(), VLLM(command=(str(REAL),)))
    reports = [step.replace(engine=engine).run(made, data, on=backend) for engine in engines]
    assert reports[1].metrics == reports[0].metrics
    assert "perplexity" in reports[1].metrics
    assert reports[1].lineage.evaluator["engine"]["kind"] == "vllm"
    plan_of = EvalPayload.model_validate(json.loads(step.compile(made, data, on=backend).files["step.json"]))
    assert plan_of.evaluator == step
