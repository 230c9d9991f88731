"""The program in the job, run for real on a folder that stands for the mounted stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from soaptune.jobs.spec import JobSpec
from soaptune.runtime.snowflake import start as on_snowflake
from soaptune.snowflake.jobs.payload import STARTER, write_payload


def _start(stage: Path, script: str, *, entrypoint: tuple[str, ...] = ("python", "main.py"), **env: str) -> Any:
    spec = JobSpec(name="job", entrypoint=entrypoint, files={"main.py": script})
    (stage / "app").mkdir(parents=True)
    write_payload(spec, stage / "app")
    (stage / "job.json").write_text(json.dumps({"spec": spec.model_dump(mode="json")}), encoding="utf-8")
    variables = {"MLRS_STAGE_MOUNT_PATH": str(stage), "SNOWFLAKE_JOBS_COUNT": "1", "SOAPTUNE_MIRROR_SECONDS": "0.1"}
    return subprocess.Popen(
        [sys.executable, STARTER],
        cwd=stage / "app",
        env={**os.environ, **variables, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _note(stage: Path, name: str) -> dict[str, Any]:
    return json.loads((stage / f"state/{name}.json").read_text(encoding="utf-8"))


def test_the_command_finds_the_shape_of_a_job_and_its_output_ends_on_the_stage(tmp_path: Path) -> None:
    (tmp_path / "inputs/data").mkdir(parents=True)
    (tmp_path / "inputs/data/rows.txt").write_text("42")
    script = (
        "import pathlib\n"
        "text = pathlib.Path('../inputs/data/rows.txt').read_text()\n"
        "folder = pathlib.Path('../output/model'); folder.mkdir()\n"
        "(folder / 'tmp').write_text(text); (folder / 'tmp').rename(folder / 'weights')\n"
        "open('../output/manifest.json', 'a').write('{}')\n"
        "print('read', text)\n"
    )

    process = _start(tmp_path, script)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 0, output
    assert "read 42" in output
    assert (tmp_path / "log.txt").read_text() == "read 42\n"
    assert (tmp_path / "output/model/weights").read_text() == "42"
    assert not (tmp_path / "output/model/tmp").exists()
    assert _note(tmp_path, "ended") | {"time": ""} == {"time": "", "state": "done", "reason": "", "exit_code": 0}
    assert _note(tmp_path, "started")["state"] == "running"


def test_records_reach_the_stage_while_the_command_runs(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "file = open('../output/progress.jsonl', 'a')\n"
        "file.write('{\"done\": 1}\\n'); file.flush()\n"
        "time.sleep(30)\n"
    )
    process = _start(tmp_path, script)
    try:
        deadline = time.monotonic() + 20
        mirrored = tmp_path / "output/progress.jsonl"
        while not (mirrored.is_file() and mirrored.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

    assert _note(tmp_path, "ended")["state"] == "cancelled"


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("raise SystemExit(3)", 3, "exit status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by signal 9 (SIGKILL)"),
    ],
)
def test_a_command_that_fails_says_how(script: str, status: int, reason: str, tmp_path: Path) -> None:
    process = _start(tmp_path, script)
    process.communicate(timeout=60)

    assert process.returncode == status
    assert _note(tmp_path, "ended")["state"] == "failed"
    assert _note(tmp_path, "ended")["reason"] == reason


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    process = _start(tmp_path, "", entrypoint=("no-such-program",))
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 127
    assert "could not be started" in output
    assert "no-such-program" in _note(tmp_path, "ended")["reason"]


def test_several_nodes_work_on_the_stage_that_they_share(tmp_path: Path) -> None:
    process = _start(tmp_path, "import os; print(os.getcwd())", SNOWFLAKE_JOBS_COUNT="2")
    output, _ = process.communicate(timeout=60)

    assert str(tmp_path / "app") in output


def test_the_workplace_is_gone_afterwards(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    process = _start(tmp_path / "stage", "open('../output/x', 'w').write('y')", TMPDIR=str(scratch))
    process.communicate(timeout=60)

    assert list(scratch.iterdir()) == []


def test_options_of_the_command_are_not_taken_for_the_launchers(tmp_path: Path) -> None:
    process = _start(
        tmp_path,
        "import sys; print(sys.argv[1:])",
        entrypoint=("python", "main.py", "-h", "--function_args", "x", "--"),
    )
    output, _ = process.communicate(timeout=60)

    assert "['-h', '--function_args', 'x', '--']" in output


def test_a_file_that_the_stage_does_not_take_at_once_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    real = on_snowflake._copy

    def flaky(source: Path, target: Path) -> None:
        tries.append(source.name)
        if len(tries) < 3:
            raise OSError("the stage is out of reach")
        real(source, target)

    monkeypatch.setattr(on_snowflake, "_copy", flaky)
    monkeypatch.setattr(on_snowflake, "_AGAIN", (0.0, 0.0, 0.0))
    (tmp_path / "output").mkdir()
    (tmp_path / "output/weights").write_text("w")

    mirror = on_snowflake._Mirror(tmp_path / "output", tmp_path / "stage")
    mirror.start()
    mirror.finish(whole=True)

    assert (tmp_path / "stage/weights").read_text() == "w"


def test_an_output_that_cannot_be_copied_is_told_as_that_and_keeps_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = on_snowflake._copy

    def closed(source: Path, target: Path) -> None:
        if source.name == "weights":
            raise OSError("the stage is out of reach")
        real(source, target)

    monkeypatch.setattr(on_snowflake, "_copy", closed)
    monkeypatch.setattr(on_snowflake, "_AGAIN", ())
    monkeypatch.setattr(on_snowflake, "_pass_on_signals", lambda _: [])
    work, stage = tmp_path / "work", tmp_path / "stage"
    for folder in (work / "app", work / "output", stage):
        folder.mkdir(parents=True)
    (work / "output/weights").write_text("w")

    code = on_snowflake._run(["python", "-c", "print('trained')"], stage, work, {})

    assert code == 1
    assert "could not be copied" in _note(stage, "ended")["reason"]
    assert (stage / "log.txt").read_text() == "trained\n"
