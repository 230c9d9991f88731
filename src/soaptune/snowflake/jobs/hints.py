"""What to do about the failures that people meet on Snowflake, found by what they leave in a log."""

from __future__ import annotations

import re

from soaptune.jobs import hints

__all__ = ["hint_for"]

_EGRESS = (
    "the job may not reach that host: name an external access integration that allows it in "
    "SnowflakeBackend(external_access_integrations=[...]); backend.setup_sql(role=...) prints one for PyPI and the "
    "Hugging Face hub."
)

# The first that fits is given. They come before the general ones: what is a missing network on a laptop is a missing
# integration here.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"pip install.*HTTPSConnection|Could not find a version that satisfies the requirement"
        r"|No matching distribution found for",
        "a package could not be installed: " + _EGRESS,
    ),
    (
        r"Failed to establish a new connection|Max retries exceeded with url|Name or service not known"
        r"|Temporary failure in name resolution|getaddrinfo failed|Network is unreachable|We couldn't connect to"
        r"|nodename nor servname|ConnectTimeoutError|LocalEntryNotFoundError",
        _EGRESS,
    ),
    (
        r"(?i)insufficient privileges|003001|access control error|not authorized to perform",
        "the job's role lacks a privilege: backend.setup_sql(role=...) prints the grants that soaptune needs.",
    ),
    (
        r"(?i)(table|view|object|schema|database) '[^']*' does not exist or not authorized|\b00(2003|2043) \(",
        "the job's role sees no such table: check the name, and grant SELECT on it (USAGE on its database and schema).",
    ),
    (
        r"(?i)no active warehouse|000606",
        "the job's SQL needs a warehouse: pass warehouse=... to SnowflakeBackend.",
    ),
    (
        r"Custom conda environments not currently supported",
        "an environment.yml is in the payload, which ML Jobs refuse: list packages in pip_requirements instead.",
    ),
    (
        r"(?i)no space left on device",
        "the node's disk is full: choose a larger instance family, or keep fewer checkpoints.",
    ),
    (
        r"(?i)OOMKilled|out of memory.*container|memory limit exceeded",
        "the container ran out of memory: choose a larger instance family, halve per_device_batch_size (and double "
        "gradient_accumulation_steps), or lower max_length.",
    ),
)


def hint_for(log: str) -> str:
    """Says what to do about a failure.

    Args:
        log: The last lines of the log and the reason of the failure.

    Returns:
        A sentence, or an empty string for a failure that is not a known one.
    """
    gated = re.search(r"GatedRepoError|gated repo|Access to model .* is restricted", log)
    own = None if gated else next((hint for pattern, hint in _HINTS if re.search(pattern, log)), None)
    if gated:
        return (
            "the model is gated: accept its licence on the hub, store your token as a Snowflake secret "
            "(CREATE SECRET HF_TOKEN TYPE = GENERIC_STRING SECRET_STRING = '...') and name it, token='HF_TOKEN'."
        )
    return own or hints.hint_for(log)
