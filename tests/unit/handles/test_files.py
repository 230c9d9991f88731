from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from soaptune.common.files import atomic_dir, read_json, read_object, write_bytes, write_json, write_text
from soaptune.common.json_text import parse_lines, typed
from soaptune.errors import DataError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_is_written_reads_back_and_nothing_else_remains(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path / "new" / "a.json") == {"ä": [1, None]}
    write_text(tmp_path / "new" / "a.json", "[]")
    assert read_json(tmp_path / "new" / "a.json") == []
    assert names(tmp_path / "new") == ["a.json"]


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":\n ?}', r"a\.json, line 2, column 2: not valid JSON"),
        (b"\xff\xff", "not UTF-8"),
        (b"", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 500 + b"]" * 500, "nested too deeply"),
        (b'{"n": ' + b"9" * 6_000 + b"}", "a number is too long"),
        (b'{"n": 1e999}', "a number is too large"),
        (b'{"n": NaN}', "NaN is not JSON"),
        (b'{"n": -Infinity}', "-Infinity is not JSON"),
        (b'{"n": 1, "n": 2}', "a key stands twice"),
        (b'{"n": "\\ud800"}', "surrogate"),
        ('{"n": 1}'.encode("utf-16"), "not UTF-8"),
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


def test_a_byte_order_mark_and_a_whole_surrogate_pair_are_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"n": "\\ud83d\\ude00"}')
    assert read_json(tmp_path / "a.json") == {"n": "\U0001f600"}


def test_a_document_has_a_size_and_is_a_plain_file(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(DataError, match="sparse is too large"):
        read_json(tmp_path / "sparse")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no plain file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_json(tmp_path)


def test_an_object_is_asked_for_and_its_fields_by_their_types(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["id"]')
    with pytest.raises(DataError, match=r"a\.json is not a JSON object"):
        read_object(tmp_path / "a.json")
    assert typed({"id": "x"}, "id", str, where="a") == "x"
    with pytest.raises(DataError, match="a: the field 'id' is missing"):
        typed({}, "id", str, where="a")
    with pytest.raises(DataError, match="a: the field 'n' is not of the type int"):
        typed({"n": True}, "n", int, where="a")


def test_a_growing_record_loses_the_lines_that_are_damaged_and_no_others() -> None:
    text = '{"done": 1}\n[1]\n{"done": ' + "9" * 6_000 + '}\n\n{"done": 2}\n{"do'
    assert list(parse_lines(text)) == [{"done": 1}, {"done": 2}]
