"""Every handler says who sends its statement, so that a new version of the SDK can be checked against the list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import snowflake.connector

from soaptune.testing.snowflake import account
from soaptune.testing.snowflake.statements import Handler, handlers_of, rewrites_of

SITE = Path(snowflake.connector.__file__).parent.parent.parent
CITED = re.compile(r"([\w/]+\.py):(\d+)")


@pytest.mark.parametrize("handler", handlers_of(account._MODULES), ids=lambda handler: handler.function.__name__)
def test_a_handler_cites_lines_that_are_there(handler: Handler) -> None:
    cited = CITED.findall(handler.issued_by)
    assert cited or handler.issued_by == "users", handler.issued_by
    for path, line in cited:
        found = [root / path for root in (SITE, SITE / "snowflake", SITE / "snowflake/ml") if (root / path).is_file()]
        assert found, f"{path} is not part of the SDK"
        assert int(line) <= len(found[0].read_text("utf-8").splitlines())


def test_rewrites_cite_too() -> None:
    cited = [getattr(rewrite, "rewrites_statements", "") for rewrite in rewrites_of(account._MODULES)]
    assert cited
    assert all(CITED.search(text) or text.startswith("users") for text in cited)
