"""The program around one container: it gives it its mounts, and lets no process of it outlive the emulator.

Started with the path of a JSON file that says ``argv``, ``env``, ``cwd``, ``binds`` (pairs of a folder and where it is
to appear) and ``scratch`` (an empty folder). Standard input is the leash: when its other end closes, because the
emulator was killed, everything in the container is killed, and so it is on SIGTERM. With ``--probe`` and a scratch
folder it only says, by its exit status, whether mounts are possible here.

Mounts live in a mount namespace of this process; where root is needed for that, it is root of a user namespace of its
own. On Linux, this process adopts what the container's processes leave behind, so that a daemon does not escape either.
It is a program of its own, or a fork of `warm.py`, which gives the launcher of the container as a fork too.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Protocol

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform.startswith("linux")

libc = ctypes.CDLL(None, use_errno=True)


class Forks(Protocol):
    """What gives processes of the container as forks of this one (`warm.py`)."""

    def fileno(self) -> int:
        """Where it is asked for one."""
        ...

    def serve(self) -> None:
        """Gives one; raises an exception in the fork."""
        ...

    def ended(self, pid: int, status: int) -> None:
        """Told of each child that has ended."""
        ...


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    text = kind.encode() if kind else None
    _checked(libc.mount(source.encode(), target.encode(), text, flags, None), f"mount {source} at {target}")


def enter_namespace() -> None:
    """A mount namespace of our own; as somebody else than root, with a user namespace that allows it.

    Raises:
        OSError: If the system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNS) != 0:
        if ctypes.get_errno() != errno.EPERM:
            _checked(-1, "unshare")
        _checked(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
        for name, text in (
            ("setgroups", "deny"),
            # The same user inside as outside: a job is not to believe that it is root.
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123
                file.write(text)
    _mount("none", "/", None, MS_REC | MS_PRIVATE)


def bind(source: str, target: str, scratch: str) -> None:
    """Makes a folder appear at a path that need not exist.

    A path that is missing is added to its parent without touching the parent: a new file system takes the parent's
    place, in which everything the parent holds appears again.

    Raises:
        OSError: If the parent does not exist either, or the system refuses.
    """
    if not os.path.isdir(target):  # noqa: PTH112
        parent = os.path.dirname(target)  # noqa: PTH120
        held = os.listdir(parent)  # noqa: PTH208
        cover = os.path.join(scratch, str(len(os.listdir(scratch))))  # noqa: PTH118, PTH208
        os.mkdir(cover)  # noqa: PTH102
        _mount("tmpfs", cover, "tmpfs", 0)
        for name in held:
            old, new = os.path.join(parent, name), os.path.join(cover, name)  # noqa: PTH118
            if os.path.islink(old):  # noqa: PTH114
                os.symlink(os.readlink(old), new)  # noqa: PTH211, PTH115
                continue
            if os.path.isdir(old):  # noqa: PTH112
                os.mkdir(new)  # noqa: PTH102
            else:
                os.close(os.open(new, os.O_CREAT))
            _mount(old, new, None, MS_BIND | MS_REC)
        os.mkdir(os.path.join(cover, os.path.basename(target)))  # noqa: PTH102, PTH118, PTH119
        _mount(cover, parent, None, MS_BIND | MS_REC)
    _mount(source, target, None, MS_BIND | MS_REC)


def _children() -> list[int]:
    """Our direct children; as their reaper, what they leave behind becomes ours too."""
    found: list[int] = []
    for name in os.listdir("/proc") if LINUX else ():  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:  # noqa: PTH123
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == os.getpid():
                found.append(int(name))
    return found


def kill_all(group: int) -> None:
    """Kills everything in the container and waits until nothing is left."""
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _noticed(*_: object) -> None:
    """A handler that does nothing: the signal has woken `select` through the wake-up pipe."""


def _start(argv: list[str], env: dict[str, str], cwd: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        if LINUX:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
    os._exit(127)


def run(argv: list[str], env: dict[str, str], cwd: str, forks: Forks | None = None) -> int:
    """Runs the container's command to its end, or to the end of the leash.

    Args:
        argv: The command.
        env: Its environment.
        cwd: Its working directory.
        forks: Gives processes of the container as forks of this one.

    Returns:
        Its exit status; 128 and the signal's number for one that a signal ended.
    """
    wake, wakened = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wakened, False)
    signal.set_wakeup_fd(wakened)
    asked_to_end = False

    def ask(*_: object) -> None:
        nonlocal asked_to_end
        asked_to_end = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGCHLD, _noticed)
    main = _start(argv, env, cwd)
    status: int | None = None
    watched = [0, wake, *([forks] if forks else [])]
    while status is None:
        ready, _, _ = select.select(watched, [], [])
        if wake in ready:
            os.read(wake, 4096)
        if asked_to_end or (0 in ready and not os.read(0, 4096)):
            break
        if forks and forks in ready:
            try:
                forks.serve()
            except BaseException:  # this is the fork: it holds nothing open that is ours
                os.close(wake)
                os.close(wakened)
                raise
        while True:
            try:
                pid, ended = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == main:
                status = ended
            elif forks:
                forks.ended(pid, ended)
    kill_all(main)
    if status is None:
        return 128 + signal.SIGKILL
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def main(arguments: list[str], forks: Forks | None = None) -> int:
    """Reads the file, makes the mounts and runs the command."""
    if arguments[0] == "--probe":
        try:
            enter_namespace()
            bind(arguments[1], "/mnt/soaptune_probe", arguments[1])
        except (OSError, AttributeError):
            return 1
        return 0
    with open(arguments[0], encoding="utf-8") as file:  # noqa: PTH123
        config = json.load(file)
    if LINUX:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    if config["binds"]:
        enter_namespace()
        for source, target in config["binds"]:
            bind(source, target, config["scratch"])
    return run(config["argv"], config["env"], config["cwd"], forks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
