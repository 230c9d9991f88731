from __future__ import annotations

import pytest

from soaptune.snowflake.jobs.hints import hint_for


@pytest.mark.parametrize(
    ("log", "hint"),
    [
        (
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries "
            "exceeded with url: /api (Caused by NameResolutionError(Failed to resolve 'huggingface.co'))",
            "external access integration",
        ),
        ("ERROR: Could not find a version that satisfies the requirement peft==0.21.2", "external access integration"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "per_device_batch_size"),
        ("killed by signal 9 (SIGKILL)", "out of memory"),
        ("003001 (42501): SQL access control error:\nInsufficient privileges to operate on table 'T'", "grants"),
        ("002003 (42S02): SQL compilation error: Object 'D.S.T' does not exist or not authorized.", "table"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error", "CREATE SECRET"),
        ("Custom conda environments not currently supported", "pip_requirements"),
        ("all went well", ""),
    ],
)
def test_a_failure_says_what_to_do(log: str, hint: str) -> None:
    found = hint_for(log)

    assert (hint in found) if hint else found == ""
