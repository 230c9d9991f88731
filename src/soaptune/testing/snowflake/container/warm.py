"""The program that has imported what the SDK's launcher imports, and forks the supervisors of containers.

Those imports take longer than anything else in a short job. A container whose supervisor was forked here can have the
launcher as a fork too: its ``python`` asks the supervisor for it (`launch.py`), which hands over its command line,
environment, working directory and standard streams. What such a process sees is what a fresh one would see. Where it
might not be, it becomes a fresh one: with modules of the payload that stand in front of imported ones, with packages
installed for the job, and with other values of the environment variables that were read during the imports.

Started with the number of a file descriptor, a socket over which each container comes as one message: the path of its
`supervisor.py` file and the name of the socket for `launch.py`, with three descriptors: the leash, the output, and
where the supervisor's process id and exit status are written. It ends when that socket closes.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from soaptune.testing.snowflake.container import supervisor
else:
    import supervisor  # It lies beside this file. Nothing of soaptune is imported: a payload brings its own.

MODULES = (
    "snowflake.ml.jobs._utils.constants",
    "snowflake.snowpark",
    "snowflake.ml._internal.utils.connection_params",
    "snowflake.ml.jobs._interop.results",
    "snowflake.ml.jobs._interop.utils",
)
"""What mljob_launcher.py imports at its top, at its start and at its end."""

OWN = frozenset({"HOME", "PATH", "PYTHONPATH", "PYTHONIOENCODING"})
"""Variables that may differ: they are looked at again when they are needed, or a fork does what they ask for."""


class Environment:
    """What the imports have to do with the environment variables.

    Attributes:
        before: The variables as they were.
        read: The names of those that were looked at.
        changed: Those that were set.
    """

    def __init__(self) -> None:
        """Imports the modules."""
        self.before = dict(os.environ)
        self.read: set[str] = set()
        kind: Any = type(os.environ)
        look = kind.__getitem__

        def noted(environment: Any, key: str | bytes) -> Any:
            self.read.add(os.fsdecode(key))
            return look(environment, key)

        kind.__getitem__ = noted
        try:
            for name in MODULES:
                importlib.import_module(name)
        finally:
            kind.__getitem__ = look
        self.changed = {key: value for key, value in os.environ.items() if self.before.get(key) != value}

    def fits(self, env: dict[str, str]) -> bool:
        """Whether modules that were imported with other variables would be the same."""
        watched = self.read | {name for name in env if name.startswith("PYTHON")}
        return all(env.get(name) == self.before.get(name) for name in watched - OWN)

    def enter(self, env: dict[str, str]) -> None:
        """Puts other variables in the place of ours, and does what they ask of the interpreter."""
        os.environ.clear()
        os.environ.update({**env, **self.changed})
        time.tzset()
        tempfile.tempdir = None
        encoding, _, errors = env.get("PYTHONIOENCODING", "").partition(":")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            old: io.TextIOWrapper = getattr(sys, name)
            handling = (errors or "strict") if encoding and name != "stderr" else old.errors
            # Unbuffered, as PYTHONUNBUFFERED wants it, but for what is read.
            file: Any = os.fdopen(number, "wb", 0, closefd=False) if number else os.fdopen(0, "rb", closefd=False)
            new = io.TextIOWrapper(file, encoding or old.encoding, handling, write_through=True)
            setattr(sys, name, new)
            setattr(sys, f"__{name}__", new)


class Ending:
    """Ends the process at once after all other functions that were registered for its end, with its exit status.

    Taking a thousand modules apart takes half a second, and shows nowhere.
    """

    def __init__(self) -> None:
        self.code = 0
        atexit.register(self)  # before anything else is imported: the last to be called

    def __call__(self) -> None:
        """Ends it."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(self.code)


class Program(Exception):
    """Raised in a fork, to leave the supervisor's functions behind: what the process becomes.

    Attributes:
        argv: The script and its arguments.
        env: Its environment.
        cwd: Its working directory.
    """

    def __init__(self, argv: list[str], env: dict[str, str], cwd: str) -> None:
        super().__init__(argv)
        self.argv, self.env, self.cwd = argv, env, cwd

    def run(self, environment: Environment, ending: Ending) -> None:
        """Runs the script as the interpreter would; `ending` gets the exit status.

        Args:
            environment: What the imports have to do with the environment.
            ending: Ends the process.
        """
        script = self.argv[0]
        os.chdir(self.cwd)
        added = [os.path.abspath(path) for path in self.env.get("PYTHONPATH", "").split(os.pathsep) if path]  # noqa: PTH100
        if not environment.fits(self.env) or self._payload_stands_in_front() or any(map(os.path.isdir, added)):
            os.execve(sys.executable, [sys.executable, *self.argv], self.env)
        environment.enter(self.env)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        sys.path[:] = [str(Path(script).parent), *added, *sys.path[1:]]
        sys.argv, sys.orig_argv = list(self.argv), [sys.executable, *self.argv]
        sys.path_importer_cache.clear()
        importlib.invalidate_caches()
        main = types.ModuleType("__main__")
        main.__dict__.update(__file__=script, __builtins__=__builtins__)
        sys.modules["__main__"] = main
        del sys.modules["supervisor"]
        try:
            exec(compile(Path(script).read_bytes(), script, "exec", dont_inherit=True), main.__dict__)
        except SystemExit as end:
            if end.code is not None and not isinstance(end.code, int):
                print(end.code, file=sys.stderr)
            ending.code = end.code & 0xFF if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:
            # The traceback begins with the script.
            sys.excepthook(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
            ending.code = 1

    def _payload_stands_in_front(self) -> bool:
        """Whether the payload has a module that would be imported instead of one that was."""
        payload = self.env.get("MLRS_PAYLOAD_DIR")
        if payload is None:
            return False
        folder = Path(self.env.get("MLRS_STAGE_MOUNT_PATH", "/mnt/job_stage"), payload)
        loaded = {name.partition(".")[0] for name in sys.modules} - {"__main__", "supervisor"}
        return not loaded.isdisjoint(_importable(folder))


def _importable(folder: Path) -> Iterator[str]:
    """The names of the modules that a folder and the archives in it hold."""
    for path in folder.iterdir() if folder.is_dir() else ():
        yield path.name.partition(".")[0]
    for path in folder.rglob("*.zip"):
        with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name.partition("/")[0].partition(".")[0]


class Forks:
    """The launchers of one container that were forked from its supervisor.

    Attributes:
        listener: The socket over which `launch.py` asks.
    """

    def __init__(self, name: str, status: int) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(f"\0{name}")
        self.listener.listen()
        self._status = status
        self._asking: dict[int, socket.socket] = {}

    def fileno(self) -> int:
        """For `select`."""
        return self.listener.fileno()

    def serve(self) -> None:
        """Forks the process that is asked for.

        Raises:
            Program: In the fork.
        """
        connection, _ = self.listener.accept()
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        _, numbers, _, _ = socket.recv_fds(connection, 1, 4)
        if user != os.geteuid() or len(numbers) != 4:
            connection.close()
            return
        pid = os.fork()
        if pid:
            self._asking[pid] = connection
            for number in numbers:
                os.close(number)
            return
        os.setsid()
        supervisor.libc.prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        with open(numbers[3], encoding="utf-8") as file:  # noqa: PTH123
            asked: dict[str, Any] = json.load(file)
        for number in range(3):
            os.dup2(numbers[number], number)
            os.close(numbers[number])
        for each in (connection, self.listener, *self._asking.values()):
            each.close()
        os.close(self._status)
        raise Program(asked["argv"], asked["env"], asked["cwd"])

    def ended(self, pid: int, status: int) -> None:
        """Passes on how a process ended, if it is one of these."""
        if connection := self._asking.pop(pid, None):
            with contextlib.suppress(OSError), connection:
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def supervise(message: bytes, numbers: list[int]) -> NoReturn:
    """Turns a fork of this program into the supervisor of a container.

    Raises:
        Program: In a fork of its own.
    """
    config, name = json.loads(message)
    leash, output, status = numbers
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for source, target in ((leash, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for number in (leash, output):
        os.close(number)
    os.set_inheritable(status, False)
    os.write(status, f"{os.getpid()}\n".encode())
    code = 1
    try:
        code = supervisor.main([config], Forks(name, status))
    except Program:
        raise
    except BaseException:
        traceback.print_exc()
    os.write(status, f"{code}\n".encode())
    os._exit(code)


def serve(control: socket.socket) -> None:
    """Forks a supervisor for each message.

    Raises:
        Program: In a fork of a supervisor.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the supervisors write themselves how they have ended
    while True:
        message, numbers, _, _ = socket.recv_fds(control, 4096, 3)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            supervise(message, list(numbers))
        for number in numbers:
            os.close(number)


def main(number: int) -> None:
    """Imports, and forks until the socket closes; goes on as a script where it is a fork that is to be one."""
    ending = Ending()
    environment = Environment()
    gc.freeze()
    try:
        serve(socket.socket(fileno=number))
        return
    except Program as asked:
        program = asked
    program.run(environment, ending)


if __name__ == "__main__":
    main(int(sys.argv[1]))
