"""`Login`: the parameters with which a user connects, never shown; no secret of them leaves the process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from soaptune.errors import BackendError

__all__ = ["Login"]

_OPEN = frozenset(
    {
        "account",
        "application",
        "authenticator",
        "autocommit",
        "client_session_keep_alive",
        "connection_name",
        "database",
        "host",
        "insecure_mode",
        "login_timeout",
        "network_timeout",
        "port",
        "private_key_file",
        "protocol",
        "region",
        "role",
        "schema",
        "session_parameters",
        "socket_timeout",
        "token_file_path",
        "user",
        "warehouse",
    }
)
"""Parameters that are no secret. Of what the connector takes besides, nobody knows."""


class Login:
    """Parameters for Snowpark's ``Session.builder.configs``.

    In this process they are complete. A pickle carries those that are known to be no secret; where it is opened, the
    others are read from the environment (``SNOWFLAKE_PASSWORD`` for ``password``), as Snowflake's own tools have it.
    """

    __slots__ = ("_left", "_values")

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Takes the parameters.

        Args:
            parameters: What the user gave.
        """
        self._values = dict(parameters)
        self._left: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """All parameters.

        Raises:
            BackendError: A secret was left behind when this came by a pickle, and the environment does not have it.
        """
        found = {name: os.environ.get(_variable(name), "") for name in self._left}
        missing = [name for name, value in found.items() if not value]
        if missing:
            raise BackendError(
                f"this copy of the backend came from another process, and {' and '.join(missing)} of its "
                f"connection_parameters stayed there, since a secret is never pickled: set "
                f"{' and '.join(map(_variable, missing))} in this process, or use "
                "SnowflakeBackend(connection_name=...), which reads connections.toml wherever it is"
            )
        return {**self._values, **found}

    def hidden(self, text: str) -> str:
        """A message without the values that are secret.

        Args:
            text: The message.
        """
        for name, value in self._values.items():
            if name.lower() not in _OPEN and isinstance(value, (str, bytes)) and len(value) > 2:
                text = text.replace(value if isinstance(value, str) else repr(value), "***")
        return text

    def is_quoted_in(self, text: str) -> bool:
        """Whether a message quotes a value that is secret.

        Args:
            text: The message.
        """
        return self.hidden(text) != text

    def __getstate__(self) -> dict[str, Any]:
        return {
            "values": {name: value for name, value in self._values.items() if name.lower() in _OPEN},
            "left": (*self._left, *(name for name in self._values if name.lower() not in _OPEN)),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._values, self._left = state["values"], state["left"]

    def __copy__(self) -> Login:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Login:
        return self  # nothing of it ever changes, and it stays in this process

    def __repr__(self) -> str:
        return "Login(...)"


def _variable(name: str) -> str:
    return f"SNOWFLAKE_{name.upper()}"
