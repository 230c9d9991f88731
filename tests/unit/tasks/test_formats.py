"""What an answer may write of a form is what Pydantic takes, and is valid here exactly where Pydantic takes it."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time, timedelta
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from soaptune.tasks import formats

TYPES: dict[str, Any] = {
    "date": date,
    "date-time": datetime,
    "time": time,
    "duration": timedelta,
    "uuid": import_module("uuid").UUID,
    "uuid4": import_module("pydantic").UUID4,
    "ipv4": import_module("ipaddress").IPv4Address,
    "ipv6": import_module("ipaddress").IPv6Address,
    "ipvanyaddress": import_module("pydantic").IPvAnyAddress,
    "uri": import_module("pydantic").HttpUrl,
    "decimal": import_module("decimal").Decimal,
}


def taken(name: str, text: str) -> bool:
    try:
        TypeAdapter(TYPES[name]).validate_json(json.dumps(text), strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", TYPES)
def test_what_an_answer_may_write_is_valid(name: str) -> None:
    pattern = formats.pattern(name)
    assert pattern is not None

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(st.from_regex(re.compile(pattern), fullmatch=True, alphabet=st.characters(codec="ascii")))
    def each(text: str) -> None:
        assert taken(name, text)
        assert formats.is_valid(name, text)
        assert formats.is_valid(name, formats.canonical(name, text))

    each()


DAYS = st.builds("{:04}-{:02}-{:02}".format, st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32))


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(DAYS | st.builds("{:04}-02-29".format, st.integers(0, 9999)))
def test_a_day_may_be_written_where_it_exists(text: str) -> None:
    try:
        date.fromisoformat(text)
        exists = True
    except ValueError:
        exists = False
    assert bool(re.fullmatch(formats.pattern("date") or "", text)) == exists == formats.is_valid("date", text)


@pytest.mark.parametrize("text", ["2024-02-31", "0000-01-01", "1493979010", "24:00:00", "P", "1.2.3", "x", "", "1:2"])
@pytest.mark.parametrize("name", [name for name in TYPES if name not in ("uri", "decimal")])
def test_a_form_is_valid_where_pydantic_takes_it(name: str, text: str) -> None:
    assert formats.is_valid(name, text) == taken(name, text)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("date-time", "2024-01-31 10:00", "2024-01-31T10:00:00"),
        ("duration", "PT36H", "P1DT12H"),
        ("uuid", "12345678123456781234567812345678", "12345678-1234-5678-1234-567812345678"),
        ("uri", "http://example.org", "http://example.org/"),
        ("decimal", 2.5, "2.5"),
        ("decimal", "1E+2", "100"),
        ("decimal", "NaN", "NaN"),
        ("decimal", True, True),
        ("date", "never", "never"),
        ("email", "a@b.cc", "a@b.cc"),
        ("anything", "x", "x"),
    ],
)
def test_a_value_is_written_as_pydantic_writes_it(name: str, value: object, text: object) -> None:
    assert formats.canonical(name, value) == text


def test_what_is_not_known_is_not_judged() -> None:
    assert formats.is_valid("hostname", "???")
    assert not formats.is_known("hostname")
    assert not formats.is_valid("email", "nobody")
    assert formats.pattern("binary") is None
