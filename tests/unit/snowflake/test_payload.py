from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

import soaptune
from soaptune.errors import BackendError
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.jobs.payload import ARCHIVE, STARTER, arguments, write_payload


def _spec(**more: object) -> JobSpec:
    return JobSpec(**{"name": "job", "entrypoint": ("python", "main.py"), **more})


def _packed(app: Path) -> list[str]:
    with zipfile.ZipFile(app / ARCHIVE) as archive:
        return archive.namelist()


def test_the_payload_is_the_jobs_files_the_package_and_the_starter(tmp_path: Path) -> None:
    write_payload(_spec(files={"main.py": "print(1)\n", "conf/a.yaml": "é: 1\n"}), tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"main.py", "conf", ARCHIVE, STARTER}
    assert (tmp_path / "conf/a.yaml").read_text(encoding="utf-8") == "é: 1\n"


def test_neither_weights_nor_caches_nor_the_emulator_travel(tmp_path: Path) -> None:
    write_payload(_spec(), tmp_path)

    names = _packed(tmp_path)
    assert not [name for name in names if name.endswith((".safetensors", ".pyc")) or "__pycache__" in name]
    assert not [
        name for name in names if name.startswith("soaptune/testing/") and not name.endswith(("/", "__init__.py"))
    ]
    assert "soaptune/tiny/__init__.py" in names
    assert "soaptune/runtime/snowflake/start.py" in names


def test_the_package_in_the_payload_is_whole_but_for_what_stays_at_home(tmp_path: Path) -> None:
    write_payload(_spec(), tmp_path)
    here = Path(soaptune.__file__).parent
    expected = {p.relative_to(here.parent).as_posix() for p in here.rglob("*.py") if "testing" not in p.parts}

    assert expected <= set(_packed(tmp_path))


def test_code_folders_are_merged_without_what_is_hidden(tmp_path: Path) -> None:
    code = tmp_path / "code"
    for name in (".git/config", ".env", "environment.yml", "pkg/__init__.py", "pkg/__pycache__/x.pyc", "mod.py"):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text("SECRET=1")
    app = tmp_path / "app"
    app.mkdir()

    write_payload(_spec(code_paths=(str(code),)), app)

    own = [name for name in _packed(app) if not name.startswith("soaptune/")]
    assert own == ["mod.py", "pkg/", "pkg/__init__.py"]


def test_two_things_of_one_name_are_refused(tmp_path: Path) -> None:
    code, app = tmp_path / "code", tmp_path / "app"
    code.mkdir()
    app.mkdir()
    (code / "main.py").write_text("")

    with pytest.raises(BackendError, match=r"main\.py"):
        write_payload(_spec(files={"main.py": ""}, code_paths=(str(code),)), app)


@pytest.mark.parametrize(
    "name", [".env", "conf/.env", ARCHIVE, "environment.yml", ".git/config", STARTER, "soaptune/x.py"]
)
def test_files_that_must_not_be_sent_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError):
        write_payload(_spec(files={name: ""}), tmp_path)


def test_a_code_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="nowhere"):
        write_payload(_spec(code_paths=(str(tmp_path / "nowhere"),)), tmp_path)


def test_the_launcher_is_shown_no_word_that_its_parser_would_take() -> None:
    assert arguments(_spec(entrypoint=("arctic_training", "config.yaml"))) == [
        "python",
        STARTER,
        "arctic_training",
        "config.yaml",
    ]
    assert arguments(_spec(entrypoint=("prog", "a", "-h", "b", "--", "c"))) == ["python", STARTER, "prog", "a"]


def test_code_without_a_date_is_sent_all_the_same(tmp_path: Path) -> None:
    code, app = tmp_path / "code", tmp_path / "app"
    code.mkdir()
    app.mkdir()
    (code / "mine.py").write_text("x = 1\n")
    os.utime(code / "mine.py", (0, 0))  # as Nix and reproducible builds leave it

    write_payload(_spec(code_paths=(str(code),)), app)

    assert "mine.py" in _packed(app)
