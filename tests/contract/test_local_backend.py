"""Jobs as real processes: whatever is killed, and whenever, nothing is lost, runs twice or is left running."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from soaptune.errors import BackendError, ConfigError, JobCancelled, JobFailed, JobNotFound, JobTimeout
from soaptune.handles.dataset import Dataset
from soaptune.jobs.job import ENDED
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.local.processes import end_job, is_alive, machine
from soaptune.local.states import write_state
from soaptune.tasks.spec import TaskSpec
from tests.contract.keeping import keeping

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

PATIENCE = 60.0
# A family: a child in the group, a grandchild in a session of its own that ignores SIGTERM, and the job itself.
FAMILY = """
import os, signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
print("ready", flush=True)
"""


@pytest.fixture
def backend(tmp_path):
    made = LocalBackend(tmp_path / "runs", grace=0.5)
    yield made
    for job in made.jobs():
        job.cancel()


def python(code, **more):
    return JobSpec(**{"name": "job", "entrypoint": ("python", "-c", textwrap.dedent(code)), **more})


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"still waiting until {what}"
        time.sleep(0.02)
    return value


def until_logged(job, *lines):
    until(lambda: set(lines) <= set(job.logs()), f"the log has {lines}")


def processes_of(job_id):
    """Who carries the job's mark; read here from /proc, not with the code under test."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"SOAPTUNE_JOB={job_id}".encode() in (entry / "environ").read_bytes().split(b"\0")
            if marked and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def state_of(job):
    return json.loads((job.stage / "state.json").read_text())


def script(tmp_path, body):
    """Another process that submits jobs to the same root."""
    head = f"""
    import signal, sys, time
    # A shell starts what runs in its background deaf to Ctrl-C, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from soaptune.local.backend import LocalBackend
    from soaptune.jobs.spec import JobSpec
    from soaptune.jobs.plan import Plan
    from soaptune.jobs.step import Step
    backend = LocalBackend({str(tmp_path / "runs")!r}, grace=0.5)
    def python(code, **more):
        return JobSpec(name="job", entrypoint=("python", "-c", code), **more)
    FAMILY = {FAMILY!r}
    """
    file = tmp_path / "submitter.py"
    file.write_text(textwrap.dedent(head) + textwrap.dedent(body), encoding="utf-8")
    source = str(Path(sys.modules["soaptune"].__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", str(file)],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_inputs_given_as_a_list_lie_side_by_side(backend, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
    code = """
        import pathlib
        parts = [pathlib.Path(f"../inputs/parts/{number}/x.txt").read_text() for number in (0, 1)]
        pathlib.Path("../output/seen.txt").write_text("".join(parts))
    """
    job = backend.submit(python(code, inputs={"parts": (str(tmp_path / "b"), str(tmp_path / "a"))}))
    job.wait(PATIENCE)
    assert (job.output.path / "seen.txt").read_text() == "ba"
    assert [place.path for place in backend.job(job.id).spec.places.values()] == [str(tmp_path / n) for n in "ba"]
    (tmp_path / "a" / "x.txt").unlink()
    (tmp_path / "a").rmdir()
    assert [(v.path, v.code) for v in backend.preflight(job.spec)] == [("inputs.parts/1", "no-such-folder")]


def test_a_job_goes_from_pending_to_done_in_folders_of_its_own(backend, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.txt").write_text("7")
    code = """
        import json, os, pathlib, tempfile
        value = int(pathlib.Path("../inputs/data/x.txt").read_text()) + int(pathlib.Path("sub/n.txt").read_text())
        pathlib.Path("../output/seen.json").write_text(json.dumps({"sum": value, "tmp": tempfile.gettempdir()}))
        with open("../output/progress.jsonl", "w") as file:
            file.write('{"done": 1, "total": 2}\\n{"broken\\n[1]\\n{"done": 2, "total": 2}\\n{"done": 3')
    """
    job = backend.submit(python(code, files={"sub/n.txt": "35"}, inputs={"data": str(tmp_path / "in")}))
    job.wait(PATIENCE)
    seen = json.loads((job.output.path / "seen.json").read_text())
    assert seen["sum"] == 42
    assert not Path(seen["tmp"]).exists(), "the temporary folder is removed at the end"
    said = [event.data.get("state", event.data.get("done")) for event in job.events()]
    assert said == ["pending", "running", 1, 2, "done"]
    assert job.progress() == {"done": 2, "total": 2}
    assert job.url == (backend.root / "jobs" / job.id).as_uri()
    assert state_of(job)["exit_code"] == 0


def test_a_failing_job_raises_with_its_last_lines_and_advice(backend):
    job = backend.submit(python("print('started'); import nothing_of_this_name"))
    with pytest.raises(JobFailed, match=r"exit status 1(?s:.*)No module named 'nothing_of_this_name'") as caught:
        job.wait(PATIENCE)
    assert caught.value.log_tail[0] == "started"
    assert "code_paths" in caught.value.hint
    with pytest.raises(JobFailed):
        backend.job(job.id).result()


def test_a_job_that_is_killed_says_by_which_signal(backend):
    job = backend.submit(python("import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(JobFailed, match="SIGKILL") as caught:
        job.wait(PATIENCE)
    assert "memory" in caught.value.hint


def test_a_program_that_is_not_there_starts_nothing(backend):
    with pytest.raises(BackendError, match="'frobnicate'"):
        backend.submit(JobSpec(name="x", entrypoint=("frobnicate",)))
    assert backend.jobs() == []
    job = backend.submit(JobSpec(name="x", entrypoint=("./frobnicate",)))
    with pytest.raises(JobFailed, match="could not be started"):
        job.wait(PATIENCE)


def test_all_that_is_missing_is_told_at_once(backend, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    spec = JobSpec(
        name="x", entrypoint=("nope",), inputs={"data": "/none"}, secrets={"T": "NOT_SET"}, code_paths=("/no",)
    )
    codes = {finding.path: finding.code for finding in backend.preflight(spec) if finding.level == "error"}
    assert codes == {
        "inputs.data": "no-such-folder",
        "code_paths.0": "no-such-folder",
        "secrets.T": "secret-not-set",
        "entrypoint": "no-such-program",
    }
    with pytest.raises(BackendError, match=r"(?s)NOT_SET.*/none.*nope"):
        backend.submit(spec)
    assert not (backend.root / "jobs").exists()


def test_a_result_comes_back_in_another_process(backend, tmp_path):
    task = TaskSpec(
        name="t",
        system_prompt="s",
        user_template="{text}",
        output_schema={"type": "object", "properties": {"x": {"type": "string"}}},
        output_fields=("x",),
        input_fields=("text",),
    )
    table = pa.table({"id": ["1"], "text": ["a"], "x": ["b"]})
    Dataset.write(tmp_path / "made", {"train": table}, task=task, how={})
    code = "import shutil; shutil.copytree('../inputs/made', '../output', dirs_exist_ok=True)"
    job = backend.submit(python(code, kind="data", inputs={"made": str(tmp_path / "made")}))
    job.wait(PATIENCE)
    assert job.result().table("train").equals(table)
    again = LocalBackend(backend.root).job(f"local:{job.id}")
    assert again.spec == job.spec
    assert again.result().fingerprint == job.result().fingerprint


def test_jobs_are_listed_newest_first_and_an_unknown_id_names_near_ones(backend):
    assert backend.jobs() == []
    with pytest.raises(JobNotFound, match="none yet"):
        backend.job("x")
    one, two = backend.submit(python("pass")), backend.submit(python("pass"))
    assert [job.id for job in backend.jobs()] == [two.id, one.id]
    with pytest.raises(JobNotFound, match=one.id):
        backend.job(one.id[:-1])
    for strange in ("../jobs/" + one.id, "", "snowflake:" + one.id):
        with pytest.raises(JobNotFound):
            backend.job(strange)
    (two.stage / "job.json").write_text("{}")
    assert [job.id for job in backend.jobs()] == [one.id]
    with pytest.raises(BackendError, match="this version"):
        backend.job(two.id)


def test_a_followed_log_has_every_line_once_and_ends(backend):
    code = """
        import sys, time
        for number in range(30):
            sys.stdout.buffer.write(f"line {number} ".encode())
            sys.stdout.flush(); time.sleep(0.01)
            for byte in "grün 漢字 🌿\\n".encode():   # the reader sees characters in the middle
                sys.stdout.buffer.write(bytes([byte])); sys.stdout.flush()
        sys.stdout.buffer.write(b"  5%\\r 50%\\r100%\\r\\nnot utf-8: \\xff\\nno end of line")
    """
    job = backend.submit(python(code))
    lines = list(job.logs(follow=True))
    assert lines[:30] == [f"line {number} grün 漢字 🌿" for number in range(30)]
    assert lines[30:] == ["100%", "not utf-8: \ufffd", "no end of line"]
    assert job.status == "done"
    assert list(backend.job(job.id).logs()) == lines


def test_ten_megabytes_of_output_neither_block_nor_get_lost(backend):
    code = "import sys\nfor n in range(100_000): print(n, 'x' * 95, file=sys.stdout if n % 2 else sys.stderr)"
    job = backend.submit(python(code + "\nsys.exit(1)"))
    count = sum(1 for _ in job.logs(follow=True))
    assert count == 100_000
    assert (job.stage / "log.txt").stat().st_size > 10_000_000
    with pytest.raises(JobFailed) as caught:
        job.wait(PATIENCE)
    assert len(caught.value.log_tail) == job.TAIL


def test_cancelling_stops_grandchildren_too(backend):
    job = backend.submit(python(FAMILY + "time.sleep(300)"))
    until_logged(job, "ready", "deaf")
    assert len(processes_of(job.id)) == 3
    backend.job(job.id).cancel()
    assert job.status == "cancelled"
    assert processes_of(job.id) == []
    with pytest.raises(JobCancelled, match="was cancelled"):
        job.wait()
    job.cancel()
    assert job.status == "cancelled"


def test_a_job_can_be_cancelled_before_it_has_started(backend):
    job = backend.submit(python("import pathlib; pathlib.Path('../output/ran').touch(); import time; time.sleep(300)"))
    job.cancel()
    assert job.status == "cancelled"
    assert processes_of(job.id) == []


def test_a_job_that_needs_a_moment_to_save_gets_it(tmp_path):
    code = """
        import pathlib, signal, sys, time
        def save(*_):
            time.sleep(0.3); pathlib.Path("../output/saved").touch(); sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        print("ready", flush=True); time.sleep(300)
    """
    job = LocalBackend(tmp_path, grace=20).submit(python(code))
    until_logged(job, "ready")
    job.cancel()
    assert job.status == "cancelled"
    assert (job.output.path / "saved").exists()


def test_what_a_job_leaves_running_is_ended_with_it(backend):
    job = backend.submit(python(FAMILY + "time.sleep(0.5)"))
    job.wait(PATIENCE)
    assert job.status == "done"
    assert processes_of(job.id) == []


def test_a_killed_supervisor_is_noticed_and_its_job_ended(backend):
    job = backend.submit(python(FAMILY + "time.sleep(300)"))
    until_logged(job, "ready", "deaf")
    os.kill(state_of(job)["supervisor"], signal.SIGKILL)
    # Nobody asks about the job, and still nothing of it goes on.
    until(lambda: state_of(job)["state"] == "failed", "its end is written down")
    assert processes_of(job.id) == []
    with pytest.raises(JobFailed, match="supervisor was killed"):
        LocalBackend(backend.root).job(job.id).wait(PATIENCE)


def test_a_process_number_that_is_used_again_is_not_taken_for_the_supervisor(backend):
    job = backend.submit(python("pass"))
    job.wait(PATIENCE)
    (job.stage / "state.json").unlink()
    write_state(job.stage, "running", supervisor=os.getpid(), started="before:1", machine=machine())
    assert backend.job(job.id).status == "failed"
    os.kill(os.getpid(), 0)  # and we are still here


def on_another_machine(backend, *, lease):
    """A running job whose supervisor cannot be seen from here, with a lease that was renewed so long ago."""
    job = backend.submit(python("pass"))
    job.wait(PATIENCE)
    (job.stage / "state.json").unlink()
    elsewhere = {"machine": "another start of it", "host": "another-machine"}
    write_state(job.stage, "running", supervisor=1, started="there:1", **elsewhere)
    os.utime(job.stage / "lease", (time.time() - lease,) * 2)
    return job


def test_a_job_of_another_machine_runs_for_as_long_as_its_lease_is_renewed(backend):
    job = on_another_machine(backend, lease=0)
    assert backend.job(job.id).status == "running"


@pytest.mark.parametrize("skew", [60, -600])
def test_a_lease_that_moves_is_good_whatever_the_clocks_show(backend, skew):
    job = on_another_machine(backend, lease=skew)
    renewals = threading.Timer(0.4, lambda: os.utime(job.stage / "lease", (time.time() - skew,) * 2))
    renewals.start()
    assert backend.job(job.id).status == "running"
    renewals.join()


@pytest.mark.parametrize("lease", [60, 86_400, -600])
def test_a_job_whose_machine_is_gone_has_failed_and_can_be_cancelled(backend, lease):
    job = on_another_machine(backend, lease=lease)
    begun = time.monotonic()
    again = LocalBackend(backend.root, grace=0.5).job(job.id)
    assert again.status == "failed"
    assert time.monotonic() - begun < 5
    assert "another-machine" in again.reason
    assert [event.data["state"] for event in again.events()] == ["running", "failed"]
    assert state_of(job)["state"] == "running", "looking at it has written nothing"
    again.cancel()
    assert state_of(job)["state"] == "failed"


def test_a_paused_supervisor_is_alive_whatever_its_lease(backend):
    job = backend.submit(python("import time; print('ready', flush=True); time.sleep(300)"))
    until_logged(job, "ready")
    supervisor = state_of(job)["supervisor"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.utime(job.stage / "lease", (time.time() - 86_400,) * 2)
        assert LocalBackend(backend.root).job(job.id).status == "running"
    finally:
        os.kill(supervisor, signal.SIGCONT)


def test_a_job_dies_with_the_process_that_submitted_it(backend, tmp_path):
    submitter = script(
        tmp_path,
        """
        job = backend.submit(python(FAMILY + "time.sleep(300)"))
        print(job.id, flush=True); time.sleep(300)
        """,
    )
    with submitter:
        job = backend.job(submitter.stdout.readline().strip())
        until_logged(job, "ready", "deaf")
        submitter.kill()
    until(lambda: job.status in ENDED, "the job has ended")
    assert job.status == "cancelled"
    assert "submitted it ended" in job.reason
    assert processes_of(job.id) == []


def test_a_detached_job_outlives_its_submitter_which_leaves_without_a_word(backend, tmp_path):
    submitter = script(
        tmp_path,
        """
        job = backend.submit(python("import time; time.sleep(1.5); print('still here')", detach=True))
        while job.status == "pending": time.sleep(0.02)
        print(job.id)
        """,
    )
    out, err = submitter.communicate(timeout=PATIENCE)
    assert err == ""
    job = backend.job(out.strip())
    job.wait(PATIENCE)
    assert list(job.logs()) == ["still here"]


def test_ctrl_c_in_a_running_step_stops_the_job_and_says_so(backend, tmp_path):
    submitter = script(
        tmp_path,
        """
        class Sleeper(Step):
            def preflight(self, *, on): return []
            def plan(self, *, given):
                code = FAMILY + "time.sleep(300)"
                return Plan(name="job", kind="command", files={}, entrypoint=("python", "-c", code))
            def run(self, *, on): return self._run(on=on)
        try:
            Sleeper().run(on=backend)
        except KeyboardInterrupt:
            print("interrupted", backend.jobs()[0].status)
            raise SystemExit(130) from None
        """,
    )
    with submitter:
        job = until(backend.jobs, "the job is there")[0]
        until_logged(job, "ready", "deaf")
        submitter.send_signal(signal.SIGINT)
        assert submitter.wait(PATIENCE) == 130
        assert submitter.stdout.read() == "interrupted cancelled\n"
        assert submitter.stderr.read().endswith(": started\n")
    assert processes_of(job.id) == []


def test_ctrl_c_while_watching_a_job_ends_it_with_the_script(backend, tmp_path):
    submitter = script(
        tmp_path,
        """
        from soaptune.jobs.watch import watch
        watch(backend.submit(python("import time; print('ready', flush=True); time.sleep(300)")))
        """,
    )
    with submitter:
        job = until(backend.jobs, "the job is there")[0]
        until_logged(job, "ready")
        submitter.send_signal(signal.SIGINT)
        assert submitter.wait(PATIENCE) != 0
    until(lambda: job.status in ENDED, "the job has ended")
    assert job.status == "cancelled"
    assert processes_of(job.id) == []


def test_two_processes_with_one_key_start_one_job(backend, tmp_path):
    body = """
    spec = python("import time; time.sleep(0.5); print('once')", detach=True)
    print(backend.submit(spec, key="the same").id)
    """
    submitters = [script(tmp_path, body) for _ in range(2)]
    answers = [submitter.communicate(timeout=PATIENCE) for submitter in submitters]
    assert [err for _, err in answers] == ["", ""]
    assert answers[0][0] == answers[1][0]
    (job,) = backend.jobs()
    job.wait(PATIENCE)
    assert list(job.logs()) == ["once"]
    assert backend.submit(job.spec, key="the same").id == job.id, "also when it is over"
    with pytest.raises(BackendError, match="another one"):
        backend.submit(python("print('twice')"), key="the same")
    assert backend.submit(job.spec, key="another").id != job.id


def test_a_key_whose_job_failed_is_tried_again_on_purpose_and_the_first_try_stays(backend, tmp_path):
    spec = python(f"import pathlib; raise SystemExit(0 if pathlib.Path({str(tmp_path / 'mended')!r}).exists() else 3)")
    with pytest.raises(ConfigError, match="key="):
        backend.submit(spec, retry=True)
    first = backend.submit(spec, key="k", retry=True)
    with pytest.raises(JobFailed, match="exit status 3"):
        first.wait(PATIENCE)
    assert backend.submit(spec, key="k").id == first.id
    with pytest.raises(BackendError, match="another one"):
        backend.submit(python("pass"), key="k", retry=True)
    (tmp_path / "mended").touch()
    second = backend.submit(spec, key="k", retry=True)
    second.wait(PATIENCE)
    assert second.id != first.id
    assert backend.submit(spec, key="k", retry=True).id == second.id, "one that is done is not tried again"
    assert backend.find("k").id == second.id
    assert [job.id for job in backend.jobs()] == [second.id, first.id]
    assert backend.job(first.id).reason == "exit status 3"
    (record,) = (backend.root / "keys").glob("*.json")
    assert json.loads(record.read_text())["earlier"] == [first.id]
    second.delete()
    assert backend.find("k").id == first.id, "the key keeps what is left of its tries"
    first.delete()
    assert backend.find("k") is None


def test_a_job_that_leaves_no_manifest_has_failed(backend):
    half = "import pathlib; pathlib.Path('../output/manifest.json').write_text('{\"kind\": \"da')"
    other = "import pathlib; pathlib.Path('../output/manifest.json').write_text('{\"kind\": \"report\"}')"
    for code in ("pass", half, other):
        job = backend.submit(python(code, kind="data"))
        with pytest.raises(JobFailed, match=r"no manifest\.json"):
            job.wait(PATIENCE)
        assert state_of(job)["state"] == "failed"


def test_a_killed_guard_is_replaced(backend):
    job = backend.submit(python(FAMILY + "time.sleep(300)"))
    until_logged(job, "ready", "deaf")
    first = state_of(job)["guard"]
    os.kill(first, signal.SIGKILL)
    second = until(lambda: (pid := state_of(job)["guard"]) != first and pid, "there is another guard")
    os.kill(state_of(job)["supervisor"], signal.SIGKILL)
    until(lambda: state_of(job)["state"] == "failed", "its end is written down")
    assert processes_of(job.id) == []
    until(lambda: not Path(f"/proc/{second}").exists() or "Z" in Path(f"/proc/{second}/stat").read_text(), "it is gone")


@pytest.mark.parametrize("again", [False, True])
def test_a_stage_that_vanishes_ends_its_job(backend, again):
    job = backend.submit(python(FAMILY + "time.sleep(300)"))
    until_logged(job, "ready", "deaf")
    state = state_of(job)
    job.stage.rename(backend.root / "moved") if again else shutil.rmtree(job.stage)
    until(lambda: processes_of(job.id) == [], "nothing of it goes on")
    until(lambda: not is_alive(state["supervisor"], state["started"]), "its supervisor is gone")
    until(lambda: not is_alive(state["guard"], state["guard_started"]), "and its guard")


@pytest.mark.parametrize("moment", ["_start", "_launch"])
def test_a_submission_that_was_cut_off_goes_on_under_its_key(backend, tmp_path, moment):
    body = f"""
    import os
    LocalBackend.{moment} = lambda *_: os._exit(9)
    backend.submit(python("print('once')"), key="k")
    """
    submitter = script(tmp_path, body)
    submitter.communicate(timeout=PATIENCE)
    assert submitter.returncode == 9
    job = backend.submit(python("print('once')"), key="k")
    job.wait(PATIENCE)
    assert list(job.logs()) == ["once"]
    assert len(backend.jobs()) == 1


def test_a_second_supervisor_goes_away(backend):
    job = backend.submit(python("print('once'); import time; time.sleep(1)"))
    until_logged(job, "once")
    second = backend._launch(job.spec, job.id)
    second.wait(PATIENCE)
    assert list(job.logs()) == ["once"]
    assert [event.data["state"] for event in job.events()] == ["pending", "running", "done"]


def test_two_jobs_at_once_share_nothing(backend):
    code = """
        import json, os, pathlib, socket, time
        server = socket.create_server(("127.0.0.1", int(os.environ["SOAPTUNE_PORT"])))
        names = ("SOAPTUNE_PORT", "MASTER_PORT", "TMPDIR", "HF_DATASETS_CACHE", "TRITON_CACHE_DIR", "SOAPTUNE_STAGE")
        pathlib.Path("../output/env.json").write_text(json.dumps({name: os.environ[name] for name in names}))
        time.sleep(1)
    """
    jobs = [backend.submit(python(code)) for _ in range(2)]
    for job in jobs:
        job.wait(PATIENCE)
    one, two = (json.loads((job.output.path / "env.json").read_text()) for job in jobs)
    assert all(one[name] != two[name] for name in one)


def test_a_secret_reaches_the_job_and_no_file(backend, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter-2-hunter-2")
    code = "import os; print(len(os.environ['HF_TOKEN'])); raise SystemExit(1)"
    job = backend.submit(python(code, secrets={"HF_TOKEN": "MY_TOKEN"}))
    with pytest.raises(JobFailed) as caught:
        job.wait(PATIENCE)
    assert list(job.logs()) == ["17"]
    assert "hunter" not in repr(job) + repr(job.spec) + str(caught.value)
    for file in backend.root.rglob("*"):
        assert not file.is_file() or b"hunter" not in file.read_bytes()


def test_a_timeout_is_the_callers_and_not_the_jobs(backend):
    job = backend.submit(python("import time; time.sleep(300)"))
    with pytest.raises(JobTimeout):
        job.wait(0.1)
    assert job.status in ("pending", "running")


def test_a_job_whose_folder_was_removed_is_not_found(backend):
    import shutil

    job = backend.submit(python("pass"))
    job.wait(PATIENCE)
    shutil.rmtree(job.stage)
    with pytest.raises(JobNotFound, match="removed"):
        assert job.status


def test_ending_a_job_without_processes_is_quick():
    assert end_job("no-such-job", folder="0:0", group=0, group_started="", grace=30.0)


def test_a_kept_folder_outlives_its_jobs_and_is_found_by_name_and_key(backend):
    first = backend.submit(keeping("first", STATUS="3"))
    with pytest.raises(JobFailed, match="exit status 3"):
        first.wait(PATIENCE)
    assert list(first.logs()) == ["first", "first.txt"]
    shutil.rmtree(first.stage)
    second, other = backend.submit(keeping("second")), backend.submit(keeping("other", key="v2"))
    for job in (second, other):
        job.wait(PATIENCE)
    assert list(second.logs()) == ["first second", "second.txt"]
    assert list(other.logs()) == ["other", "other.txt"]
    folder = backend.root / "keeps" / "answers" / "v1"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(file.name for file in folder.iterdir()) == ["cache.db", "parts"]


def test_a_job_without_a_kept_folder_is_told_how_to_name_one(backend, monkeypatch):
    monkeypatch.setenv("SOAPTUNE_KEEPS", str(backend.root))  # of a job around this process
    job = backend.submit(python("from soaptune.runtime.keeps import kept_folder; kept_folder('answers')"))
    with pytest.raises(JobFailed, match="no kept folder 'answers'"):
        job.wait(PATIENCE)
