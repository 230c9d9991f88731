"""What of a job's needs this machine does not have."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

from soaptune.errors import Violation
from soaptune.jobs.needs import Needs
from soaptune.jobs.requirements import EXTRA_OF

__all__ = ["missing"]


def missing(needs: Needs) -> Iterator[Violation]:
    """The packages and programs that a job needs and that are not here.

    Args:
        needs: What the job needs.
    """
    for package in needs.packages:
        if importlib.util.find_spec(package) is None:
            yield Violation(
                path="needs.packages",
                code="missing-extra",
                message=f"The job needs the package {package!r}, which is not installed here.",
                hint=f"Install it with: pip install 'soaptune[{EXTRA_OF.get(package, 'train')}]'",
            )
    for program in needs.programs:
        if shutil.which(program.command) is not None:
            continue
        if program.requirement is not None:
            yield Violation(
                path="needs.programs",
                code="installs-program",
                level="warning",
                message=f"There is no program {program.command!r} here: the job installs {program.requirement}, which "
                "is gigabytes, once.",
                hint="Name one that is there: st.engines.VLLM(command=('/path/to/vllm/bin/vllm',)).",
            )
        else:
            yield Violation(
                path="needs.programs",
                code="no-such-program",
                message=f"There is no program {program.command!r} here.",
                hint="Install it in an environment of its own and name it by its path.",
            )
