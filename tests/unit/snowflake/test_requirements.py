from __future__ import annotations

import re
from pathlib import Path

from soaptune.jobs.requirements import PACKAGES, requirements
from soaptune.snowflake.jobs.requirements import TESTED, pinned

_CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"


def test_the_tested_versions_are_those_of_the_constraints() -> None:
    text = _CONSTRAINTS.read_text(encoding="utf-8")
    constraints = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", text, flags=re.MULTILINE))

    assert {name: constraints.get(name) for name in TESTED} == dict(TESTED)


def test_every_package_of_a_step_is_pinned_but_those_of_the_image() -> None:
    loose = {
        line
        for step in PACKAGES
        for line in pinned(requirements(step)).splitlines()
        if not re.match(r"[\w.-]+==", line)
    }

    assert {re.split(r"[<>=]", line)[0] for line in loose} <= {"torch", "filelock"}


def test_what_decides_a_run_below_a_package_is_pinned_too() -> None:
    lines = pinned("arctic-training==0.8.*\ntransformers>=4.57,<5\n").splitlines()

    assert lines == [
        "arctic-training==0.8.0",
        f"deepspeed=={TESTED['deepspeed']}",
        f"accelerate=={TESTED['accelerate']}",
        f"transformers=={TESTED['transformers']}",
        f"tokenizers=={TESTED['tokenizers']}",
        f"huggingface-hub=={TESTED['huggingface-hub']}",
    ]


def test_the_users_requirement_takes_the_place_of_ours() -> None:
    assert pinned("Typing_Extensions>=4\nmine\n", ["typing-extensions==4.13.0"]) == "mine\ntyping-extensions==4.13.0\n"


def test_nothing_required_is_no_file() -> None:
    assert pinned("# nothing\n\n") == ""


def test_requirements_that_are_addresses_do_not_replace_each_other() -> None:
    given = ["git+https://host/a.git", "git+https://host/b.git", "https://host/a.whl", "https://host/b.whl"]

    assert pinned("", given).splitlines() == given
