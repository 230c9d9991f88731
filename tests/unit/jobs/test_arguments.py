"""What is not a backend or not the right handle is answered with what is expected and what to write."""

from pathlib import Path

import datasets
import pytest

import soaptune as st
from soaptune.errors import ConfigError, SoaptuneError
from soaptune.jobs.arguments import require_backend, require_handle
from soaptune.jobs.spec import JobSpec

SPEC = st.TrainSpec.preset("tiny-lora")
TRAINER = st.Trainer(spec=SPEC)
EVALUATOR = st.Evaluator()
DEPLOYER = st.Deployer(name="notes")
GENERATOR = st.DataGenerator(task=st.tasks.SOAP)
BACKEND = st.LocalBackend("runs")


@pytest.fixture
def data(tmp_path):
    import pyarrow as pa

    task = st.tasks.SOAP.spec()
    table = pa.table({"id": ["a"], **{field: ["some words"] for field in task.fields}})
    return st.Dataset.write(
        tmp_path / "data", {"train": table, "test": table.set_column(0, "id", [["b"]])}, task=task, how={}
    )


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (
            "runs",
            r"^on= is a str, and a backend is expected: a folder's name .* write on=st\.LocalBackend\('runs'",
        ),
        (Path("runs"), r"^on= is a PosixPath, and a backend is expected: write on=st\.LocalBackend\('runs'\)"),
        (None, r"^on= is None, and a backend"),
        (
            st.LocalBackend,
            r"^on= is the class LocalBackend, .* write on=LocalBackend\(\.\.\.\)$",
        ),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda data, on: TRAINER.run(data, on=on),
        lambda data, on: TRAINER.submit(data, on=on),
        lambda data, on: TRAINER.compile(data, on=on),
        lambda data, on: TRAINER.preflight(data, on=on),
        lambda data, on: TRAINER.changes(on=on),
        lambda data, on: GENERATOR.run(on=on),
        lambda data, on: GENERATOR.compile(on=on),
        lambda data, on: GENERATOR.preflight(on=on),
        lambda data, on: GENERATOR.estimate(on=on),
        lambda data, on: EVALUATOR.compile(None, data, on=on),
        lambda data, on: EVALUATOR.preflight(None, data, on=on),
        lambda data, on: EVALUATOR.run(None, data, on=on),
        lambda data, on: DEPLOYER.run(None, on=on),
        lambda data, on: DEPLOYER.submit(None, on=on),
        lambda data, on: DEPLOYER.compile(None, on=on),
    ],
)
def test_what_is_no_backend_is_refused_by_every_verb(data, call, on, message):
    with pytest.raises(ConfigError, match=message):
        call(data, on)


def test_a_backend_is_a_backend(memory):
    require_backend(BACKEND)
    require_backend(memory.MemoryBackend())


@pytest.mark.parametrize("verb", ["run", "submit", "compile", "preflight"])
def test_a_split_of_hugging_face_is_no_dataset(data, verb):
    rows = datasets.Dataset.from_list([{"dialogue": "a secret"}])
    for given in (data["train"], rows, datasets.DatasetDict(train=rows)):
        kind = type(given).__name__
        wanted = rf"^data is a Hugging Face {kind}, and a Dataset is expected: give the whole dataset, and name"
        with pytest.raises(ConfigError, match=wanted) as caught:
            getattr(TRAINER, verb)(given, on=BACKEND)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda data: TRAINER.run("data", on=BACKEND), r"data is a str, .*st\.Dataset\.open\(folder\) opens one"),
        (lambda data: TRAINER.run([{"a": 1}], on=BACKEND), r"data is a list, .*st\.Dataset\.load\(source, task="),
        (lambda data: TRAINER.run(st.Dataset, on=BACKEND), r"data is the class Dataset, and a Dataset is expected"),
        (
            lambda data: EVALUATOR.run(data, data, on=BACKEND),
            r"model is a Dataset, and a Model is expected: look at",
        ),
        (lambda data: EVALUATOR.compile(data, data, on=BACKEND), r"model is a Dataset, and a Model is expected"),
        (lambda data: EVALUATOR.preflight("m", data, on=BACKEND), r"model is a str.*st\.Trainer\(spec=\.\.\.\)\.run"),
        (lambda data: DEPLOYER.run(data, on=BACKEND), r"model is a Dataset, and a Model is expected"),
        (lambda data: DEPLOYER.submit("soap", on=BACKEND), r"model is a str, and a Model is expected"),
        (lambda data: DEPLOYER.preflight("soap", on=BACKEND), r"model is a str, and a Model is expected"),
    ],
)
def test_a_wrong_input_is_answered_with_how_to_get_the_right_one(data, call, message):
    with pytest.raises(ConfigError, match=message):
        call(data)


@pytest.mark.parametrize(
    "call",
    [
        lambda data, given: TRAINER.plan(data, given=given),
        lambda data, given: GENERATOR.plan(given=given),
        lambda data, given: EVALUATOR.plan(None, data, given=given),
        lambda data, given: DEPLOYER.plan(None, given=given),
    ],
)
def test_a_plan_is_made_for_what_a_backend_can_do_and_not_for_the_backend(data, call):
    with pytest.raises(ConfigError, match=r"^given= is a LocalBackend, .*: write given=backend\.capabilities$"):
        call(data, BACKEND)


def test_a_plan_of_a_wrong_input_is_answered_as_a_run_is(data):
    able = BACKEND.capabilities
    with pytest.raises(ConfigError, match=r"^data is a str, and a Dataset is expected"):
        TRAINER.plan("data", given=able)
    with pytest.raises(ConfigError, match=r"^model is a Dataset, and a Model is expected"):
        EVALUATOR.plan(data, data, given=able)
    with pytest.raises(ConfigError, match=r"^model is a Dataset, and a Model is expected"):
        DEPLOYER.plan(data, given=able)


@pytest.mark.parametrize("backend", ["runs", st.LocalBackend])
def test_a_copy_goes_to_a_backend(data, backend):
    with pytest.raises(ConfigError, match=r"^a copy goes to a backend, and this is (a str|the class LocalBackend)"):
        data.copy_to(backend)


def test_what_is_no_job_is_not_submitted(tmp_path):
    with pytest.raises(ConfigError, match=r"^spec is a dict, and a JobSpec is expected"):
        st.LocalBackend(tmp_path).submit({"name": "a"})


def test_a_job_is_not_yet_its_result(memory):
    job = memory.MemoryJob(JobSpec(name="train", entrypoint=("python",)))
    with pytest.raises(ConfigError, match=r"job\.result\(\) gives it when the job has ended"):
        require_handle(job, st.Model, "model")


def test_a_report_may_be_left_out_and_nothing_else_stands_for_it(data):
    require_handle(None, st.EvalReport, "report", optional=True)
    with pytest.raises(ConfigError, match="report is a Dataset, and an EvalReport is expected: look at the order"):
        require_handle(data, st.EvalReport, "report", optional=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.Trainer(SPEC), r"^Trainer takes its values by name: Trainer\(spec=\.\.\.\)$"),
        (lambda: st.Trainer(spec=TRAINER), "TrainSpec"),
        (lambda: st.DataGenerator(task=st.Task), r"task: this is the class Task; a task is made by Task\(name="),
        (
            lambda: st.DataGenerator(task=st.tasks.SOAP.output),
            r"SOAPNote is the class of an answer; a task is Task",
        ),
        (lambda: st.DataGenerator(task="soap"), r"a Task is expected, such as st\.tasks\.SOAP .* this is a str"),
        (lambda: st.Deployer(name="a", task=st.Task), "this is the class Task"),
    ],
)
def test_a_step_of_a_wrong_kind_of_part_is_our_error(call, message):
    with pytest.raises(SoaptuneError, match=message):
        call()


@pytest.mark.parametrize("option", [{"threads": 0}, {"threads": -2}, {"grace": -1.0}])
def test_a_backend_of_this_machine_refuses_numbers_that_mean_nothing(option):
    with pytest.raises(ConfigError, match=f"^LocalBackend: {next(iter(option))} is "):
        st.LocalBackend("runs", **option)


@pytest.mark.parametrize(
    "make",
    [
        lambda name: TRAINER.replace(name=name),
        lambda name: EVALUATOR.replace(name=name),
        lambda name: DEPLOYER.replace(name=name),
        lambda name: GENERATOR.replace(name=name),
        lambda name: JobSpec(name=name, entrypoint=("true",)),
    ],
)
@pytest.mark.parametrize("name", ["my notes", "1st", "", "a" * 62])
def test_a_name_that_no_job_can_have_is_refused_where_it_is_given(make, name):
    with pytest.raises(ConfigError, match=r"name: a job's name begins with a letter and has letters, digits, - and _"):
        make(name)
    assert make("a" * 61).name == "a" * 61
