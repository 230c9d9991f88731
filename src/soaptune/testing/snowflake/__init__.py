"""An emulated Snowflake account, good enough to run jobs: for the tests of a pipeline, without an account or a network.

The real Snowpark, connector and snowflake-ml-python talk to it over a loopback port; what it answers is written by
subject in the modules beside this one, each handler with the place in the SDK that sends its statement.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

__all__ = ["Account", "emulated_snowflake"]


@contextmanager
def emulated_snowflake(
    *,
    ai_complete: Callable[[str, str, dict[str, Any] | None], str | None] | None = None,
    install_requirements: bool = False,
    fresh_processes: bool = False,
    user: str = "TEST_USER",
    password: str = "token",
    role: str = "TEST_ROLE",
) -> Generator[Account]:
    """Starts an account of its own and ends it with everything that runs in it.

    There are a database ``TEST_DB`` with a schema ``PUBLIC``, a warehouse ``TEST_WH`` and a compute pool ``GPU_POOL``
    of two GPU_NV_M nodes from the start.

    Args:
        ai_complete: Answers AI_COMPLETE in place of a model: gets its name, the prompt and the response format, and
            returns the text, or None for NULL. What it raises fails the statement.
        install_requirements: Whether jobs really install their requirements, which takes a network; without it they
            are checked against this environment.
        fresh_processes: Whether the SDK's launcher is a fresh process in each job. Without it, it is a fork of one that
            has imported the SDK already, where that is possible (Linux) and the same.
        user: The user who may log in.
        password: The user's password or token.
        role: The user's role.

    Yields:
        The account.
    """
    from soaptune.testing.snowflake.account import Account

    account = Account(
        ai_complete=ai_complete,
        install_requirements=install_requirements,
        fresh_processes=fresh_processes,
        user=user,
        password=password,
        role=role,
    )
    try:
        yield account
    finally:
        account.close()


def __getattr__(name: str) -> Any:
    if name == "Account":
        from soaptune.testing.snowflake.account import Account

        return Account
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
