"""What the tests of the handles share: a small task, and examples of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soaptune.tasks.spec import TaskSpec

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "urgency": {"type": "integer"},
    },
    "required": ["title", "urgency"],
}


@pytest.fixture(scope="session")
def task() -> TaskSpec:
    """A ticket becomes a title and an urgency: one output that is text and one that is not."""
    return TaskSpec(
        name="tickets",
        system_prompt="Say what the ticket is about.",
        user_template="{ticket}",
        output_schema=SCHEMA,
        output_fields=("title", "urgency"),
        input_fields=("ticket",),
    )


@pytest.fixture
def make_rows() -> Callable[[int], list[dict[str, Any]]]:
    def rows(count: int) -> list[dict[str, Any]]:
        return [{"ticket": f"the lamp {i} is broken", "title": f"lamp {i}", "urgency": i % 5} for i in range(count)]

    return rows


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Datasets without a folder of their own go below the working directory.
    monkeypatch.chdir(tmp_path)
