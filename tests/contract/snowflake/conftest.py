"""An emulated account and a real Snowpark session on it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

# Fakesnow needs Python 3.11; below it there is no emulator.
collect_ignore_glob = [] if importlib.util.find_spec("fakesnow") else ["test_*.py"]


@pytest.fixture(autouse=True)
def jobs_are_looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulated job takes a second, not hours: whoever waits for one looks more often than every three seconds."""
    from soaptune.snowflake.jobs.job import SnowflakeJob

    monkeypatch.setattr(SnowflakeJob, "MAX_POLL_INTERVAL", 0.2)


@pytest.fixture
def the_sdk_looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a service comes up the SDK sleeps for two and for five seconds between its looks at it."""
    from snowflake.ml.model._client.ops import service_ops

    class Clock:
        def __getattr__(self, name: str) -> Any:
            return getattr(time, name)

        def sleep(self, seconds: float) -> None:
            time.sleep(min(seconds, 0.1))

    monkeypatch.setattr(service_ops, "time", Clock())
    monkeypatch.setattr(service_ops, "LOG_POLL_INTERVAL_SECONDS", 0.1)


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
