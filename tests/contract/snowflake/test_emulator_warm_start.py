"""A launcher that is a fork is what a fresh one would be, and where it would not be, it is a fresh one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from soaptune.testing.snowflake import emulated_snowflake
from soaptune.testing.snowflake.warmstart import POSSIBLE

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="forks on Linux alone")

Send = Callable[..., Any]

LOOK = """
import json, os, sys, threading
own = ("TOKEN", "TOKEN_FILE", "OLDPWD", "_", "HOME", "TMPDIR", "PATH", "PORT", "SERVICE_NAME", "MLRS_STAGE_RESULT_PATH")
print(json.dumps({
    "modules": sorted(sys.modules),
    "argv": sys.argv,
    "original": sys.orig_argv[1:],
    "path": sys.path,
    "env": {key: value for key, value in sorted(os.environ.items()) if not key.endswith(own)},
    "folder": os.getcwd(),
    "flags": list(map(repr, sys.flags)),
    "streams": [(f.encoding, f.errors, f.line_buffering, f.write_through, f.fileno(), type(f.buffer).__name__)
                for f in (sys.stdin, sys.stdout, sys.stderr)],
    "main": sorted(vars(sys.modules["__main__"])),
    "file": __file__,
    "hook": repr(sys.excepthook).split(" at ")[0],
    "threads": [thread.name for thread in threading.enumerate()],
    "stdin": sys.stdin.read(),
    "handlers": [repr(__import__("signal").getsignal(n)) for n in (2, 13, 15, 17)],
    "open": len(os.listdir("/proc/self/fd")),
}))
"""


@pytest.fixture(scope="module")
def sends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Send]]:
    """What sends a script as a job: to an account that forks, and to one that does not."""
    from snowflake.ml import jobs
    from snowflake.snowpark import Session

    with emulated_snowflake() as forks, emulated_snowflake(fresh_processes=True) as starts:
        made = {}
        sessions = []
        for name, account in (("fork", forks), ("fresh", starts)):
            session = Session.builder.configs(account.connection_parameters).create()
            sessions.append(session)

            def send(script: str, *, files: dict[str, str] | None = None, session: Any = session, **more: Any) -> Any:
                folder = tmp_path_factory.mktemp("payload")
                for file, text in {"main.py": script, **(files or {})}.items():
                    (folder / file).write_text(text, encoding="utf-8")
                job = jobs.submit_directory(
                    str(folder), "GPU_POOL", entrypoint="main.py", stage_name="PAYLOADS", session=session, **more
                )
                job.wait()
                return job

            made[name] = send
        yield made
        for session in sessions:
            session.close()


def test_it_sees_what_a_fresh_process_sees(sends: dict[str, Send]) -> None:
    options = {"args": ["--n", "3"], "env_vars": {"COLOUR": "green"}}
    text = {name: send(LOOK, **options).get_logs() for name, send in sends.items()}

    seen = {name: json.loads(log) for name, log in text.items()}
    assert seen["fork"].pop("open") <= seen["fresh"].pop("open"), "it holds nothing open of those that forked it"
    # What the forking program itself needs of the standard library may be there too.
    extra = set(seen["fork"].pop("modules")) - set(modules := seen["fresh"].pop("modules"))
    assert {name for name in extra if not _standard(name)} == set()
    assert "snowflake.snowpark" in modules
    env = {name: seen[name].pop("env") for name in sends}
    assert env["fork"] == env["fresh"]
    assert seen["fork"] == seen["fresh"]


def _standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize(
    "script",
    [
        "def f():\n    raise KeyError('no such row')\nf()",
        "import sys; sys.exit('it cannot go on')",
        "import sys; sys.exit(3)",
        "import os; os.kill(os.getpid(), 9)",
        "import threading\nthreading.Timer(0.2, lambda: print('late')).start()",
        "import atexit; atexit.register(print, 'the end')",
    ],
    ids=["error", "text", "status", "killed", "thread", "atexit"],
)
def test_it_ends_as_a_fresh_process_does(sends: dict[str, Send], script: str) -> None:
    ends = {}
    for name, send in sends.items():
        job = send(script)
        # Without times, session ids and process ids.
        log = re.sub(r"\d{4}-\d\d-\d\d [\d:,]+|\d+ (?=Killed)|\d{10,}", "", job.get_logs(verbose=True))
        ends[name] = (job.status, log.splitlines())
    assert ends["fork"] == ends["fresh"]


def test_a_module_of_the_payload_stands_in_front_of_an_installed_one(sends: dict[str, Send]) -> None:
    module = "STANDS = 'in front'"
    job = sends["fork"]("import pydoc; print(pydoc.STANDS)", files={"pydoc.py": module})
    assert job.get_logs() == "in front"


def test_a_variable_that_a_library_reads_when_it_is_imported_counts(sends: dict[str, Send]) -> None:
    script = "import pandas; print(pandas.options.future.infer_string)"
    for value, expected in (("0", "False"), ("1", "True")):
        job = sends["fork"](script, env_vars={"PANDAS_FUTURE_INFER_STRING": value})
        assert job.get_logs() == expected


def test_no_two_jobs_draw_the_same_numbers(sends: dict[str, Send]) -> None:
    script = "import random, numpy; print(random.random(), numpy.random.random())"
    drawn = [number for _ in range(2) for number in sends["fork"](script).get_logs().split()]
    assert len(set(drawn)) == 4


def test_a_job_starts_without_importing_the_sdk_again(sends: dict[str, Send]) -> None:
    script = "import os; print(sum(os.times()[:2]))"
    sends["fork"](script)
    seconds = {name: float(send(script).get_logs()) for name, send in sends.items()}
    assert seconds["fork"] < seconds["fresh"] / 3
