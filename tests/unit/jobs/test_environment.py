"""What a job finds around it is its own, and nothing of a distributed run around the submitter."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from soaptune.errors import BackendError, MissingExtraError
from soaptune.jobs.spec import JobSpec, Resources
from soaptune.local import environment as module
from soaptune.local.environment import command_line, environment, has_gpu
from soaptune.local.supervisor import PORT, TEMPORARY


def spec(*entrypoint, **more):
    return JobSpec(name="x", entrypoint=entrypoint or ("python",), **more)


@pytest.fixture(autouse=True)
def no_traces(monkeypatch, tmp_path):
    """The temporary folders that only a supervisor would remove; not in `tmp_path`, whose name is long."""
    with tempfile.TemporaryDirectory(prefix="st-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_caches_and_temporary_files_lie_in_the_jobs_own_folders(tmp_path):
    one, two = (
        environment(spec(), tmp_path / name, threads=None) for name in ("a", "b") if not (tmp_path / name).mkdir()
    )
    for name in ("HF_DATASETS_CACHE", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "TMPDIR", "SOAPTUNE_STAGE"):
        assert one[name] != two[name]
    assert one["HF_DATASETS_CACHE"].startswith(str(tmp_path / "a"))


def test_the_model_hubs_cache_and_its_offline_switch_stay_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/h")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    env = environment(spec(), tmp_path, threads=None)
    assert env["HF_HOME"] == "/h"
    assert "HF_HUB_OFFLINE" not in env


def test_a_long_stage_path_gets_a_short_temporary_folder(tmp_path):
    stage = tmp_path / ("x" * 80)
    stage.mkdir()
    temporary = Path(environment(spec(), stage, threads=None)["TMPDIR"])
    assert len(str(temporary)) < len(str(stage))
    assert temporary.is_dir()
    temporary.rmdir()


def test_a_short_path_of_long_characters_gets_a_short_temporary_folder_too(tmp_path):
    stage = tmp_path / ("漢" * 40)
    stage.mkdir()
    temporary = Path(environment(spec(), stage, threads=None)["TMPDIR"])
    assert len(os.fsencode(temporary)) < 60
    temporary.rmdir()


def test_a_temporary_folder_of_the_specs_is_not_the_one_that_is_removed(tmp_path):
    env = environment(spec(env={"TMPDIR": "/tmp", TEMPORARY: "/tmp"}), tmp_path, threads=None)
    assert env["TMPDIR"] == "/tmp"
    assert env[TEMPORARY] != "/tmp"


def test_search_paths_of_the_specs_are_added_to(tmp_path):
    env = environment(spec(env={"PATH": "/p", "PYTHONPATH": "/q"}), tmp_path, threads=None)
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert env["PATH"].endswith(os.pathsep + "/p")
    assert env["PYTHONPATH"].split(os.pathsep)[-1] == "/q"


def test_a_distributed_run_around_the_submitter_does_not_leak_in(tmp_path, monkeypatch, without_gpu):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "7")
    env = environment(spec(), tmp_path, threads=None)
    assert {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"}.isdisjoint(env)


def test_without_a_gpu_deepspeed_runs_one_rank_on_the_cpu(tmp_path, monkeypatch, without_gpu):
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    env = environment(spec(), tmp_path, threads=None)
    assert not has_gpu()
    assert (env["DS_ACCELERATOR"], env["LOCAL_SIZE"]) == ("cpu", "1")


def test_a_job_sees_only_as_many_gpus_as_it_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    assert environment(spec(), tmp_path, threads=None)["CUDA_VISIBLE_DEVICES"] == "4,5,6"
    two = environment(spec(resources=Resources(gpus=2)), tmp_path, threads=None)
    assert two["CUDA_VISIBLE_DEVICES"] == "4,5"
    none = environment(spec(resources=Resources(gpus=0)), tmp_path, threads=None)
    assert none["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert environment(spec(resources=Resources(gpus=2)), tmp_path, threads=None)["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_threads_are_the_backends_then_the_specs_then_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    cpus = spec(resources=Resources(cpus=3))
    assert environment(cpus, tmp_path, threads=1)["OMP_NUM_THREADS"] == "1"
    assert environment(cpus, tmp_path, threads=None)["OMP_NUM_THREADS"] == "3"
    assert environment(spec(), tmp_path, threads=None)["OMP_NUM_THREADS"] == "5"
    assert environment(spec(env={"OMP_NUM_THREADS": "9"}), tmp_path, threads=1)["OMP_NUM_THREADS"] == "9"


def test_a_secret_comes_from_the_submitters_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    assert environment(spec(secrets={"HF_TOKEN": "MY_TOKEN"}), tmp_path, threads=None)["HF_TOKEN"] == "s3cret"


def import_paths(tmp_path, installed_at, monkeypatch):
    monkeypatch.setattr(module.sysconfig, "get_path", lambda _name: str(installed_at))
    env = environment(spec(code_paths=(str(tmp_path / "mine"),)), tmp_path, threads=None)
    return env["PYTHONPATH"].split(os.pathsep)


def test_soaptune_is_found_by_a_job_where_it_is_not_installed(tmp_path, monkeypatch):
    parts = import_paths(tmp_path, tmp_path / "site-packages", monkeypatch)
    assert parts[0] == str(tmp_path / "mine")
    assert str(Path(module.__file__).resolve().parents[2]) in parts


def test_an_installed_soaptune_is_not_put_before_the_standard_library(tmp_path, monkeypatch):
    package = Path(module.__file__).resolve().parents[2]
    assert str(package) not in import_paths(tmp_path, package, monkeypatch)


def test_python_is_the_interpreter_that_submits():
    assert command_line(spec("python", "-m", "x")) == [sys.executable, "-m", "x"]


def test_arctic_training_runs_beside_this_interpreter_with_a_port_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(module.shutil, "which", lambda _name, path: path.split(os.pathsep)[0] + "/arctic_training")
    program, *arguments = command_line(spec("arctic_training", "config.yaml"))
    assert program == str(Path(sys.executable).parent / "arctic_training")
    # In one word: its parser takes a lone number for a second config file.
    assert arguments == ["config.yaml", f"--master_port={PORT}"]
    assert command_line(spec("arctic_training", "c.yaml", "--master_port", "1"))[1:] == ["c.yaml", "--master_port", "1"]


def test_a_missing_program_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda _name, path: None)
    with pytest.raises(MissingExtraError, match=r"soaptune\[train\]"):
        command_line(spec("arctic_training"))
    with pytest.raises(BackendError, match="'frobnicate' is neither"):
        command_line(spec("frobnicate"))
