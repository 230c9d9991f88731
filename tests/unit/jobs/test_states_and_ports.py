"""States on disk, ports, and what is known of processes: the floor on which the supervisor stands."""

import os
import subprocess
import sys

import pytest

from soaptune.local.ports import reserve_port
from soaptune.local.processes import is_alive, start_time
from soaptune.local.states import claim, read_state, write_state
from soaptune.local.supervisor import command


def test_a_state_keeps_its_history_and_what_was_said_before(tmp_path):
    write_state(tmp_path, "pending")
    write_state(tmp_path, "pending", supervisor=3)
    write_state(tmp_path, "running")
    last = write_state(tmp_path, "failed", reason="exit status 1", exit_code=1)
    assert last == read_state(tmp_path)
    assert (last["supervisor"], last["exit_code"]) == (3, 1)
    assert [line["state"] for line in last["history"]] == ["pending", "running", "failed"]
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_job_without_a_state_has_an_empty_one(tmp_path):
    assert read_state(tmp_path) == {}


@pytest.mark.parametrize(
    "text", ["", '{"state": "run', "[]", "null", "{}", '{"state": "x"}', '{"state": []}', "[" * 5_000, "\x80"]
)
def test_a_damaged_state_is_known_as_one_and_can_be_written_again(tmp_path, text):
    (tmp_path / "state.json").write_bytes(text.encode("latin-1"))
    assert read_state(tmp_path) == {"state": "pending", "damaged": True}
    write_state(tmp_path, "done")
    assert read_state(tmp_path)["state"] == "done"


def test_a_job_can_be_claimed_once(tmp_path):
    assert claim(tmp_path)
    assert not claim(tmp_path)


def test_ports_that_are_held_are_not_given_again():
    held = [reserve_port() for _ in range(50)]
    try:
        assert len({port for port, _ in held}) == 50
    finally:
        for _, reservation in held:
            reservation.close()


def test_a_process_is_known_by_its_start_as_well_as_its_number():
    me = os.getpid()
    assert is_alive(me, start_time(me))
    assert not is_alive(me, start_time(me) + "0")
    assert not is_alive(me, "")


def test_a_process_that_ended_is_not_alive_even_before_anyone_has_taken_leave_of_it():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = start_time(process.pid)
        assert is_alive(process.pid, started)
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(process.pid, started)


def test_the_supervisor_starts_whatever_the_jobs_variables_do_to_python(tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit('not the real one')")
    stage = tmp_path / "s"
    (stage / "app").mkdir(parents=True)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/none", "PYTHONWARNINGS": "error"}
    write_state(stage, "pending")
    arguments = [*command(), str(stage), "0", "0.1", "command", "--", "true"]
    asked = subprocess.run(arguments, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")
    assert read_state(stage)["state"] == "done"


def test_the_supervisor_loads_the_standard_library_alone():
    code = (
        "import sys, soaptune.local.supervisor\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'pydantic', 'yaml', 'rich', 'typing_extensions'}))"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert asked.stdout.strip() == "[]"
