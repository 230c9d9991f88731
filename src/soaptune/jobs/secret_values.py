"""What in a job looks like a secret: names of variables, known forms of tokens, passwords in URLs, random text.

A spec is written to disk, so nothing secret may be in it. The forms of tokens are those that their issuers document and
that the published rules of detect-secrets (github.com/Yelp/detect-secrets) and gitleaks
(github.com/gitleaks/gitleaks) look for. Hexadecimal text is never taken for a secret by its looks: hashes, revisions
and UUIDs are hexadecimal too.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

from soaptune.config import KNOWN_TOKENS

__all__ = ["secret_in", "secret_variable"]

_WORDS = frozenset(
    "PASS PASSWD PASSWORD PASSWORDS PASSPHRASE PASSCODE SECRET SECRETS CREDENTIAL CREDENTIALS CREDS COOKIE".split()
)
"""Words that make a secret of a variable, wherever they stand in its name."""

_LAST = frozenset("KEY TOKEN PAT PWD AUTH".split())
"""Words that make one of it at the end of its name."""

_ENDINGS = ("PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY", "SECRET", "TOKEN")
"""What the words are stuck to in names such as ``PGPASSWORD``."""

_BEFORE = {
    "KEY": "PUBLIC PRIMARY FOREIGN PARTITION SORT CACHE GROUP INDEX JOIN DICT LABEL TEXT COLUMN ID METRIC ROW "
    "ROUTING CLUSTER SPLIT LOOKUP".split(),
    "TOKEN": "BOS EOS PAD UNK SEP CLS MASK STOP SPECIAL IMAGE START END".split(),
}
"""Words before ``KEY`` and ``TOKEN`` that make names of columns and of a tokenizer's parts."""

_NO_SECRETS = frozenset(["", "0", "1", "true", "false", "yes", "no", "on", "off", "none", "null"])

# Every repetition has an end, and none begins inside another: a file of a megabyte is looked through in no time.
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_IN_URL = re.compile(r"(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s/:@'\"]{0,100}:([^\s/@'\"]{3,200})@")
_IN_STRING = re.compile(r"(?:^|[;\s])(?:password|pwd|accountkey|sharedaccesskey)\s*=\s*([^;\s]{3,})", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"[$%{<].*|[*x.]+|\[.*\]", re.IGNORECASE)
"""What stands for a password without being one: ``${DB_PASSWORD}``, ``<password>``, ``***``."""

_RUN = re.compile(r"[A-Za-z0-9+/]{20,}={0,2}")
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]+")
_LEAST_ENTROPY = 3.8
"""Bits for each character. Twenty random letters and digits have 4.1; detect-secrets asks for 4.5 in longer texts."""

_LEAST_CHANGES = 0.45
"""How often in random text a capital follows a small letter or a digit, and so on: 0.62. In CamelCase it is 0.3."""


def secret_variable(name: str, value: str) -> str | None:
    """Why an environment variable looks like a secret.

    Args:
        name: Its name.
        value: Its value.

    Returns:
        What is wrong, without the value; None for an ordinary variable.
    """
    if (kind := secret_in(value)) is not None:
        return f"holds {kind}"
    if value.strip().lower() in _NO_SECRETS:
        return None
    # The path of a file with a secret is none.
    if not _is_path(value) and _is_secret_name(name, value):
        return "has the name of a secret"
    return "holds what looks like a random key" if _is_random(value) else None


def secret_in(text: str) -> str | None:
    """What kind of secret stands in a text.

    Args:
        text: A value, or the content of a file.

    Returns:
        Its kind with an article; None where there is none.
    """
    if "PRIVATE KEY" in text and _PRIVATE_KEY.search(text):
        return "a private key"
    for kind, (marks, form) in KNOWN_TOKENS.items():
        if any(mark in text for mark in marks) and re.search(form, text):
            return kind
    if "://" in text and _has_password(_IN_URL.findall(text)):
        return "a URL with a password"
    return None


def _is_secret_name(name: str, value: str) -> bool:
    words = name.upper().split("_")
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in ("FILE", "PATH", "DIR", "NAME"):
        return False
    if last == "DSN" or words[-2:] == ["CONNECTION", "STRING"]:
        return re.search(r"//[^/]+@", value) is not None or _has_password(_IN_STRING.findall(value))
    if not _WORDS.isdisjoint(words) or (last.endswith(_ENDINGS) and last not in _LAST):
        return True
    return last in _LAST and len(words) > 1 and before not in _BEFORE.get(last, ())


def _has_password(found: list[str]) -> bool:
    return any(_PLACEHOLDER.fullmatch(one) is None for one in found)


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~", "./", "../")) and not any(_looks_random(run) for run in _runs(value))


def _is_random(value: str) -> bool:
    return any(_looks_random(run) for run in _runs(value))


def _runs(value: str) -> list[str]:
    # In a path or a URL the slashes are separators; in base64 they are digits.
    separated = "://" in value or value.startswith(("/", "~", "."))
    parts = value.split("/") if separated else [value]
    return [run for part in parts for run in _RUN.findall(part)]


def _looks_random(run: str) -> bool:
    if _HEX.fullmatch(run):
        return False
    kinds = ["l" if c.islower() else "u" if c.isupper() else "d" if c.isdigit() else "s" for c in run.rstrip("=")]
    changes = sum(a != b for a, b in itertools.pairwise(kinds)) / (len(kinds) - 1)
    return {"l", "u", "d"} <= set(kinds) and changes >= _LEAST_CHANGES and _entropy(run) >= _LEAST_ENTROPY


def _entropy(text: str) -> float:
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
