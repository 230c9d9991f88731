"""A local backend in trouble: damaged files, folders that cannot be written, strange paths and specs."""

import asyncio
import json
import os
import shutil
import sys
import textwrap
import time

import pytest

from soaptune.errors import BackendError, JobFailed, JobNotFound
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.local.states import read_state, write_state
from soaptune.tasks.spec import TaskSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="knows a job's processes through /proc")

PATIENCE = 60.0
SLEEP = "import time; print('ready', flush=True); time.sleep(300)"


@pytest.fixture
def backend(tmp_path):
    made = LocalBackend(tmp_path / "runs", grace=0.5)
    yield made
    for job in made.jobs():
        job.cancel()


def python(code, **more):
    return JobSpec(**{"name": "job", "entrypoint": ("python", "-c", textwrap.dedent(code)), **more})


def until_ready(job):
    end = time.monotonic() + PATIENCE
    while "ready" not in job.logs():
        assert time.monotonic() < end, "the job is not ready"
        time.sleep(0.02)


def test_a_path_with_blanks_and_other_alphabets_is_like_any_other(tmp_path):
    folder = tmp_path / "my dätä 漢字"
    (folder / "in put").mkdir(parents=True)
    (folder / "in put" / "x").write_text("7")
    (folder / "mine").mkdir()
    (folder / "mine" / "of_mine.py").write_text("value = 35")
    code = """
        import os, pathlib, of_mine
        print(of_mine.value + int(pathlib.Path("../inputs/data/x").read_text()), pathlib.Path("ü/ß.txt").read_text())
    """
    backend = LocalBackend(folder / "runs")
    inputs = {"data": str(folder / "in put")}
    job = backend.submit(python(code, files={"ü/ß.txt": "🌿"}, inputs=inputs, code_paths=(str(folder / "mine"),)))
    job.wait(PATIENCE)
    assert list(job.logs()) == ["42 🌿"]
    assert backend.job(job.id).url.startswith("file:///")


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("place", ["file", "/proc/soaptune"])
def test_a_root_that_cannot_be_written_is_said_clearly(tmp_path, place, key):
    (tmp_path / "file").touch()
    root = tmp_path / place / "runs"
    backend = LocalBackend(root)
    assert backend.jobs() == []
    with pytest.raises(BackendError, match=str(root)):
        backend.submit(python("pass"), key=key)


def test_a_root_below_a_file_is_found_before_anything_is_sent(tmp_path):
    (tmp_path / "file").touch()
    (finding,) = LocalBackend(tmp_path / "file" / "runs").preflight(python("pass"))
    assert (finding.code, finding.level) == ("root-not-writable", "error")


def test_a_submission_that_fails_leaves_nothing_and_can_be_tried_again(backend):
    # A file and a folder of one name: found only when they are written.
    spec = python("pass", files={"a": "x", "a/b": "y"})
    for _ in range(2):
        with pytest.raises(BackendError, match="cannot be started"):
            backend.submit(spec, key="k")
    assert backend.jobs() == []
    assert list((backend.root / "jobs").iterdir()) == []


def test_a_damaged_state_of_a_running_job_mends_itself_at_its_end(backend):
    job = backend.submit(python("import time; print('ready', flush=True); time.sleep(1)"))
    until_ready(job)
    for text in ('{"state": "run', "", "[1]"):
        (job.stage / "state.json").write_text(text)
        for seen in (job, backend.job(job.id)):
            assert seen.status in ("pending", "running", "done")
            assert isinstance(seen.events(), list)
            assert repr(seen)
    job.wait(PATIENCE)
    assert backend.job(job.id).status == "done"


def test_a_damaged_state_of_which_nobody_knows_ends_as_failed(backend):
    job = backend.submit(python("pass"))
    job.wait(PATIENCE)
    file = job.stage / "state.json"
    file.write_text('{"state": "do')
    os.utime(file, (0, 0))
    again = LocalBackend(backend.root).job(job.id)
    assert again.status == "failed"
    with pytest.raises(JobFailed, match=r"state\.json was damaged"):
        again.wait()


def test_a_job_with_a_damaged_state_can_be_cancelled(backend):
    job = backend.submit(python(SLEEP))
    until_ready(job)
    (job.stage / "state.json").write_text("{")
    backend.job(job.id).cancel()
    assert job.status == "cancelled"


def test_a_damaged_record_is_an_error_for_its_job_alone(backend):
    one, two = backend.submit(python("pass")), backend.submit(python("pass"))
    (two.stage / "job.json").write_text('{"name"')
    assert [job.id for job in backend.jobs()] == [one.id]
    with pytest.raises(BackendError, match="cannot be read"):
        backend.job(two.id)


def test_a_submission_in_progress_is_no_job_yet_and_then_a_pending_one(backend):
    job = backend.submit(python("pass"))
    job.wait(PATIENCE)
    stage = backend.root / "jobs" / "job-half"
    (stage / "output").mkdir(parents=True)
    assert [found.id for found in backend.jobs()] == [job.id]
    (stage / "log.txt").touch()
    write_state(stage, "pending")
    shutil.copy(job.stage / "job.json", stage)
    found = backend.job("job-half")
    assert found.status == "pending"
    os.utime(stage / "state.json", (0, 0))
    assert found.status == "failed"
    assert "never started" in found.reason


def test_a_job_whose_folder_was_removed_says_so_everywhere(backend):
    job = backend.submit(python("pass"))
    job.wait(PATIENCE)
    shutil.rmtree(job.stage)
    for look in (lambda: job.status, lambda: job.events(), lambda: list(job.logs()), lambda: job.failure()):
        with pytest.raises(JobNotFound, match="removed"):
            look()


def test_a_temporary_folder_that_the_spec_names_is_not_removed(backend, tmp_path):
    (tmp_path / "shared").mkdir()
    job = backend.submit(
        python("import tempfile; print(tempfile.gettempdir())", env={"TMPDIR": str(tmp_path / "shared")})
    )
    job.wait(PATIENCE)
    assert list(job.logs()) == [str(tmp_path / "shared")]
    assert (tmp_path / "shared").is_dir()
    assert not (job.stage / "tmp").exists()


def test_a_long_root_gets_a_short_temporary_folder_that_goes_away(tmp_path):
    backend = LocalBackend(tmp_path / ("x" * 60))
    job = backend.submit(python("import tempfile; print(tempfile.gettempdir())"))
    job.wait(PATIENCE)
    (temporary,) = job.logs()
    assert len(temporary) < 60
    assert not os.path.lexists(temporary)


def test_a_result_is_not_given_before_the_end_and_waiting_leaves_the_loop_free(backend):
    job = backend.submit(python("import time; time.sleep(0.5)"))
    with pytest.raises(BackendError, match=r"wait\(\) for it first"):
        job.result()

    async def both():
        await asyncio.gather(job.wait_async(PATIENCE), asyncio.sleep(0))

    asyncio.run(both())
    with pytest.raises(BackendError, match="leaves no handle"):
        job.result()


def test_an_endpoint_is_had_while_its_job_runs_and_stops_with_it(backend):
    task = TaskSpec(
        name="t",
        system_prompt="s",
        user_template="{text}",
        output_schema={"type": "object", "properties": {"x": {"type": "string"}}},
        output_fields=("x",),
        input_fields=("text",),
    )
    manifest = {
        "kind": "endpoint",
        "url": "http://127.0.0.1:1",
        "name": "notes",
        "task": task.model_dump(mode="json"),
        "model_fingerprint": "sha256:0",
        "synthetic": True,
        "pid": 1,
    }
    code = f"""
        import os, pathlib, time
        time.sleep(0.3)
        pathlib.Path("../output/new").write_text({json.dumps(manifest)!r})
        os.replace("../output/new", "../output/manifest.json")
        time.sleep(300)
    """
    job = backend.submit(python(code, kind="endpoint"))
    endpoint = job.result()
    assert (endpoint.url, endpoint.model_name) == ("http://127.0.0.1:1", "notes")
    assert job.status == "running"
    assert backend.job(job.id).result().url == endpoint.url
    endpoint.stop()
    assert read_state(job.stage)["state"] == "cancelled"


def test_an_endpoint_that_ends_before_it_answers_has_failed(backend):
    with pytest.raises(JobFailed, match=r"no manifest\.json"):
        backend.submit(python("pass", kind="endpoint")).result()
