from __future__ import annotations

import pytest

from soaptune.snowflake.preflight.network import listed
from soaptune.snowflake.preflight.reading import Unreadable, same_name, truth


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("", []),
        ("[]", []),
        ("A.B.C", ["A.B.C"]),
        ("[A.B.C, D.E.F]", ["A.B.C", "D.E.F"]),
        ('(A."b,c".D,E)', ['A."b,c".D', "E"]),
        ("'pypi.org:443','*.hf.co'", ["pypi.org:443", "*.hf.co"]),
        ("pypi.org:443,files.pythonhosted.org", ["pypi.org:443", "files.pythonhosted.org"]),
    ],
)
def test_a_list_is_read_however_it_is_written(cell: str, items: list[str]):
    assert listed(cell) == items


@pytest.mark.parametrize("value", [True, "true", "TRUE", "Y", "yes", 1])
def test_a_flag_that_is_on(value: object):
    assert truth(value)


@pytest.mark.parametrize("value", [False, "false", "N", "", None, 0])
def test_a_flag_that_is_off(value: object):
    assert not truth(value)


def test_a_name_is_the_same_with_and_without_quotes():
    assert same_name('DB."my schema"', ("DB", "my schema"))
    assert same_name("DB.my schema", ("DB", "my schema"))
    assert not same_name('DB."Schema"', ("DB", "SCHEMA"))


def test_an_answer_that_does_not_come_is_one_line_and_short():
    error = Unreadable(RuntimeError("first\n  second " + "x" * 1000))
    assert error.reason.startswith("first second x")
    assert len(error.reason) == 300
    assert not error.missing
