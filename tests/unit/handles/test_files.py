from __future__ import annotations

from pathlib import Path

import pytest

from soaptune.common.files import atomic_dir, read_json, write_bytes, write_json, write_text
from soaptune.errors import DataError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_is_written_reads_back_and_nothing_else_remains(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path / "new" / "a.json") == {"ä": [1, None]}
    write_text(tmp_path / "new" / "a.json", "[]")
    assert read_json(tmp_path / "new" / "a.json") == []
    assert names(tmp_path / "new") == ["a.json"]


def test_a_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":\n ?}', r"a\.json, line 2, column 2: not valid JSON"),
        (b"\xff\xff", "not UTF-8"),
        (b"", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_is_told_with_its_place(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_json(tmp_path / "a.json")


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_json(tmp_path / "a.json")


def test_nan_and_lone_surrogates_are_refused_before_the_old_file_is_touched(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(DataError, match="cannot be written as JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    with pytest.raises(DataError, match="UTF-8"):
        write_text(tmp_path / "a.json", "\ud800")
    assert read_json(tmp_path / "a.json") == 1
    assert names(tmp_path) == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyError

    with pytest.raises(KeyError), atomic_dir(tmp_path / "out") as folder:  # noqa: PT012
        assert not (tmp_path / "out").exists()
        fail(folder)
    assert names(tmp_path) == []
    with atomic_dir(tmp_path / "deep" / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("x")
    assert (tmp_path / "deep" / "out" / "sub" / "a").read_text() == "x"
    assert names(tmp_path / "deep") == ["out"]


def test_a_folder_that_is_there_is_added_to(tmp_path: Path) -> None:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "progress.jsonl").write_text("{}")
    (tmp_path / "out" / "sub" / "old").write_text("x")
    with atomic_dir(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "manifest.json").write_text("{}")
    assert names(tmp_path / "out") == ["manifest.json", "progress.jsonl", "sub"]
    assert names(tmp_path / "out" / "sub") == []


def test_a_finished_folder_and_a_file_are_never_changed(tmp_path: Path) -> None:
    write_json(tmp_path / "out" / "manifest.json", {})
    with pytest.raises(DataError, match="already holds a finished result"), atomic_dir(tmp_path / "out"):
        pytest.fail("the block must not run")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"), atomic_dir(tmp_path / "file"):
        pytest.fail("the block must not run")
