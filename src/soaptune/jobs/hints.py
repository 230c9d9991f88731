"""What to do about the failures that people meet most, found by what they leave in a log."""

from __future__ import annotations

import re

__all__ = ["hint_for"]

_MEMORY = (
    "the machine ran out of memory: halve per_device_batch_size (and double gradient_accumulation_steps), lower "
    "max_length, switch gradient_checkpointing on, use method='lora', or a DeepSpeed stage with offload."
)
_NO_MODEL = (
    "there is no such model, or the hub cannot be reached (HF_HUB_OFFLINE says that it must not be): check the name "
    "and revision, or download the model and pass its folder."
)

# The first that fits is given, so what is said by one program only comes before what many say.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"no rows left|No data left after|Empty dataset after process",
        "no example fits: raise max_length, or look into the row ledger (output/ledger.parquet) for the reasons.",
    ),
    (
        r"GatedRepoError|gated repo|401 Client Error|403 Client Error|Access to model .* is restricted",
        "the model is gated: accept its licence on the hub and name the environment variable with your token, "
        "token='HF_TOKEN'.",
    ),
    (
        r"LocalEntryNotFoundError|RepositoryNotFoundError|RevisionNotFoundError|Repository Not Found|Revision Not Found"
        r"|is not a local folder and is not a valid model identifier|OfflineModeIsEnabled|offline mode is enabled"
        r"|locate the files on the Hub|appropriate snapshot folder"
        r"|We couldn't connect|couldn't connect to|HFValidationError|does not appear to have a file named"
        r"|Max retries exceeded with url|Name or service not known|Temporary failure in name resolution",
        _NO_MODEL,
    ),
    (
        r"ninja: build stopped|Error building extension|Unable to find a C\+\+ compiler|CUDA_HOME does not exist"
        r"|(g\+\+|c\+\+|gcc|cc): (command )?not found|command 'c\+\+' failed"
        r"|No such file or directory: '(c\+\+|g\+\+|gcc)'|Ninja is required|Failed to find C compiler",
        "DeepSpeed or Triton wants to build C++ here: use OptimizerOptions(name='adamw'), which needs none, or install "
        "a C++ compiler.",
    ),
    (
        r"Read-only file system|\[Errno 30\]",
        "the disk is read-only: mount it for writing, or put the backend's root on another disk.",
    ),
    (
        r"No space left on device|Disk quota exceeded|\[Errno 28\]|\[Errno 122\]",
        "the disk is full: free space, or put the backend's root on another disk.",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|DefaultCPUAllocator: (can't allocate|not enough) memory|MemoryError"
        r"|Unable to allocate .* for an array|Cannot allocate memory|killed by signal 9\b|exit status 137\b"
        r"|return code = -9\b",
        _MEMORY,
    ),
    (
        r"Address already in use|EADDRINUSE|address already in use",
        "a port is taken by another program: submit again, a new one is drawn each time; in place of a port of your "
        "own name another, or none.",
    ),
    (
        r"validation errors? for \w+|yaml\.(scanner|parser|constructor|reader|composer)\.|ScannerError|ParserError"
        r"|Duplicate '.*' key found in YAML|is not a registered \w+",
        "the config is refused: change the field that the log names.",
    ),
    (
        r"the loss is (nan|inf)",
        "training diverged: lower the learning rate, lengthen the warm-up, or use dtype='fp32'.",
    ),
    (
        r"No module named '(uvicorn|fastapi|starlette|llguidance|httpx)\b",
        "install what serving needs: pip install 'soaptune[serve]'",
    ),
    (
        r"No module named '(torch|transformers|peft|datasets|arctic_training|deepspeed|safetensors|pyarrow|numpy)\b",
        "install what training needs: pip install 'soaptune[train]'",
    ),
    (
        r"No module named '",
        "the job cannot import that module: install it beside soaptune, or name its folder in code_paths.",
    ),
)


def hint_for(log: str) -> str:
    """Says what to do about a failure.

    Args:
        log: The last lines of the log and the reason of the failure.

    Returns:
        A sentence, or an empty string for a failure that is not a known one.
    """
    return next((hint for pattern, hint in _HINTS if re.search(pattern, log)), "")
