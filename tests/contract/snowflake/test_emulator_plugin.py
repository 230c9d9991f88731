"""The pytest plugin, as a project of a user loads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_fixture_gives_each_test_an_account_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["soaptune.testing.snowflake.plugin"]\n')
    (tmp_path / "test_mine.py").write_text(
        "import pytest, snowflake.connector\n"
        "@pytest.mark.parametrize('again', [1, 2])\n"
        "def test_mine(snowflake_account, again):\n"
        "    with snowflake.connector.connect(**snowflake_account.connection_parameters) as connection:\n"
        "        cursor = connection.cursor()\n"
        "        cursor.execute('create table t (a int)')\n"
        "        assert cursor.execute('select count(*) from t').fetchall() == [(0,)]\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
