"""A pytest plugin: the fixture `snowflake_account`, a fresh account for each test.

Load it in your ``conftest.py`` with ``pytest_plugins = ["soaptune.testing.snowflake.plugin"]``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from soaptune.testing.snowflake import emulated_snowflake
from soaptune.testing.snowflake.account import Account


@pytest.fixture
def snowflake_account() -> Iterator[Account]:
    """An emulated Snowflake account that lives for one test; give `account.ai.function` to script AI_COMPLETE."""
    with emulated_snowflake() as account:
        yield account
