"""Runs the containers of jobs: the SDK's own start script and launcher, as child processes of this machine.

An instance of a job is a process tree in which ``bash /mnt/job_stage/system/startup.sh …`` runs, exactly as the SDK has
uploaded it: it checks the requirements, changes into ``app/`` and starts the uploaded ``mljob_launcher.py``, which logs
in to this same account over loopback.

What is as on the platform: the order of that script, the environment (``MLRS_*``, ``SNOWFLAKE_*``; nothing of the
caller's environment but what the machine needs), a home and a temporary folder of its own, the stage at
``/mnt/job_stage`` and the result at ``/mnt/job_result``, the login by a token file, line-wise logs.

What is not:

- Where Linux allows it, the launcher is a fork of a process that has imported what it imports, with all else as in a
  fresh process; ``emulated_snowflake(fresh_processes=True)`` starts each anew, which takes a second or two.
- The image is the current Python environment. ``pip`` checks requirements against it, and installs only if the account
  was made with ``install_requirements=True``.
- Where the system allows no mount namespace, the two paths do not exist; arguments and environment variables that hold
  them are rewritten to the real folders, files of the payload are not. Use ``MLRS_STAGE_MOUNT_PATH`` or relative paths.
- The token lies in the file that ``SNOWFLAKE_TOKEN_FILE`` names, not at ``/snowflake/session/token``; the SDK's
  ``SnowflakeLoginOptions()`` looks there first.
- Ray does not run. Workers of a job of several instances do what the SDK's script makes them do, wait for the head to
  end; the head counts them. All instances share this machine's network, so ports are theirs together.
- Without an external access integration, the proxy variables point to a closed port: clients that honour them (pip,
  requests, httpx, huggingface_hub, the connector) get no further than loopback. A program that ignores them is not held
  back, and which hosts an integration allows is not enforced: the job must reach loopback, so it cannot be put into a
  network namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from soaptune.testing.snowflake.jobrecord import RESULT_MOUNT, STAGE_MOUNT, Job
from soaptune.testing.snowflake.warmstart import Forked, warm_start

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

PROGRAMS = Path(__file__).parent / "container"
KEPT = (
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "USER",
    "LOGNAME",
)
"""What a container keeps of the caller's environment: what belongs to the machine rather than to the caller."""
OUTSIDE = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_INDEX_URL", "PIP_CERT")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
CLOSED_PORT = "http://127.0.0.1:9"
CLUSTER_COPIES = ("cluster.py", "get_instance_ip.py", "worker_shutdown_listener.py", "signal_workers.py")
_ENDING_SECONDS = 10.0


class Container:
    """What runs in one instance of a job.

    Attributes:
        lines: What it has printed, line by line, with the time at which each line came.
    """

    def __init__(self, supervisor: subprocess.Popen[bytes] | Forked, on_end: Callable[[int], None]) -> None:
        """Reads what the container prints.

        Args:
            supervisor: The program around it.
            on_end: Told the exit status, once nothing of the container is left.
        """
        self.lines: list[tuple[float, str]] = []
        self._on_end = on_end
        self._process = supervisor
        self._reader = threading.Thread(target=self._read, name="snowflake-job", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def kill(self) -> None:
        """Ends everything in the container at once; does not wait for it."""
        self._process.terminate()

    def join(self) -> None:
        """Waits until nothing of the container is left, with force if need be."""
        self._reader.join(_ENDING_SECONDS)
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join(_ENDING_SECONDS)

    def _read(self) -> None:
        output, leash = self._process.stdout, self._process.stdin
        assert output is not None
        assert leash is not None
        # Read to the end: the supervisor ends only after everything that could still print.
        for line in output:
            self.lines.append((time.time(), line.decode("utf-8", "replace").rstrip("\n")))
        code = self._process.wait()
        output.close()
        with contextlib.suppress(OSError):
            leash.close()
        self._on_end(code)


class Launcher:
    """Starts the containers of an account's jobs.

    Attributes:
        account: Whose jobs they are.
        folder: Where the containers have what is their own: home, temporary files, token.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.folder = Path(tempfile.mkdtemp(prefix="snowflake-jobs-"))
        self._lock = threading.Lock()
        self._mounts: bool | None = None

    @property
    def mounts(self) -> bool:
        """Whether ``/mnt/job_stage`` is really mounted, which needs Linux and the right to make a mount namespace."""
        with self._lock:
            if self._mounts is None:
                scratch = self._made(self.folder / "probe")
                command = [sys.executable, "-I", "-S", str(PROGRAMS / "supervisor.py"), "--probe", str(scratch)]
                self._mounts = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
            return self._mounts

    def prepare(self, job: Job) -> Path:
        """Makes what the instances of a job share: its scripts, with stand-ins for Ray, and its result folder.

        Returns:
            The folder of the job.

        Raises:
            FileNotFoundError: If the payload has no start script.
        """
        home = self._made(self.folder / job.query_id)
        system, cluster = home / "system", self._made(home / "cluster")
        if not (job.stage / "system" / "startup.sh").is_file():
            raise FileNotFoundError(f"{job.id}: there is no system/startup.sh in its stage path")
        shutil.copytree(job.stage / "system", system)
        program = (PROGRAMS / "cluster.py").read_text(encoding="utf-8").replace("@CLUSTER@", str(cluster))
        for name in CLUSTER_COPIES:
            (system / name).write_text(program, encoding="utf-8")
        (system / "start_mlruntime.sh").write_text('exec python "$(dirname "$0")/cluster.py"\n', encoding="utf-8")
        ray = (PROGRAMS / "ray_standin.py").read_text(encoding="utf-8").replace("@CLUSTER@", str(cluster))
        (system / "ray.py").write_text(ray.replace("@INSTANCES@", str(job.target_instances)), encoding="utf-8")
        self._made(job.stage / job.name.name)
        return home

    def start(self, job: Job, index: int, home: Path, token: str, on_end: Callable[[int], None]) -> Container:
        """Starts one instance of a job.

        Args:
            job: The job.
            index: The instance.
            home: The folder of the job, as `prepare` has made it.
            token: What its processes log in with.
            on_end: Told the exit status, once nothing of it is left.
        """
        own = self._made(home / str(index))
        warm = None if self.account.fresh_processes else warm_start(_kept())
        forks = f"soaptune-{secrets.token_hex(16)}" if warm else None
        places = {
            f"{STAGE_MOUNT}/system": str(home / "system"),
            STAGE_MOUNT: str(job.stage),
            RESULT_MOUNT: str(job.stage / job.name.name),
        }
        env = self._environment(job, index, own, token, forks)
        command = list(job.command)
        if self.mounts:
            binds = [[places[at], at] for at in (STAGE_MOUNT, f"{STAGE_MOUNT}/system", RESULT_MOUNT)]
        else:
            binds = []
            command = [_placed(argument, places) for argument in command]
            env = {key: _placed(value, places) for key, value in env.items()}
        config = own / "container.json"
        scratch = self._made(own / "mounts")
        content = {"argv": command, "env": env, "cwd": str(own / "home"), "binds": binds, "scratch": str(scratch)}
        config.touch(mode=0o600)  # it may hold secrets
        config.write_text(json.dumps(content), encoding="utf-8")
        if warm and forks:
            return Container(warm.start(config, forks), on_end)
        supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAMS / "supervisor.py"), str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
        return Container(supervisor, on_end)

    def close(self) -> None:
        """Removes what the containers have left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self, job: Job, index: int, own: Path, token: str, forks: str | None) -> dict[str, str]:
        """The environment of a container; what the platform sets wins over what the submitter has set."""
        home, temporary, bin_ = (self._made(own / name) for name in ("home", "tmp", "bin"))
        token_file = own / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token, encoding="utf-8")
        site = self._made(own / "site-packages") if self.account.install_requirements else None
        for name in ("python", "python3", "pip", "pip3"):
            _write_command(bin_ / name, site, forks)
        path = [str(bin_), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        return {
            **_kept(),
            **_network(bool(job.options.get("EXTERNAL_ACCESS_INTEGRATIONS"))),
            # Line by line, as the log of a container is read while it runs.
            "PYTHONUNBUFFERED": "1",
            **job.env,
            **({"EMULATOR_PIP_TARGET": str(site)} if site else {}),
            "PATH": os.pathsep.join([*([str(site / "bin")] if site else []), *path]),
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "SNOWFLAKE_ACCOUNT": self.account.connection_parameters["account"],
            "SNOWFLAKE_HOST": "127.0.0.1",
            "SNOWFLAKE_PORT": str(self.account.connection_parameters["port"]),
            "SNOWFLAKE_PROTOCOL": "http",
            "SNOWFLAKE_SSL": "off",
            "SNOWFLAKE_TOKEN_FILE": str(token_file),
            "SNOWFLAKE_DATABASE": job.name.database,
            "SNOWFLAKE_SCHEMA": job.name.schema,
            "SNOWFLAKE_SERVICE_NAME": job.name.name,
            "SNOWFLAKE_CONTAINER_NAME": job.container_name,
            "SNOWFLAKE_JOB_INDEX": str(index),
            "SNOWFLAKE_JOBS_COUNT": str(job.target_instances),
        }

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _kept() -> dict[str, str]:
    return {key: os.environ[key] for key in KEPT if key in os.environ}


def _network(outside: bool) -> dict[str, str]:
    """The variables that let a container out, or keep it in."""
    if outside:
        names = [*PROXIES, *(name.upper() for name in PROXIES), "no_proxy", "NO_PROXY", *OUTSIDE]
        return {name: os.environ[name] for name in names if name in os.environ}
    closed = dict.fromkeys([*PROXIES, *(name.upper() for name in PROXIES)], CLOSED_PORT)
    loopback = "127.0.0.1,localhost,::1"
    return {**closed, "no_proxy": loopback, "NO_PROXY": loopback}


def _write_command(path: Path, site: Path | None, forks: str | None) -> None:
    """A command of the container that runs the current Python, with what was installed for the job."""
    python = shlex.quote(sys.executable)
    lines = ["#!/bin/sh"]
    if site:
        lines.append(f'export PYTHONPATH={shlex.quote(str(site))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    if path.name.startswith("pip"):
        lines.append(f'exec {python} {shlex.quote(str(PROGRAMS / "pip_standin.py"))} "$@"')
    elif forks:
        ask = f'exec {python} -I -S {shlex.quote(str(PROGRAMS / "launch.py"))} {forks} "$@"'
        lines.append(f'case "$1" in */system/mljob_launcher.py) {ask} ;; esac')
    if not path.name.startswith("pip"):
        lines.append(f'exec {python} "$@"')
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    path.chmod(0o755)


def _placed(text: str, places: dict[str, str]) -> str:
    """A text with the mounts replaced by the real folders."""
    for mount, folder in places.items():
        text = text.replace(mount, folder)
    return text
