"""API keys of a local endpoint: where they come from, and their hashes, which are all that is kept of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from soaptune.deploy.server import ServerOptions
from soaptune.errors import ConfigError
from soaptune.handles.endpoint import is_api_key

__all__ = ["hash_api_key", "key_hashes"]

_SHORTEST = 16
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_LARGEST_FILE = 1_000_000


def hash_api_key(key: str) -> str:
    """The hash of an API key, as a file of keys holds it.

    Args:
        key: The key, such as ``secrets.token_urlsafe(32)`` makes.

    Returns:
        ``sha256:`` and 64 digits. It is not salted: a key is drawn at random and too long to be guessed.

    Raises:
        ConfigError: The key has fewer than 16 characters, a space, a comma, or what is no printable ASCII.
    """
    if len(key) < _SHORTEST or not is_api_key(key) or "," in key:
        raise ConfigError(
            f"an API key has at least {_SHORTEST} characters, all of them printable ASCII without spaces or commas; "
            'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def key_hashes(options: ServerOptions, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """The hashes of the keys that a server is to accept.

    Args:
        options: Where the keys are.
        environ: The environment variables.

    Raises:
        ConfigError: There is no key where one should be, or it is none.
    """
    found: list[str] = []
    if options.api_key is not None:
        keys = [key.strip() for key in environ.get(options.api_key, "").split(",") if key.strip()]
        if not keys:
            raise ConfigError(f"the environment variable {options.api_key} holds no API key")
        try:
            found += [hash_api_key(key) for key in keys]
        except ConfigError as error:
            raise ConfigError(f"the environment variable {options.api_key}: {error}") from None
    if options.api_keys_file is not None:
        found += _in_file(Path(options.api_keys_file).expanduser())
    return tuple(bytes.fromhex(one.removeprefix("sha256:")) for one in dict.fromkeys(found))


def _in_file(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path} is too large for a file of API keys")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the API keys in {path} cannot be read ({type(error).__name__})") from None
    found: list[str] = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not _HASH.fullmatch(text):
            # Never with the line itself: it may be a key.
            raise ConfigError(
                f"{path}, line {number}: this is no hash of an API key; write what soaptune.deploy.hash_api_key gives"
            )
        found.append(text)
    if not found:
        raise ConfigError(f"there is no hash of an API key in {path}")
    return found
