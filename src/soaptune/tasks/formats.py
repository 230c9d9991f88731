"""Strings of a form that JSON Schema names: dates, times, addresses, identifiers.

For each form there is the Pydantic type that decides what is valid, so that a job without the task's class decides as
the class does, and a regular expression of what a constrained answer may write: the form in which Pydantic writes such
values, and nothing that it would refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

__all__ = ["DECIMAL", "FREE", "canonical", "describe", "is_known", "is_valid", "pattern"]

FREE = frozenset({"binary"})
"""Names of forms that any text has."""

_LEAP = "(?:[02468][48]|[2468]0|[13579][26])"  # two digits that 4 divides, but for 00
_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP_YEAR = f"(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-9]|2[0-3]):[0-5][0-9])"
_TIME = rf"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?{_ZONE}?"
_SECONDS = r"[0-9]{1,2}(?:\.[0-9]{1,6})?S"
_CLOCK = f"T(?:[0-9]{{1,2}}H(?:[0-9]{{1,2}}M)?(?:{_SECONDS})?|[0-9]{{1,2}}M(?:{_SECONDS})?|{_SECONDS})"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_GROUP = "(?:0|[1-9a-f][0-9a-f]{0,3})"
_IPV6 = f"(?:{_GROUP}(?::{_GROUP}){{7}}|(?:{_GROUP}(?::{_GROUP}){{0,2}})?::(?:{_GROUP}(?::{_GROUP}){{0,2}})?)"
_WORD = "[A-Za-z0-9]{1,20}"
_DOMAIN = rf"(?:{_WORD}(?:-{_WORD})?\.){{1,3}}[A-Za-z]{{2,12}}"

DECIMAL = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
"""How a decimal number is written, from its beginning to its end."""


class _Form(NamedTuple):
    words: str
    """What is needed, for messages."""
    type: str
    """The Pydantic type that decides, as ``module:Name``; empty where the pattern does."""
    pattern: str
    """What an answer may write, from its beginning to its end."""


def _uuid(version: str, name: str) -> _Form:
    variant = "[0-9a-f]" if version == "[0-9a-f]" else "[89ab]"
    digits = f"[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-{variant}[0-9a-f]{{3}}-[0-9a-f]{{12}}"
    return _Form("a UUID", name, digits)


_FORMS: Mapping[str, _Form] = {
    "date": _Form("a date that exists, as YYYY-MM-DD", "datetime:date", _DATE),
    "date-time": _Form("a date and a time, as YYYY-MM-DDTHH:MM:SS", "datetime:datetime", f"{_DATE}T{_TIME}"),
    "time": _Form("a time of the day, as HH:MM:SS", "datetime:time", _TIME),
    "duration": _Form("a duration, as P1DT2H30M", "datetime:timedelta", f"-?P(?:[0-9]{{1,4}}D(?:{_CLOCK})?|{_CLOCK})"),
    "uuid": _uuid("[0-9a-f]", "uuid:UUID"),
    **{f"uuid{n}": _uuid(str(n), f"pydantic:UUID{n}") for n in (1, 3, 4, 5, 6, 7, 8)},
    "ipv4": _Form("an IPv4 address", "ipaddress:IPv4Address", _IPV4),
    "ipv6": _Form("an IPv6 address", "ipaddress:IPv6Address", _IPV6),
    "ipvanyaddress": _Form("an IP address", "pydantic:IPvAnyAddress", _IPV4),
    "uri": _Form("a URL", "pydantic:AnyUrl", rf"https?://{_DOMAIN}(?::[1-9][0-9]{{0,3}})?/[A-Za-z0-9._~/-]{{0,200}}"),
    "path": _Form("a path", "pathlib:Path", ""),
    "email": _Form("an e-mail address", "", rf"{_WORD}(?:[._+-]{_WORD}){{0,2}}@{_DOMAIN}"),
    "decimal": _Form('a decimal number as text, such as "12.50"', "decimal:Decimal", DECIMAL),
}

_LOOSE = {"email": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")}
"""What is taken for valid where no type of Pydantic decides without a further package."""


def is_known(name: str) -> bool:
    """Whether a form can be checked and can be kept by constrained decoding."""
    return name in _FORMS or name in FREE


def describe(name: str) -> str:
    """What a value of the form is, for messages."""
    return _FORMS[name].words if name in _FORMS else f"text of the form {name!r}"


def pattern(name: str) -> str | None:
    """The regular expression of what a constrained answer may write, anchored; None where any text will do."""
    text = _FORMS[name].pattern if name in _FORMS else ""
    return f"^(?:{text})$" if text else None


def is_valid(name: str, text: str) -> bool:
    """Whether a text has the form; true for forms that are not known here, as JSON Schema has it."""
    if name in _LOOSE:
        return _LOOSE[name].fullmatch(text) is not None
    if name == "decimal":
        return re.fullmatch(DECIMAL, text) is not None
    return name not in _FORMS or _read(name, text) is not None


def canonical(name: str, value: Any) -> Any:
    """A value in the form in which Pydantic writes it, and the value itself where it has not the form.

    Args:
        name: The form.
        value: Text; for ``"decimal"`` also a number.
    """
    if name == "decimal":
        return _decimal(value)
    if not isinstance(value, str) or name in _LOOSE or name not in _FORMS:
        return value
    written = _read(name, value)
    return value if written is None else written


def _read(name: str, text: str) -> str | None:
    adapter = _adapter(_FORMS[name].type)
    try:
        return adapter.dump_python(adapter.validate_json(json.dumps(text), strict=True), mode="json")
    except ValidationError:
        return None


def _decimal(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return value
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return value
    return format(number, "f") if number.is_finite() else value


@lru_cache(maxsize=64)
def _adapter(path: str) -> TypeAdapter[Any]:
    module, _, name = path.partition(":")
    return TypeAdapter(getattr(import_module(module), name))
