"""Whoever is killed, alone or with one other, and whenever: the job ends, its status is true, and it can be run again.

The job is a stand-in that starts processes as training does (runner, launcher, rank); backend, supervisor and guard
are the real ones. `tests/e2e/test_killed_training.py` does the same to real training.
"""

import itertools
import json
import os
import sys
import time

import pyarrow as pa
import pytest

from soaptune.handles.dataset import Dataset
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
from soaptune.tasks.spec import TaskSpec
from tests.contract.killing import PATIENCE, VICTIMS, Nursery, expect_the_end, kill, watchers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

# Like ArcticTraining's program: it does not ask how its launcher has ended.
RUNNER = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-S", "-E", "launcher.py", str(os.getpid())]).wait()
"""
LAUNCHER = """
import os, subprocess, sys
code = subprocess.Popen([sys.executable, "-S", "-E", "rank.py", sys.argv[1], str(os.getpid())]).wait()
sys.exit(1 if code else 0)
"""
RANK = """
import json, os, sys, time

def reach(moment):
    pids = {"runner": int(sys.argv[1]), "launcher": int(sys.argv[2]), "rank": os.getpid()}
    with open("pids", "w") as file:
        json.dump(pids, file)
    os.rename("pids", "reached-" + moment)
    if os.environ.get("HOLD") == moment:
        time.sleep(300)

def copy(name):
    with open("../inputs/made/" + name, "rb") as source, open("../output/" + name, "wb") as target:
        target.write(source.read())

reach("start")
with open("../output/progress.jsonl", "w") as file:
    file.write('{"done": 1, "total": 2}\\n')
reach("train")
names = sorted(os.listdir("../inputs/made"), key=lambda name: name == "manifest.json")
for name in names[:-1]:
    copy(name)
with open("../output/manifest.json.new", "w") as file:
    file.write('{"kind": ')
reach("end")
copy(names[-1])
"""


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    task = TaskSpec(
        name="t",
        system_prompt="s",
        user_template="{text}",
        output_schema={"type": "object", "properties": {"x": {"type": "string"}}},
        output_fields=("x",),
        input_fields=("text",),
    )
    table = pa.table({"id": ["1"], "text": ["a"], "x": ["b"]})
    return Dataset.write(tmp_path_factory.mktemp("made") / "data", {"train": table}, task=task, how={})


@pytest.fixture
def spec(made):
    files = {"runner.py": RUNNER, "launcher.py": LAUNCHER, "rank.py": RANK}
    command = ("python", "-S", "-E", "runner.py")
    return JobSpec(name="job", kind="data", files=files, entrypoint=command, inputs={"made": str(made.path)})


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still waiting until {what}"
        time.sleep(0.005)


def run_again(root, spec, made):
    """The same step under the same key, in the same place."""
    backend = LocalBackend(root)
    job = backend.submit(spec, key="k", retry=True)
    job.wait(PATIENCE)
    assert job.result().fingerprint == made.fingerprint
    assert backend.jobs()[0].status == "done"
    assert len(backend.jobs()) == 2


def killed(nursery, root, spec, moment, victims):
    submitted = nursery.submit(spec, root, "k", HOLD=moment)
    stage = root / "jobs" / submitted["job"]
    reached = stage / "app" / f"reached-{moment}"
    until(reached.exists, f"the rank has reached {moment}")
    until(lambda: json.loads((stage / "state.json").read_text())["state"] == "running", "it is running")
    pids = {"submitter": submitted["pid"], **watchers(stage), **json.loads(reached.read_text())}
    kill({name: pids[name] for name in victims})
    seen = expect_the_end(nursery, root, "k", victims, stage)
    if "submitter" not in victims:
        os.kill(submitted["pid"], 9)
    return seen


# A guard alone is replaced, and its job goes on: see tests/contract/test_local_backend.py.
ENDING = [victims for victims in VICTIMS if victims != ("guard",)]
FAST = [("start", ("submitter", "supervisor")), ("end", ("supervisor",)), ("end", ("launcher",)), ("end", ("rank",))]


@pytest.mark.parametrize("victims", ENDING, ids="+".join)
def test_a_kill_in_the_middle_of_a_job(nursery, tmp_path, spec, made, victims):
    killed(nursery, tmp_path, spec, "train", victims)
    run_again(tmp_path, spec, made)


@pytest.mark.parametrize(("moment", "victims"), FAST, ids=str)
def test_a_kill_at_the_start_or_the_end_of_a_job(nursery, tmp_path, spec, made, moment, victims):
    killed(nursery, tmp_path, spec, moment, victims)
    run_again(tmp_path, spec, made)


@pytest.mark.soak
@pytest.mark.parametrize(("moment", "victims"), list(itertools.product(("start", "end"), ENDING)), ids=str)
def test_every_kill_at_the_start_and_at_the_end_of_a_job(nursery, tmp_path, spec, made, moment, victims):
    killed(nursery, tmp_path, spec, moment, victims)
    run_again(tmp_path, spec, made)


def test_a_supervisor_that_is_killed_with_its_submitter_before_it_has_begun(nursery, tmp_path, spec, made):
    nursery.submit(spec, tmp_path, "k", die=True)
    until(lambda: list(tmp_path.glob("jobs/job-*/job.json")), "the job is there")
    (record,) = tmp_path.glob("jobs/job-*/job.json")
    expect_the_end(nursery, tmp_path, "k", ("submitter", "supervisor"), record.parent)
    job = LocalBackend(tmp_path).submit(spec, key="k", retry=True)
    job.wait(PATIENCE)
    assert job.result().fingerprint == made.fingerprint
