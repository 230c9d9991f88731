"""Runs a job's command line inside a Snowflake ML Job, on the node's own disk, and mirrors what it leaves to the stage.

A stage that is mounted into a container takes whole files, written from start to end; it refuses what is appended to
and knows no renaming. Training does both. So the command works in a folder of its own with the job's usual shape
(``app/``, ``inputs/``, ``output/``); while it runs its small records (``*.jsonl``) are copied to the stage every few
seconds, and at the end everything is, the manifest last. Its log goes to the container's log line by line, and as a
whole to ``log.txt``. Standard library alone, but for a job with kept folders, which are copied from and to the stage
(`soaptune.runtime.snowflake.keeps`): it starts before anything can be missing.

    /mnt/job_stage/job.json     the job, as it was submitted
    /mnt/job_stage/state/       started.json, ended.json: what the client reads once the service is gone

Where a job has several nodes, they share nothing but the stage, and the command runs right on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Generator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

__all__ = ["main"]

_ARCHIVE = "soaptune.zip"
_MANIFEST = "manifest.json"
_GRACE = 20.0
"""Seconds that the command has to end when the job is cancelled; Snowflake gives a container 30."""

_AGAIN = (1.0, 5.0, 15.0)
"""Seconds before a file that the stage did not take is sent again: hours of work may be in it."""

_LARGEST_RECORD = 20_000_000
"""Bytes up to which a record is mirrored while it grows: each time it is sent as a whole."""


def main() -> int:
    """Runs the job.

    Returns:
        The command's exit status, 128 and the signal's number when it was killed.
    """
    os.umask(0o077)  # of all that the job starts, as on a machine that others use too
    stage = Path(os.environ.get("MLRS_STAGE_MOUNT_PATH") or "/mnt/job_stage")
    record: dict[str, Any] = json.loads((stage / "job.json").read_text(encoding="utf-8"))
    spec: dict[str, Any] = record["spec"]
    os.environ["SOAPTUNE_JOB"] = str(record.get("job", ""))
    _record(stage, "started", state="running", host=socket.gethostname())
    shared = int(os.environ.get("SNOWFLAKE_JOBS_COUNT") or 1) > 1
    work = stage if shared else Path(tempfile.mkdtemp(prefix="soaptune-"))
    try:
        if not shared:
            _prepare(stage, work)
        with contextlib.suppress(FileNotFoundError), zipfile.ZipFile(stage / "app" / _ARCHIVE) as archive:
            archive.extractall(work / "app")
        with _kept_folders(spec.get("keeps") or {}, work / "app") as variables:
            code = _run([str(part) for part in spec["entrypoint"]], stage, work, variables)
    except OSError as error:
        print(f"soaptune: the command could not be started: {error}", flush=True)
        _record(stage, "ended", state="failed", exit_code=127, reason=f"the command could not be started: {error}")
        return 127
    finally:
        if not shared:
            shutil.rmtree(work, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _prepare(stage: Path, work: Path) -> None:
    shutil.copytree(stage / "app", work / "app", ignore=shutil.ignore_patterns(_ARCHIVE))
    (work / "output").mkdir()
    (work / "tmp").mkdir()
    if (stage / "inputs").is_dir():
        (work / "inputs").symlink_to(stage / "inputs", target_is_directory=True)
    else:
        (work / "inputs").mkdir()


@contextlib.contextmanager
def _kept_folders(keeps: dict[str, str], app: Path) -> Generator[dict[str, str], None, None]:
    """The job's kept folders, fetched, and stored again whichever way the command ends.

    Yields:
        The environment variables that name them.
    """
    if not keeps:
        yield {}
        return
    from soaptune.jobs.place import KEEPS_VARIABLE, Place
    from soaptune.runtime.snowflake.keeps import KeptFolders

    # Beside the job's folder, which lies on the stage where the job has several nodes.
    with tempfile.TemporaryDirectory(prefix="soaptune-keeps-", ignore_cleanup_errors=True) as folder:
        places = Place.read(app).keeps
        if places.keys() != keeps.keys():  # the spec was changed after it had been compiled
            raise OSError(f"its place.json names the kept folders {sorted(places)}, and the job {sorted(keeps)}")
        kept = KeptFolders(places, Path(folder))
        kept.fetch()
        yield {KEEPS_VARIABLE: folder}
        for problem in kept.store():
            print(f"soaptune: {problem}", flush=True)


def _run(entrypoint: list[str], stage: Path, work: Path, variables: dict[str, str]) -> int:
    env = {**_environment(work), **variables}
    (work / "output").mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix="soaptune-log-") as log:
        process = subprocess.Popen(
            _command_line(entrypoint, env),
            cwd=work / "app",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        signals = _pass_on_signals(process)
        pump = threading.Thread(target=_pump, args=(process.stdout, Path(log.name)), daemon=True)
        pump.start()
        mirror = _Mirror(work / "output", stage / "output") if work != stage else None
        if mirror is not None:
            mirror.start()
        code = process.wait()
        pump.join(timeout=5.0)  # what the command has left running may hold the log open; it ends with the container
        end = _end(code, signals)
        try:
            if mirror is not None:
                mirror.finish(whole=not signals)
        except OSError as error:
            if code == 0:
                code, end = 1, {"state": "failed", "reason": f"its output could not be copied to the stage: {error}"}
                print(f"soaptune: {end['reason']}", flush=True)
        with contextlib.suppress(OSError):
            _copy(Path(log.name), stage / "log.txt")
    _record(stage, "ended", exit_code=code, **end)
    return code


def _end(code: int, signals: list[int]) -> dict[str, str]:
    if code == 0:
        return {"state": "done", "reason": ""}
    if signals:
        return {"state": "cancelled", "reason": f"it was asked to stop ({signal.Signals(signals[0]).name})"}
    if code > 0:
        return {"state": "failed", "reason": f"exit status {code}"}
    try:
        return {"state": "failed", "reason": f"killed by signal {-code} ({signal.Signals(-code).name})"}
    except ValueError:
        return {"state": "failed", "reason": f"killed by signal {-code}"}


def _environment(work: Path) -> dict[str, str]:
    env = dict(os.environ)
    # Snowflake's start script puts its own PYTHONPATH in the place of ours.
    paths = [str(work / "app"), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env["SOAPTUNE_STAGE"] = str(work)
    env["PYTHONUNBUFFERED"] = "1"
    if (work / "tmp").is_dir():
        env["TMPDIR"] = str(work / "tmp")
    if int(env.get("SNOWFLAKE_JOBS_COUNT") or 1) == 1:
        env["MASTER_ADDR"] = "127.0.0.1"
        env["MASTER_PORT"] = str(_free_port())
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        env.setdefault("DS_ACCELERATOR", "cpu")
        env["LOCAL_SIZE"] = "1"  # DeepSpeed would start a rank for each NUMA node
    return env


def _command_line(entrypoint: list[str], env: dict[str, str]) -> list[str]:
    program, *arguments = entrypoint
    if program == "python":
        program = sys.executable
    elif os.sep not in program:
        program = shutil.which(program, path=env["PATH"]) or program
    single = "MASTER_PORT" in env and "SNOWFLAKE_JOBS_COUNT" in env and env["SNOWFLAKE_JOBS_COUNT"] in ("", "1")
    if entrypoint[0] == "arctic_training" and single and not any(a.startswith("--master_port") for a in arguments):
        # In one word, since ArcticTraining's parser would take the number for a second config file.
        arguments = [*arguments, f"--master_port={env['MASTER_PORT']}"]
    return [program, *arguments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _pass_on_signals(process: subprocess.Popen[bytes]) -> list[int]:
    """Sends what is to end us on to the command; gives the list of what has come."""
    signals: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        first = not signals
        signals.append(number)
        process.terminate()
        if first:
            timer = threading.Timer(_GRACE, process.kill)
            timer.daemon = True
            timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return signals


def _pump(source: IO[bytes] | None, log: Path) -> None:
    if source is None:
        return
    out = sys.stdout.buffer
    with source, log.open("ab", buffering=0) as file:
        # What is there, at once: a reader would wait until its buffer is full.
        while piece := os.read(source.fileno(), 65536):
            file.write(piece)
            out.write(piece)
            out.flush()


class _Mirror:
    """Copies what a folder holds to the stage: growing records now and then, everything at the end."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target
        self._pause = float(os.environ.get("SOAPTUNE_MIRROR_SECONDS") or 5.0)
        self._sent: dict[str, tuple[int, int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, *, whole: bool) -> None:
        """Copies what is left to copy.

        Args:
            whole: Whether all files are copied, not only the records: a job that was cancelled has little time.

        Raises:
            OSError: A file could not be copied: the job has not left what it made.
        """
        self._over.set()
        self._thread.join(timeout=30.0)
        files = sorted(path for path in self._source.rglob("*") if path.is_file()) if whole else self._records()
        # The manifest says that the folder is finished, so everything it names must be there before it is.
        for file in sorted(files, key=lambda path: (path == self._source / _MANIFEST, str(path))):
            for pause in _AGAIN:
                try:
                    self._send(file)
                    break
                except OSError:
                    time.sleep(pause)
            else:
                self._send(file)

    def _watch(self) -> None:
        while not self._over.wait(self._pause):
            # A file may be gone again, or the stage be out of reach for the moment; the end copies it anyway.
            with contextlib.suppress(OSError):
                for file in self._records():
                    self._send(file)

    def _records(self) -> list[Path]:
        found = [path for path in self._source.rglob("*.jsonl") if path.is_file()]
        return [path for path in found if path.stat().st_size <= _LARGEST_RECORD]

    def _send(self, file: Path) -> None:
        inside = file.relative_to(self._source).as_posix()
        status = file.stat()
        version = (status.st_size, status.st_mtime_ns)
        if self._sent.get(inside) != version:
            _copy(file, self._target / inside)
            self._sent[inside] = version


def _copy(source: Path, target: Path) -> None:
    """Copies a file as a stage likes it: new, and from start to end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, 8 * 1024 * 1024)


def _record(stage: Path, name: str, **what: Any) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    with contextlib.suppress(OSError):  # the job is more than its record
        folder = stage / "state"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps({"time": now, **what}), encoding="utf-8")
