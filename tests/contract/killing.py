"""Kills the processes of a job, alone and in pairs, and looks from another process at what is left.

`Nursery` is a process that has soaptune loaded and forks: a submitter that can be killed, and processes that look at a
job without anything of the one that submitted it, cost milliseconds each.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SUPERVISED = ("submitter", "supervisor", "guard", "runner", "launcher", "rank")
"""Every process of a training job: the command line is the runner, which starts a launcher, which starts the rank."""

VICTIMS = [*((one,) for one in SUPERVISED), *itertools.combinations(SUPERVISED, 2)]

RIGHT_WITHIN = 5.0
PATIENCE = 120.0

_NURSERY = """
import json, os, signal, sys
import soaptune as st
from soaptune.jobs.spec import JobSpec
from soaptune.local.backend import LocalBackend
import soaptune.handles.dataset

def answer(**found):
    os.write(1, (json.dumps(found) + "\\n").encode())

def submit(asked):
    os.environ.update(asked["environment"])
    job = LocalBackend(asked["root"], grace=0.3).submit(JobSpec.model_validate(asked["spec"]), key=asked["key"])
    if asked["die"]:
        os.kill(job._supervisor.pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    answer(pid=os.getpid(), job=job.id)
    signal.pause()

def look(asked):
    job = LocalBackend(asked["root"]).find(asked["key"])
    try:
        opened = bool(job.result())
    except st.SoaptuneError as error:
        opened = False
    answer(job=job.id, status=job.status, reason=job.reason, opened=opened)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("{}", flush=True)
for line in sys.stdin:
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked = json.loads(line)
        globals()[asked.pop("do")](asked)
        os._exit(0)
"""


class Nursery:
    """Forks submitters and those who look."""

    def __init__(self) -> None:
        source = str(Path(sys.modules["soaptune"].__file__ or "").parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            env={**os.environ, "PYTHONPATH": source},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._answer()

    def submit(self, spec: Any, root: Path, key: str, *, die: bool = False, **environment: str) -> dict[str, Any]:
        """Submits a job from a new process; with `die` that kills the supervisor, and itself, at once."""
        given = {"spec": spec.model_dump(mode="json"), "root": str(root), "key": key, "environment": environment}
        self._ask(do="submit", die=die, **given)
        return {} if die else self._answer()

    def look(self, root: Path, key: str) -> dict[str, Any]:
        """What a new process sees of a job, and whether its result opens."""
        self._ask(do="look", root=str(root), key=key)
        return self._answer()

    def close(self) -> None:
        """Ends it, with the submitters that it has left: they hold its pipe open."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def _ask(self, **asked: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def kill(pids: dict[str, int]) -> None:
    """Kills processes at the same moment, and prints that all of them lived until then."""
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)  # nobody can react to the end of another one
    for name, pid in pids.items():
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state not in "ZX", f"the {name} was dead before it was killed"
        print(f"killing the {name}, process {pid}, alive (state {state})")
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)


def expect_the_end(
    nursery: Nursery, root: Path, key: str, victims: tuple[str, ...], stage: Path, *, within: float = RIGHT_WITHIN
) -> dict[str, Any]:
    """Waits for what must be true a few seconds after a kill, as another process sees it."""
    begun = time.monotonic()
    while (seen := nursery.look(root, key))["status"] in ("pending", "running"):
        assert time.monotonic() - begun < within, f"{seen} after {within} s"
        time.sleep(0.02)
    print(f"{seen['status']} after {time.monotonic() - begun:.2f} s: {seen['reason']}")
    # The end is seen as soon as nobody looks after the job; what is left of it may be ending at that moment.
    while left := processes_of(stage):
        assert time.monotonic() - begun < within, f"of the job there goes on after {within} s: {left}"
        time.sleep(0.02)
    assert not seen["opened"], "nothing half-written opens"
    assert seen["status"] == ("cancelled" if victims == ("submitter",) else seen["status"])
    assert seen["status"] == ("failed" if "submitter" not in victims else seen["status"])
    assert seen["status"] != "done"
    return seen


def processes_of(stage: Path) -> list[str]:
    """The living processes that carry the job's mark; read from /proc, not with the code under test."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"SOAPTUNE_JOB={stage.name}".encode() in (entry / "environ").read_bytes().split(b"\0")
            if marked and (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(f"{entry.name}: {(entry / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    return found


def watchers(stage: Path) -> dict[str, int]:
    """The supervisor and its guard."""
    state = json.loads((stage / "state.json").read_text())
    return {"supervisor": state["supervisor"], "guard": state["guard"]}
