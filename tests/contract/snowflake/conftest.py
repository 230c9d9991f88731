"""An emulated account and a real Snowpark session on it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

# Fakesnow needs Python 3.11; below it there is no emulator.
collect_ignore_glob = [] if importlib.util.find_spec("fakesnow") else ["test_*.py"]


@pytest.fixture(scope="module")
def shared_account() -> Iterator[Account]:
    """One account for the tests of a module that do not mind each other."""
    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake() as account:
        yield account


@pytest.fixture(scope="module")
def shared_session(shared_account: Account) -> Iterator[Any]:
    """A Snowpark session on the shared account."""
    from snowflake.snowpark import Session

    session = Session.builder.configs(shared_account.connection_parameters).create()
    yield session
    session.close()


@pytest.fixture
def account() -> Iterator[Account]:
    """An account of the test's own."""
    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake() as made:
        yield made


@pytest.fixture
def session(account: Account) -> Iterator[Any]:
    """A Snowpark session on the test's own account."""
    from snowflake.snowpark import Session

    made = Session.builder.configs(account.connection_parameters).create()
    yield made
    made.close()
