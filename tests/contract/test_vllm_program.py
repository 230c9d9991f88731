"""Finding vLLM's program and installing it apart; and the guard under which it runs. Real pip, real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from soaptune.errors import EngineError
from soaptune.runtime.engines.vllm_program import find_vllm

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

GUARD = [sys.executable, "-m", "soaptune.runtime.engines.process_guard"]


def wheel(folder: Path, *, program: bool = True) -> None:
    """A package that stands for vLLM."""
    info = "vllm_stand_in-1.0.dist-info"
    with zipfile.ZipFile(folder / "vllm_stand_in-1.0-py3-none-any.whl", "w") as file:
        file.writestr("vllm_stand_in.py", "import sys\ndef main():\n    print('stand-in', sys.prefix)\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: vllm-stand-in\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        if program:
            file.writestr(f"{info}/entry_points.txt", "[console_scripts]\nvllm = vllm_stand_in:main\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Where pip looks, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return folder


def test_a_program_that_is_there_is_taken(tmp_path):
    assert find_vllm((sys.executable, "-m", "vllm"), None) == (sys.executable, "-m", "vllm")


def test_nothing_is_installed_unless_it_may_be(index, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(EngineError, match=r"st\.engines\.VLLM\(command="):
        find_vllm(("vllm",), None, cache=cache)
    with pytest.raises(EngineError, match="'/opt/nowhere/vllm' was not found"):
        find_vllm(("/opt/nowhere/vllm",), "vllm-stand-in==1.0", cache=cache)
    assert not cache.exists()


def test_it_is_installed_once_into_an_environment_of_its_own(index, tmp_path):
    wheel(index)
    cache = tmp_path / "cache"
    (program,) = find_vllm(("vllm",), "vllm-stand-in==1.0", cache=cache)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert said.startswith("stand-in ")
    assert Path(said.split()[1]).is_relative_to(cache)
    next(index.iterdir()).unlink()
    assert find_vllm(("vllm",), "vllm-stand-in==1.0", cache=cache) == (program,)


@pytest.mark.soak
def test_what_cannot_be_installed_says_why_and_is_tried_again(index, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(EngineError, match=r"(?s)vllm-stand-in==1.0 could not be installed: .*No matching distribution"):
        find_vllm(("vllm",), "vllm-stand-in==1.0", cache=cache)
    wheel(index)
    assert find_vllm(("vllm",), "vllm-stand-in==1.0", cache=cache)


@pytest.mark.soak
def test_a_package_without_the_program_is_refused(index, tmp_path):
    wheel(index, program=False)
    with pytest.raises(EngineError, match="has no program 'vllm'"):
        find_vllm(("vllm",), "vllm-stand-in==1.0", cache=tmp_path / "cache")


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def guarded(note: Path) -> subprocess.Popen[bytes]:
    """A guarded program that has started another one in a session of its own."""
    script = f"sleep 600 & echo $! >> {note}; setsid sleep 600 & echo $! >> {note}; echo $$ >> {note}; wait"
    guard = subprocess.Popen([*GUARD, "sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)
    end = time.monotonic() + 20
    while time.monotonic() < end and (not note.exists() or len(note.read_text().split()) < 3):
        time.sleep(0.05)
    return guard


def all_ended(note: Path) -> bool:
    end = time.monotonic() + 15
    while time.monotonic() < end and not all(ended(int(pid)) for pid in note.read_text().split()):
        time.sleep(0.05)
    return all(ended(int(pid)) for pid in note.read_text().split())


@pytest.mark.parametrize("how", ["let go", "told to end"])
def test_the_guard_ends_all_that_the_program_has_started(tmp_path, how):
    note = tmp_path / "pids"
    guard = guarded(note)
    assert guard.stdin is not None
    assert not any(ended(int(pid)) for pid in note.read_text().split())
    if how == "told to end":
        guard.terminate()
    else:
        guard.stdin.close()
    guard.wait(20)
    assert all_ended(note)
    guard.stdin.close()


def test_the_guard_hands_on_the_exit_status():
    with subprocess.Popen([*GUARD, "sh", "-c", "exit 7"], stdin=subprocess.PIPE) as guard:
        assert guard.wait(20) == 7
    with subprocess.Popen([*GUARD, "/nowhere/program"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as guard:
        assert guard.wait(20) == 127
        assert guard.stderr is not None
        assert b"/nowhere/program could not be started" in guard.stderr.read()
