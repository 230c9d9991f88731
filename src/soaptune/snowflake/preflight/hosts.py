"""Which hosts a job talks to, and whether a network rule lets it: pure functions of the job and of the rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from soaptune.jobs.needs import Needs
from soaptune.jobs.spec import JobSpec

__all__ = ["HUB_RULE", "MANAGED_RULES", "PYPI", "Host", "covers", "hosts"]

PYPI = ("pypi.org", "files.pythonhosted.org")
"""Where pip finds packages, and where it gets them from."""

HUB_RULE = (
    "huggingface.co:443",
    "*.huggingface.co:443",
    "*.hf.co:443",
    "*.xethub.hf.co:443",
    "*.aws.cdn.hf.co:443",
)
"""A network rule's values for the Hugging Face hub. An asterisk stands for one level of a name, so that the hub's three
generations of file servers need a line each."""

MANAGED_RULES: Mapping[str, tuple[str, ...]] = {
    "SNOWFLAKE.EXTERNAL_ACCESS.PYPI_RULE": (
        "pypi.org:443",
        "pypi.python.org:443",
        "pythonhosted.org:443",
        "files.pythonhosted.org:443",
    ),
    "SNOWFLAKE.EXTERNAL_ACCESS.HUGGINGFACE_RULE": HUB_RULE,
}
"""What the rules that Snowflake itself keeps are for; they need not be readable by a role that may use them."""

_HUB_FILES = ("cdn-lfs.hf.co", "cas-server.xethub.hf.co", "transfer.xethub.hf.co", "us.aws.cdn.hf.co")
_NOT_IN_THE_IMAGE = re.compile(r"^\s*(arctic[-_]training|vllm)\b", re.IGNORECASE | re.MULTILINE)
_EVERYWHERE = ("0.0.0.0", "*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A host that a job talks to.

    Attributes:
        name: The host.
        why: What for.
        port: The port.
        certain: Whether the job fails without it; otherwise it may do without, as with packages that are there already.
    """

    name: str
    why: str
    port: int = 443
    certain: bool = True


def hosts(spec: JobSpec, *, requirements: Sequence[str] = ()) -> tuple[Host, ...]:
    """The hosts that a job needs from outside of Snowflake.

    Args:
        spec: The job.
        requirements: Packages that are installed beside those of the job's own ``requirements.txt``.

    Returns:
        The hosts. Of a job that does not state its needs only those of its packages are known.
    """
    found: list[Host] = []
    wanted = "\n".join([spec.files.get("requirements.txt", ""), *requirements])
    if any(line.strip() and not line.strip().startswith("#") for line in wanted.splitlines()):
        # pip asks for nothing when all is there, but no runtime image brings these.
        certain = _NOT_IN_THE_IMAGE.search(wanted) is not None
        found += [Host(name=name, why="to install the job's packages", certain=certain) for name in PYPI]
    needs = spec.needs or Needs()
    models = [str(model) for model in needs.models if model.on_hub]
    if models:
        why = f"to load {' and '.join(models)}"
        found.append(Host(name="huggingface.co", why=why))
        # Which of them the hub sends a client to depends on the file and on the client.
        found += [
            Host(name=name, why=f"{why}, whose files the hub sends from there", certain=False) for name in _HUB_FILES
        ]
    found += [Host(name=name, why="which the job asks") for name in needs.hosts]
    return tuple(found)


def covers(values: Iterable[str], host: Host) -> bool:
    """Whether a network rule lets a job through to a host.

    Args:
        values: The rule's ``VALUE_LIST``: ``host``, ``host:port``, with one asterisk at most, which stands for letters,
            digits and hyphens of one level. Port 0 is any, no port is 443, and the host ``0.0.0.0`` is every host.
        host: The host.
    """
    for value in values:
        name, _, port = value.strip().lower().partition(":")
        allowed = port or "443"
        if allowed != "0" and not _in_range(allowed, host.port):
            continue
        if name in _EVERYWHERE or re.fullmatch(re.escape(name).replace(r"\*", "[a-z0-9-]*"), host.name.lower()):
            return True
    return False


def _in_range(allowed: str, port: int) -> bool:
    low, _, high = allowed.partition("-")
    if not low.isdigit():
        return False
    return int(low) <= port <= int(high if high.isdigit() else low)
